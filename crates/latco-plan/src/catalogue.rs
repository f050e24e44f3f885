//! Planners by name.

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

/// A planner's name, what it does, and how it is made.
#[derive(Clone, Copy, Debug)]
pub struct PlannerInfo {
    /// The name users type.
    pub name: &'static str,
    /// One line about the method.
    pub about: &'static str,
    make: fn(Option<usize>) -> Made,
}

type Made = Result<Box<dyn Planner>, ConfigError>;

/// Every planner that [`planner`] can make.
pub const PLANNERS: &[PlannerInfo] = &[
    PlannerInfo {
        name: "latco",
        about: "latent collocation by Gauss-Newton and dual ascent (the default)",
        make: |horizon| gauss_newton("latco", GaussNewtonConfig::default(), horizon),
    },
    PlannerInfo {
        name: "latco-first-order",
        about: "latent collocation by Adam and dual ascent",
        make: |horizon| first_order("latco-first-order", FirstOrderConfig::default(), horizon),
    },
    PlannerInfo {
        name: "latco-gaussian",
        about: "plans mean and variance of each latent, for stochastic tasks",
        make: |horizon| gauss_newton("latco-gaussian", GaussNewtonConfig::gaussian(), horizon),
    },
    PlannerInfo {
        name: "latco-particles",
        about: "plans several particles a step, matched by their moments",
        make: |horizon| first_order("latco-particles", FirstOrderConfig::particles(5), horizon),
    },
    PlannerInfo {
        name: "latco-likelihood",
        about: "constrains the likelihood of the planned latents",
        make: |horizon| first_order("latco-likelihood", FirstOrderConfig::likelihood(), horizon),
    },
    PlannerInfo {
        name: "latco-kl",
        about: "Gaussian plans constrained by the KL divergence",
        make: |horizon| first_order("latco-kl", FirstOrderConfig::kl(), horizon),
    },
    PlannerInfo {
        name: "latco-no-constraint",
        about: "ablation: the dynamics as a fixed penalty",
        make: |horizon| {
            let config = GaussNewtonConfig::no_constraint();
            gauss_newton("latco-no-constraint", config, horizon)
        },
    },
    PlannerInfo {
        name: "latco-no-relax",
        about: "ablation: the dynamics enforced from the start",
        make: |horizon| {
            let config = GaussNewtonConfig::no_relaxation();
            gauss_newton("latco-no-relax", config, horizon)
        },
    },
    PlannerInfo {
        name: "image-collocation",
        about: "ablation: the plan's nodes are images",
        make: |horizon| {
            let mut config = ImageCollocationConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Ok(Box::new(ImageCollocation::new(config)?))
        },
    },
    PlannerInfo {
        name: "grasp",
        about: "virtual latents with noise, no gradients through state inputs",
        make: |horizon| {
            let mut config = GraspConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Ok(Box::new(Grasp::new(config)?))
        },
    },
    PlannerInfo {
        name: "cem-latco",
        about: "cross-entropy start, refined by collocation where that is better",
        make: |horizon| {
            let mut config = CemLatcoConfig::default();
            config.search.horizon = horizon.unwrap_or(config.search.horizon);
            config.refinement.horizon = config.search.horizon;
            Ok(Box::new(CemLatco::new(config)?))
        },
    },
    PlannerInfo {
        name: "cem",
        about: "cross-entropy method over action sequences",
        make: |horizon| {
            let mut config = CemConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Ok(Box::new(Cem::new(config)?))
        },
    },
    PlannerInfo {
        name: "icem",
        about: "cross-entropy method with coloured noise and kept elites",
        make: |horizon| {
            let mut config = IcemConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Ok(Box::new(Icem::new(config)?))
        },
    },
    PlannerInfo {
        name: "mppi",
        about: "path integral control: action sequences weighted by their return",
        make: |horizon| {
            let mut config = MppiConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Ok(Box::new(Mppi::new(config)?))
        },
    },
    PlannerInfo {
        name: "shooting-gd",
        about: "Adam on the actions through the rolled-out model",
        make: |horizon| {
            let mut config = GradientShootingConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Ok(Box::new(GradientShooting::new(config)?))
        },
    },
    PlannerInfo {
        name: "shooting-gn",
        about: "Gauss-Newton on the actions through the rolled-out model",
        make: |horizon| {
            let mut config = GaussNewtonShootingConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Ok(Box::new(GaussNewtonShooting::new(config)?))
        },
    },
    PlannerInfo {
        name: "ilqr",
        about: "iterative linear-quadratic regulator with bounded actions",
        make: |horizon| {
            let mut config = IlqrConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Ok(Box::new(Ilqr::new(config)?))
        },
    },
    PlannerInfo {
        name: "random",
        about: "uniform random actions",
        make: |horizon| {
            let mut config = RandomActionsConfig::default();
            config.horizon = horizon.unwrap_or(config.horizon);
            Ok(Box::new(RandomActions::new(config)?))
        },
    },
];

fn gauss_newton(name: &'static str, mut config: GaussNewtonConfig, horizon: Option<usize>) -> Made {
    config.horizon = horizon.unwrap_or(config.horizon);
    Ok(Box::new(GaussNewton::new(config)?.named(name)))
}

fn first_order(name: &'static str, mut config: FirstOrderConfig, horizon: Option<usize>) -> Made {
    config.horizon = horizon.unwrap_or(config.horizon);
    Ok(Box::new(FirstOrder::new(config)?.named(name)))
}

/// Why a planner cannot be made.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum CatalogueError {
    /// No planner has this name.
    #[error("unknown planner `{name}`, expected one of: {}", names())]
    Unknown {
        /// The name found.
        name: String,
    },
    /// The settings are refused.
    #[error("planner setting {0}")]
    Config(#[from] ConfigError),
}

/// The planner of this name with its default settings and `horizon` steps, or the method's own
/// horizon where `None`.
///
/// # Errors
///
/// If there is no such planner, or the horizon is zero.
pub fn planner(name: &str, horizon: Option<usize>) -> Result<Box<dyn Planner>, CatalogueError> {
    let info = PLANNERS.iter().find(|info| info.name == name);
    let info = info.ok_or_else(|| CatalogueError::Unknown {
        name: name.to_owned(),
    })?;
    Ok((info.make)(horizon)?)
}

fn names() -> String {
    let names: Vec<_> = PLANNERS.iter().map(|info| info.name).collect();
    names.join(", ")
}
