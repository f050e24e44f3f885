use std::sync::Arc;

use burn::tensor::Tensor;

/// A constraint of the user's own on latents and actions, with its own multipliers.
///
/// The closure takes the latent that a step ends in, `[rows, latent]`, and its action,
/// `[rows, action]`, and gives `h`, `[rows]`. Of plans whose nodes are particles or Gaussians it sees the mean
/// latent.
///
/// ```
/// use latco_plan::{
///     collocation::{Constraint, GaussNewtonConfig},
///     solve::Solver,
/// };
///
/// // The first latent component stays below ½.
/// let bound = Constraint::inequality("bound", |latents, _actions| {
///     latents.narrow(1, 0, 1).squeeze_dim::<1>(1) - 0.5
/// });
/// let planner = Solver::new("bound", GaussNewtonConfig::default())?.with_constraint(bound)?;
/// # Ok::<(), latco_plan::ConfigError>(())
/// ```
///
/// Violations are squares, as those of the dynamics: ε allows `h` to exceed zero by `√ε`. A plan whose `h` is no
/// number violates it. Gauss–Newton needs no derivative of an inequality where that holds without a multiplier.
#[derive(Clone)]
pub struct Constraint {
    name: String,
    kind: ConstraintKind,
    function: Arc<ConstraintFunction>,
}

type ConstraintFunction = dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<1> + Send + Sync;

#[derive(Clone, Copy)]
enum ConstraintKind {
    Equality,
    Inequality,
}

impl Constraint {
    /// `h(z, a) = 0`.
    pub fn equality(
        name: impl Into<String>,
        function: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<1> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            kind: ConstraintKind::Equality,
            function: Arc::new(function),
        }
    }

    /// `h(z, a) ≤ 0`.
    pub fn inequality(
        name: impl Into<String>,
        function: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<1> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            kind: ConstraintKind::Inequality,
            function: Arc::new(function),
        }
    }

    /// The name given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The residual whose square is the violation: `h`, or `max(h, 0)` of an inequality; `[rows]`.
    pub fn residual(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<1> {
        let value = self.value(latents, actions);
        match self.kind {
            ConstraintKind::Equality => value,
            ConstraintKind::Inequality => value.clamp_min(0.0),
        }
    }

    /// `h`, `[rows]`.
    pub(crate) fn value(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<1> {
        (self.function)(latents, actions)
    }

    /// Where `h` is to be.
    pub(crate) fn interval(&self) -> [f64; 2] {
        match self.kind {
            ConstraintKind::Equality => [0.0, 0.0],
            ConstraintKind::Inequality => [f64::NEG_INFINITY, 0.0],
        }
    }
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Constraint")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
