use std::{fmt, str::FromStr};

use burn::tensor::{Tensor, activation::log_sigmoid};
use serde::Serialize;

use crate::{ProblemError, error::nearest};

/// Keeps the slope of a distance finite at the goal.
const LEAST_SQUARE: f64 = 1e-6;

/// How a squared distance d² becomes a reward in `[0, 1]`, for a width w.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// `exp(−d² / 2w²)`.
    #[default]
    Gauss,
    /// `1 / (1 + d²/w²)`.
    Cauchy,
    /// `σ(4 (w − d) / w)`, with `d = √(d² + 10⁻⁶)`.
    Sigmoid,
}

impl Head {
    /// Every head.
    pub const ALL: [Self; 3] = [Self::Gauss, Self::Cauchy, Self::Sigmoid];

    /// The name that users type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauss => "gauss",
            Self::Cauchy => "cauchy",
            Self::Sigmoid => "sigmoid",
        }
    }

    /// The logarithms of the rewards of `squares` d² of any shape; they do not underflow.
    pub(crate) fn log_rewards(self, squares: Tensor<2>, width: f64) -> Tensor<2> {
        let square = width * width;
        match self {
            Self::Gauss => squares * (-0.5 / square),
            Self::Cauchy => (squares * square.recip()).log1p().neg(),
            Self::Sigmoid => {
                let distances = (squares + LEAST_SQUARE).sqrt();
                log_sigmoid(distances * (-4.0 / width) + 4.0)
            }
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Head {
    type Err = ProblemError;

    /// # Errors
    /// [`ProblemError::UnknownHead`].
    fn from_str(name: &str) -> Result<Self, ProblemError> {
        let known = Self::ALL.map(Self::name);
        Self::ALL
            .into_iter()
            .find(|head| head.name() == name)
            .ok_or_else(|| ProblemError::UnknownHead {
                name: name.to_owned(),
                nearest: nearest(name, &known),
                known: known.join(", "),
            })
    }
}
