//! How far a planned node is from what the dynamics make of the one before: an open trait, one file for
//! each divergence.

mod bregman;
mod likelihood;
mod moments;

use std::{fmt::Debug, sync::Arc};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use self::{
    bregman::{Bregman, ConvexFunction, NegativeEntropy, SquaredNorm},
    likelihood::Likelihood,
    moments::Moments,
};
use super::Transcription;
use crate::{ConfigError, DiagonalGaussian};

/// A divergence between planned nodes and the dynamics' prediction, whose violations `c ≥ 0` are 0 where
/// both agree.
///
/// Rows are steps, each by itself. `planned` is `[rows, node]`, and `predicted` is `p(z' | z, a)` of the
/// nodes before, of the same shape. A divergence that is a sum of squares should implement [`Residuals`]
/// in place of this trait: it is a `Divergence` by that, and Gauss–Newton takes it too.
pub trait Divergence: Debug + Send + Sync {
    /// The violations, `[rows]`, of one constraint or more; each has multipliers of its own.
    fn violations(
        &self,
        node: Transcription,
        planned: Tensor<2>,
        predicted: &DiagonalGaussian,
    ) -> Vec<Tensor<1>>;

    /// Refuses nodes that it says nothing about, and parameters outside their range.
    ///
    /// # Errors
    ///
    /// Names the setting.
    fn validate(&self, _node: Transcription) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Whether the prediction's deviations are looked at. Where not, they are not computed, and what they
    /// hold means nothing.
    fn needs_deviations(&self, _node: Transcription) -> bool {
        true
    }

    /// The residuals whose squares the violations are; `None`, the default, of other divergences.
    fn residuals(&self) -> Option<&dyn Residuals> {
        None
    }
}

/// A [`Divergence`] that is a sum of squares, `c = ‖d‖²`.
pub trait Residuals: Debug + Send + Sync {
    /// `d`, `[rows, residuals]`, for each constraint.
    fn residuals(
        &self,
        node: Transcription,
        planned: Tensor<2>,
        predicted: &DiagonalGaussian,
    ) -> Vec<Tensor<2>>;

    /// As [`Divergence::validate`].
    ///
    /// # Errors
    ///
    /// Names the setting.
    fn validate(&self, _node: Transcription) -> Result<(), ConfigError> {
        Ok(())
    }

    /// As [`Divergence::needs_deviations`].
    fn needs_deviations(&self, _node: Transcription) -> bool {
        true
    }

    /// What is known of the residuals' derivative by the planned node: the more, the faster Gauss–Newton
    /// is.
    fn structure(&self, _node: Transcription) -> Structure {
        Structure::Dense
    }
}

/// How residuals depend on the planned node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// There is one constraint, `d = planned − predicted mean`.
    Difference,
    /// All residuals together are as many as a node has components, and each depends on the component
    /// in its place alone.
    Elementwise,
    /// In any way.
    Dense,
}

impl<R: Residuals> Divergence for R {
    fn violations(
        &self,
        node: Transcription,
        planned: Tensor<2>,
        predicted: &DiagonalGaussian,
    ) -> Vec<Tensor<1>> {
        let residuals = Residuals::residuals(self, node, planned, predicted);
        residuals.into_iter().map(sum_of_squares).collect()
    }

    fn validate(&self, node: Transcription) -> Result<(), ConfigError> {
        Residuals::validate(self, node)
    }

    fn needs_deviations(&self, node: Transcription) -> bool {
        Residuals::needs_deviations(self, node)
    }

    fn residuals(&self) -> Option<&dyn Residuals> {
        Some(self)
    }
}

impl dyn Divergence {
    /// What is known of the residuals' derivative; `None` where there are no residuals.
    pub(super) fn structure(&self, node: Transcription) -> Option<Structure> {
        self.residuals().map(|residuals| residuals.structure(node))
    }

    /// How many constraints there are on each step between such `nodes`.
    pub(super) fn constraints(&self, node: Transcription, nodes: Tensor<2>) -> usize {
        let predicted = DiagonalGaussian::new(nodes.clone(), nodes.ones_like());
        self.violations(node, nodes, &predicted).len()
    }
}

/// The squared lengths of rows `[rows, size]`, `[rows]`.
fn sum_of_squares(values: Tensor<2>) -> Tensor<1> {
    values.square().sum_dim(1).squeeze_dim(1)
}

/// The divergence of a planner's settings: one of the library's by name, or the user's own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// [`Moments`].
    #[default]
    Moments,
    /// [`Bregman`] of this function.
    Bregman(Generator),
    /// [`Likelihood`].
    Likelihood {
        /// The least standard deviation.
        std_floor: f64,
    },
    /// Any other. Settings with it cannot be written down.
    #[serde(skip)]
    Own(Arc<dyn Divergence>),
}

/// The library's own functions that generate a Bregman divergence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    /// [`SquaredNorm`].
    SquaredNorm,
    /// [`NegativeEntropy`].
    NegativeEntropy {
        /// The deviation of the noise.
        std_floor: f64,
    },
}

impl Measure {
    /// The divergence itself.
    pub fn divergence(&self) -> Arc<dyn Divergence> {
        match self {
            Self::Moments => Arc::new(Moments),
            Self::Bregman(Generator::SquaredNorm) => Arc::new(SquaredNorm),
            Self::Bregman(Generator::NegativeEntropy { std_floor }) => {
                Arc::new(Bregman(NegativeEntropy {
                    std_floor: *std_floor,
                }))
            }
            Self::Likelihood { std_floor } => Arc::new(Likelihood {
                std_floor: *std_floor,
            }),
            Self::Own(own) => Arc::clone(own),
        }
    }
}

impl<D: Divergence + 'static> From<D> for Measure {
    fn from(own: D) -> Self {
        Self::Own(Arc::new(own))
    }
}

impl PartialEq for Measure {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Moments, Self::Moments) => true,
            (Self::Bregman(own), Self::Bregman(other)) => own == other,
            (Self::Likelihood { std_floor: own }, Self::Likelihood { std_floor: other }) => {
                own == other
            }
            (Self::Own(own), Self::Own(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }
}
