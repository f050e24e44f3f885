//! Planners by name, and their settings.

use std::any::Any;

use thiserror::Error;

pub use crate::settings::Settings;
use crate::{
    ConfigError, Planner, RandomActionsConfig,
    collocation::{
        CemLatcoConfig, FirstOrderConfig, GaussNewtonConfig, GraspConfig, ImageCollocationConfig,
    },
    methods::{BestOfN, Latco, LatcoPaper, Refined},
    shooting::{CemConfig, GradientShootingConfig, IcemConfig, MppiConfig},
    solve::{Method, Solver},
};

/// A planner's name, what it does, and its settings.
#[derive(Clone, Copy, Debug)]
pub struct PlannerInfo {
    /// The name users type.
    pub name: &'static str,
    /// One line about the method.
    pub about: &'static str,
    settings: fn() -> Box<dyn Settings>,
}

impl PlannerInfo {
    /// Its default settings.
    pub fn settings(&self) -> Box<dyn Settings> {
        (self.settings)()
    }

    /// The planner with these settings, under this name.
    ///
    /// # Errors
    ///
    /// If the settings are another method's; names the first one outside its range.
    pub fn with(&self, settings: Box<dyn Settings>) -> Result<Box<dyn Planner>, CatalogueError> {
        let expected = self.settings();
        let kind = |settings: &dyn Any| settings.type_id();
        if kind(settings.as_ref()) != kind(expected.as_ref()) {
            return Err(CatalogueError::Method {
                name: self.name,
                expected: expected.method(),
                found: settings.method(),
            });
        }
        let method: Box<dyn Method> = settings;
        Ok(Box::new(Solver::new(self.name, method)?))
    }
}

/// Every planner that [`planner`] can make.
pub const PLANNERS: &[PlannerInfo] = &[
    PlannerInfo {
        name: "latco",
        about: "relaxed collocation to goal latents and sampled starts, polished (the default)",
        settings: || Box::new(Latco::default()),
    },
    PlannerInfo {
        name: "latco-paper",
        about: "latent collocation as published: one normal start, dual ascent; then a polish",
        settings: || Box::new(LatcoPaper::default()),
    },
    PlannerInfo {
        name: "latco-first-order",
        about: "latent collocation by Adam and dual ascent",
        settings: || Box::new(FirstOrderConfig::default()),
    },
    PlannerInfo {
        name: "latco-gaussian",
        about: "plans mean and variance of each latent, for stochastic tasks",
        settings: || Box::new(GaussNewtonConfig::gaussian()),
    },
    PlannerInfo {
        name: "latco-particles",
        about: "plans several particles a step, matched by their moments",
        settings: || Box::new(FirstOrderConfig::particles(5)),
    },
    PlannerInfo {
        name: "latco-likelihood",
        about: "constrains the likelihood of the planned latents",
        settings: || Box::new(FirstOrderConfig::likelihood()),
    },
    PlannerInfo {
        name: "latco-kl",
        about: "Gaussian plans constrained by the KL divergence",
        settings: || Box::new(FirstOrderConfig::kl()),
    },
    PlannerInfo {
        name: "latco-no-constraint",
        about: "ablation: the dynamics as a fixed penalty",
        settings: || Box::new(GaussNewtonConfig::no_constraint()),
    },
    PlannerInfo {
        name: "latco-no-relax",
        about: "ablation: the dynamics enforced from the start",
        settings: || Box::new(GaussNewtonConfig::no_relaxation()),
    },
    PlannerInfo {
        name: "image-collocation",
        about: "ablation: the plan's nodes are images",
        settings: || Box::new(ImageCollocationConfig::default()),
    },
    PlannerInfo {
        name: "grasp",
        about: "virtual latents with noise, no gradients through state inputs",
        settings: || Box::new(GraspConfig::default()),
    },
    PlannerInfo {
        name: "cem-latco",
        about: "cross-entropy start, refined by collocation where that is better",
        settings: || Box::new(CemLatcoConfig::default()),
    },
    PlannerInfo {
        name: "cem",
        about: "cross-entropy method over action sequences",
        settings: || Box::new(CemConfig::default()),
    },
    PlannerInfo {
        name: "icem",
        about: "cross-entropy method with coloured noise and kept elites",
        settings: || Box::new(IcemConfig::default()),
    },
    PlannerInfo {
        name: "icem-gn",
        about: "icem, then Gauss-Newton on the actions that it found",
        settings: || Box::new(Refined::<IcemConfig>::default()),
    },
    PlannerInfo {
        name: "best-of-n",
        about: "the best of smooth random rollouts, nothing optimised",
        settings: || Box::new(BestOfN::default()),
    },
    PlannerInfo {
        name: "mppi",
        about: "path integral control: action sequences weighted by their return",
        settings: || Box::new(MppiConfig::default()),
    },
    PlannerInfo {
        name: "shooting-gd",
        about: "Adam on the actions through the rolled-out model",
        settings: || Box::new(GradientShootingConfig::default()),
    },
    PlannerInfo {
        name: "shooting-gn",
        about: "Gauss-Newton on the actions through the rolled-out model",
        settings: || Box::new(Refined::gauss_newton_shooting()),
    },
    PlannerInfo {
        name: "ilqr",
        about: "iterative linear-quadratic regulator with bounded actions",
        settings: || Box::new(Refined::ilqr()),
    },
    PlannerInfo {
        name: "random",
        about: "uniform random actions",
        settings: || Box::new(RandomActionsConfig::default()),
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

    fn read(name: &str, values: &[(&'static str, usize)]) -> Result<Box<dyn Settings>, Error> {
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
        assert_eq!(found, Ok(expected.boxed()));
        assert!(read("latco", &[("elites", 7)]).is_err());
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
            "planner `latco` takes the settings of Latco, found those of CemConfig"
        );
        let polished = info("ilqr").unwrap().settings();
        let refused = info("icem-gn").unwrap().with(polished).err().unwrap();
        let refused = refused.to_string();
        assert!(
            refused.contains("IcemConfig>, found") && refused.contains("BestOfN>"),
            "{refused}"
        );
        let gaussian = info("latco-gaussian").unwrap();
        let ablation = info("latco-no-relax").unwrap();
        assert!(ablation.with(gaussian.settings()).is_ok());
    }
}
