use thiserror::Error;

/// Why no plan came back.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The belief has another size than the model's latent.
    #[error("the belief has {found} latent dimensions, the model expects {expected}")]
    BeliefSize {
        /// The model's latent size.
        expected: usize,
        /// The size found.
        found: usize,
    },
    /// The model or the plan produced NaN or infinity.
    #[error("{what} is not finite at iteration {iteration}, step {step}")]
    NotFinite {
        /// Which quantity.
        what: &'static str,
        /// The optimiser's iteration, from 0.
        iteration: usize,
        /// The step of the plan, from 0.
        step: usize,
    },
    /// A tensor could not be read back from the device.
    #[error("reading {what} back from the device failed: {reason}")]
    Device {
        /// Which quantity.
        what: &'static str,
        /// The device's message.
        reason: String,
    },
    /// The deadline came in the midst of an iteration; planners answer with what they have.
    #[error("the deadline came before any plan was found")]
    Interrupted,
    /// A step that the plan does not have.
    #[error("step {step} is beyond the plan's horizon of {horizon}")]
    BeyondHorizon {
        /// The step asked for, from 0.
        step: usize,
        /// The plan's steps.
        horizon: usize,
    },
    /// Gauss–Newton with a divergence that is no sum of squares.
    #[error(
        "Gauss-Newton needs a divergence with residuals, this one has none: implement `Residuals` for it, \
         or plan with `latco-first-order`"
    )]
    NoResiduals,
    /// An image-space plan on a model without images.
    #[error(
        "image-space collocation needs a model with an image space, this one has none (nor has any with a \
         continuation head, whose latents hold a weight that no image shows)"
    )]
    NoImageSpace,
    /// A warm start that does not fit this problem.
    #[error("the warm start has {what} of {found}, this problem needs {expected}")]
    WarmStart {
        /// Which dimension.
        what: &'static str,
        /// The size needed.
        expected: usize,
        /// The size found.
        found: usize,
    },
}

impl PlanError {
    /// The same, found in this iteration.
    pub(crate) fn at_iteration(mut self, index: usize) -> Self {
        if let Self::NotFinite { iteration, .. } = &mut self {
            *iteration = index;
        }
        self
    }
}

/// A setting outside its allowed range.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("`{name}` is {found}, expected {expected}")]
pub struct ConfigError {
    /// The setting's name.
    pub name: &'static str,
    /// The value found.
    pub found: String,
    /// What is allowed.
    pub expected: &'static str,
}

impl ConfigError {
    /// Refuses `value` of the setting `name` unless `allowed` holds.
    pub fn require<T: core::fmt::Display>(
        allowed: bool,
        name: &'static str,
        value: T,
        expected: &'static str,
    ) -> Result<(), Self> {
        if allowed {
            return Ok(());
        }
        Err(Self {
            name,
            found: value.to_string(),
            expected,
        })
    }

    /// Refuses a count of zero.
    pub fn require_positive(name: &'static str, value: usize) -> Result<(), Self> {
        Self::require(value > 0, name, value, "at least 1")
    }

    /// Refuses NaN, infinity and anything that is not above zero, in the single precision that
    /// tensors have.
    pub fn require_positive_real(name: &'static str, value: f64) -> Result<(), Self> {
        let on_device = value as f32;
        Self::require(
            on_device.is_finite() && on_device > 0.0,
            name,
            value,
            "a number above 0 that is finite in single precision",
        )
    }

    /// Refuses negative numbers, NaN, and what is infinite in single precision.
    pub fn require_non_negative(name: &'static str, value: f64) -> Result<(), Self> {
        Self::require(
            (value as f32).is_finite() && value >= 0.0,
            name,
            value,
            "a number of at least 0 that is finite in single precision",
        )
    }
}
