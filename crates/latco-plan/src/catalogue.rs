//! Planners by name, and their settings.

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::{
    ConfigError, Planner, RandomActions, RandomActionsConfig,
    collocation::{
        CemLatco, CemLatcoConfig, FirstOrder, FirstOrderConfig, GaussNewton, GaussNewtonConfig,
        Grasp, GraspConfig, ImageCollocation, ImageCollocationConfig,
    },
    shooting::{
        Cem, CemConfig, GaussNewtonShooting, GaussNewtonShootingConfig, GradientShooting,
        GradientShootingConfig, Icem, IcemConfig, Ilqr, IlqrConfig, Mppi, MppiConfig,
    },
};

/// A planner's name, what it does, and its settings.
#[derive(Clone, Copy, Debug)]
pub struct PlannerInfo {
    /// The name users type.
    pub name: &'static str,
    /// One line about the method.
    pub about: &'static str,
    settings: fn() -> PlannerSettings,
}

impl PlannerInfo {
    /// Its default settings.
    pub fn settings(&self) -> PlannerSettings {
        (self.settings)()
    }

    /// The planner with these settings, under this name.
    ///
    /// # Errors
    ///
    /// If the settings are another method's; names the first one outside its range.
    pub fn with(&self, settings: PlannerSettings) -> Result<Box<dyn Planner>, CatalogueError> {
        let (expected, found) = (self.settings().method(), settings.method());
        if found != expected {
            return Err(CatalogueError::Method {
                name: self.name,
                expected,
                found,
            });
        }
        Ok(settings.planner(self.name)?)
    }
}

macro_rules! planner_settings {
    ($($method:ident($config:ident)),* $(,)?) => {
        /// The settings of one of the catalogue's methods.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum PlannerSettings {
            $(
                #[doc = concat!("Of [`", stringify!($method), "`].")]
                $method($config),
            )*
        }

        impl PlannerSettings {
            /// The method whose settings these are.
            fn method(&self) -> &'static str {
                match self {
                    $(Self::$method(_) => stringify!($method),)*
                }
            }

            /// Settings of the same method from what `values` say; those that they leave out are the
            /// method's defaults.
            ///
            /// # Errors
            ///
            /// If there is a setting that the method does not have, or one of another type.
            pub fn read<'de, D: Deserializer<'de>>(&self, values: D) -> Result<Self, D::Error> {
                Ok(match self {
                    $(Self::$method(_) => Self::$method($config::deserialize(values)?),)*
                })
            }
        }
    };
}

planner_settings!(
    GaussNewton(GaussNewtonConfig),
    FirstOrder(FirstOrderConfig),
    ImageCollocation(ImageCollocationConfig),
    Grasp(GraspConfig),
    CemLatco(CemLatcoConfig),
    Cem(CemConfig),
    Icem(IcemConfig),
    Mppi(MppiConfig),
    GradientShooting(GradientShootingConfig),
    GaussNewtonShooting(GaussNewtonShootingConfig),
    Ilqr(IlqrConfig),
    RandomActions(RandomActionsConfig),
);

impl PlannerSettings {
    /// The same settings for plans of `horizon` steps.
    pub fn with_horizon(mut self, horizon: usize) -> Self {
        match &mut self {
            Self::GaussNewton(config) => config.horizon = horizon,
            Self::FirstOrder(config) => config.horizon = horizon,
            Self::ImageCollocation(config) => config.horizon = horizon,
            Self::Grasp(config) => config.horizon = horizon,
            Self::CemLatco(config) => {
                config.search.horizon = horizon;
                config.refinement.horizon = horizon;
            }
            Self::Cem(config) => config.horizon = horizon,
            Self::Icem(config) => config.horizon = horizon,
            Self::Mppi(config) => config.horizon = horizon,
            Self::GradientShooting(config) => config.horizon = horizon,
            Self::GaussNewtonShooting(config) => config.horizon = horizon,
            Self::Ilqr(config) => config.horizon = horizon,
            Self::RandomActions(config) => config.horizon = horizon,
        }
        self
    }

    fn planner(self, name: &'static str) -> Result<Box<dyn Planner>, ConfigError> {
        Ok(match self {
            Self::GaussNewton(config) => Box::new(GaussNewton::new(config)?.named(name)),
            Self::FirstOrder(config) => Box::new(FirstOrder::new(config)?.named(name)),
            Self::ImageCollocation(config) => Box::new(ImageCollocation::new(config)?),
            Self::Grasp(config) => Box::new(Grasp::new(config)?),
            Self::CemLatco(config) => Box::new(CemLatco::new(config)?),
            Self::Cem(config) => Box::new(Cem::new(config)?),
            Self::Icem(config) => Box::new(Icem::new(config)?),
            Self::Mppi(config) => Box::new(Mppi::new(config)?),
            Self::GradientShooting(config) => Box::new(GradientShooting::new(config)?),
            Self::GaussNewtonShooting(config) => Box::new(GaussNewtonShooting::new(config)?),
            Self::Ilqr(config) => Box::new(Ilqr::new(config)?),
            Self::RandomActions(config) => Box::new(RandomActions::new(config)?),
        })
    }
}

/// Every planner that [`planner`] can make.
pub const PLANNERS: &[PlannerInfo] = &[
    PlannerInfo {
        name: "latco",
        about: "latent collocation by Gauss-Newton and dual ascent (the default)",
        settings: || PlannerSettings::GaussNewton(GaussNewtonConfig::default()),
    },
    PlannerInfo {
        name: "latco-first-order",
        about: "latent collocation by Adam and dual ascent",
        settings: || PlannerSettings::FirstOrder(FirstOrderConfig::default()),
    },
    PlannerInfo {
        name: "latco-gaussian",
        about: "plans mean and variance of each latent, for stochastic tasks",
        settings: || PlannerSettings::GaussNewton(GaussNewtonConfig::gaussian()),
    },
    PlannerInfo {
        name: "latco-particles",
        about: "plans several particles a step, matched by their moments",
        settings: || PlannerSettings::FirstOrder(FirstOrderConfig::particles(5)),
    },
    PlannerInfo {
        name: "latco-likelihood",
        about: "constrains the likelihood of the planned latents",
        settings: || PlannerSettings::FirstOrder(FirstOrderConfig::likelihood()),
    },
    PlannerInfo {
        name: "latco-kl",
        about: "Gaussian plans constrained by the KL divergence",
        settings: || PlannerSettings::FirstOrder(FirstOrderConfig::kl()),
    },
    PlannerInfo {
        name: "latco-no-constraint",
        about: "ablation: the dynamics as a fixed penalty",
        settings: || PlannerSettings::GaussNewton(GaussNewtonConfig::no_constraint()),
    },
    PlannerInfo {
        name: "latco-no-relax",
        about: "ablation: the dynamics enforced from the start",
        settings: || PlannerSettings::GaussNewton(GaussNewtonConfig::no_relaxation()),
    },
    PlannerInfo {
        name: "image-collocation",
        about: "ablation: the plan's nodes are images",
        settings: || PlannerSettings::ImageCollocation(ImageCollocationConfig::default()),
    },
    PlannerInfo {
        name: "grasp",
        about: "virtual latents with noise, no gradients through state inputs",
        settings: || PlannerSettings::Grasp(GraspConfig::default()),
    },
    PlannerInfo {
        name: "cem-latco",
        about: "cross-entropy start, refined by collocation where that is better",
        settings: || PlannerSettings::CemLatco(CemLatcoConfig::default()),
    },
    PlannerInfo {
        name: "cem",
        about: "cross-entropy method over action sequences",
        settings: || PlannerSettings::Cem(CemConfig::default()),
    },
    PlannerInfo {
        name: "icem",
        about: "cross-entropy method with coloured noise and kept elites",
        settings: || PlannerSettings::Icem(IcemConfig::default()),
    },
    PlannerInfo {
        name: "mppi",
        about: "path integral control: action sequences weighted by their return",
        settings: || PlannerSettings::Mppi(MppiConfig::default()),
    },
    PlannerInfo {
        name: "shooting-gd",
        about: "Adam on the actions through the rolled-out model",
        settings: || PlannerSettings::GradientShooting(GradientShootingConfig::default()),
    },
    PlannerInfo {
        name: "shooting-gn",
        about: "Gauss-Newton on the actions through the rolled-out model",
        settings: || PlannerSettings::GaussNewtonShooting(GaussNewtonShootingConfig::default()),
    },
    PlannerInfo {
        name: "ilqr",
        about: "iterative linear-quadratic regulator with bounded actions",
        settings: || PlannerSettings::Ilqr(IlqrConfig::default()),
    },
    PlannerInfo {
        name: "random",
        about: "uniform random actions",
        settings: || PlannerSettings::RandomActions(RandomActionsConfig::default()),
    },
];

/// Why a planner cannot be made.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum CatalogueError {
    /// No planner has this name.
    #[error("unknown planner `{name}`, expected one of: {}", names())]
    Unknown {
        /// The name found.
        name: String,
    },
    /// The settings belong to another method.
    #[error("planner `{name}` takes the settings of {expected}, found those of {found}")]
    Method {
        /// The planner's name.
        name: &'static str,
        /// Its method.
        expected: &'static str,
        /// The method that the settings are of.
        found: &'static str,
    },
    /// The settings are refused.
    #[error("planner setting {0}")]
    Config(#[from] ConfigError),
}

/// What the catalogue knows of the planner of this name.
///
/// # Errors
///
/// If there is no such planner.
pub fn info(name: &str) -> Result<&'static PlannerInfo, CatalogueError> {
    let info = PLANNERS.iter().find(|info| info.name == name);
    info.ok_or_else(|| CatalogueError::Unknown {
        name: name.to_owned(),
    })
}

/// The planner of this name with its default settings and `horizon` steps, or the method's own
/// horizon where `None`.
///
/// # Errors
///
/// If there is no such planner, or the horizon is zero.
pub fn planner(name: &str, horizon: Option<usize>) -> Result<Box<dyn Planner>, CatalogueError> {
    let info = info(name)?;
    let settings = info.settings();
    info.with(match horizon {
        Some(horizon) => settings.with_horizon(horizon),
        None => settings,
    })
}

fn names() -> String {
    let names: Vec<_> = PLANNERS.iter().map(|info| info.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, MapDeserializer};

    use super::*;

    fn read(name: &str, values: &[(&'static str, usize)]) -> Result<PlannerSettings, Error> {
        let settings = info(name).unwrap().settings();
        settings.read(MapDeserializer::new(values.iter().copied()))
    }

    #[test]
    fn every_name_makes_a_planner_of_that_name_and_horizon() {
        for info in PLANNERS {
            let planner = planner(info.name, Some(7)).unwrap();
            assert_eq!((planner.name(), planner.horizon()), (info.name, 7));
        }
    }

    #[test]
    fn settings_are_read_for_the_method_of_a_name() {
        let expected = CemConfig {
            samples: 7,
            elites: 3,
            ..CemConfig::default()
        };
        let found = read("cem", &[("samples", 7), ("elites", 3)]);
        assert_eq!(found, Ok(PlannerSettings::Cem(expected)));
        assert!(read("latco", &[("samples", 7)]).is_err());
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        let settings = read("cem", &[("samples", 0)]).unwrap();
        let refused = info("cem").unwrap().with(settings).err();
        assert!(refused.unwrap().to_string().contains("samples"));
    }

    #[test]
    fn settings_of_another_method_are_refused() {
        let settings = info("cem").unwrap().settings();
        let refused = info("latco").unwrap().with(settings).err().unwrap();
        assert_eq!(
            refused.to_string(),
            "planner `latco` takes the settings of GaussNewton, found those of Cem"
        );
        let gaussian = info("latco-gaussian").unwrap();
        assert!(info("latco").unwrap().with(gaussian.settings()).is_ok());
    }
}
