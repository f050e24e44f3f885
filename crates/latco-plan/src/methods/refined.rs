use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{BestOfN, Elimination, GaussNewtonPolish};
use crate::{
    ConfigError, Noise, PlanError,
    solve::{Method, Pool, Problem, Search, sequence},
};

/// A search, then [Gauss–Newton shooting](GaussNewtonPolish) from what it found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    bound = "S: Serialize + DeserializeOwned + Default"
)]
pub struct Refined<S> {
    /// What finds the starts.
    pub search: S,
    /// What refines them; its horizon is that of the search.
    pub refinement: GaussNewtonPolish,
}

/// Random sequences that the second-order shooting methods start from the best of.
const STARTS: usize = 64;

impl Refined<BestOfN> {
    /// Gauss–Newton shooting with one system for all reward residuals: for large latents and short
    /// horizons.
    pub fn gauss_newton_shooting() -> Self {
        Self::by(Elimination::ResidualSpace)
    }

    /// The iterative linear-quadratic regulator with bounded actions (Tassa, Mansard & Todorov, ICRA
    /// 2014), with Gauss–Newton curvature of the cost and none of the dynamics.
    pub fn ilqr() -> Self {
        Self::by(Elimination::Riccati)
    }

    fn by(elimination: Elimination) -> Self {
        Self {
            search: BestOfN {
                samples: STARTS,
                ..BestOfN::default()
            },
            refinement: GaussNewtonPolish {
                elimination,
                ..GaussNewtonPolish::default()
            },
        }
    }
}

impl<S: Method + Clone + 'static> Method for Refined<S> {
    fn horizon(&self) -> usize {
        self.search.horizon()
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.search.set_horizon(horizon);
        self.refinement.set_horizon(horizon);
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.search.validate()?;
        self.refinement.validate()
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let parts: Vec<Box<dyn Method>> = vec![
            Box::new(self.search.clone()),
            Box::new(self.refinement.clone()),
        ];
        Ok(sequence(parts, problem, noise))
    }
}
