use std::{cell::OnceCell, ops::Range};

use burn::tensor::Tensor;
use latco_kernels::join;

use crate::{DiagonalGaussian, LatentModel, Objective, Rewards};

/// The derivative of a map of latents and actions at a batch of points: of the mean transition
/// `μ(z, a)`, or of `[μ, σ](z, a)`, mean and standard deviation side by side.
///
/// No Jacobian is formed: cotangents are carried back and tangents forward, several of each at
/// every point. Several parts of a batch may be carried at once, on threads of their own.
pub trait Linearisation: Send {
    /// The map's outputs at the points, `[points, outputs]`.
    fn value(&self) -> Tensor<2>;

    /// Carries cotangents of the outputs back to the inputs, `(wᵀ ∂μ/∂z, wᵀ ∂μ/∂a)`.
    ///
    /// `cotangents` is `[points, rows, outputs]` for the points in the range; the answer is
    /// `[points, rows, latent]` and `[points, rows, action]`.
    fn pullback(&self, points: Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>);

    /// Carries tangents of the inputs forward, `∂μ/∂z · dz + ∂μ/∂a · da`.
    ///
    /// `latents` is `[points, rows, latent]` and `actions` `[points, rows, action]` for the points
    /// in the range; the answer is `[points, rows, outputs]`.
    fn pushforward(
        &self,
        points: Range<usize>,
        latents: Tensor<3>,
        actions: Tensor<3>,
    ) -> Tensor<3>;

    /// Where the points are those of `plans` rollouts, step by step: the gradient by the actions,
    /// `[plans, horizon, action]`, of a sum over steps whose direct derivatives by the latents that steps
    /// end in are `own` `[horizon · plans, 1, latent]`. `None`, the default, carries cotangents back step by
    /// step.
    fn gradient_along(&self, _own: &Tensor<3>, _plans: usize) -> Option<Tensor<3>> {
        None
    }

    /// At the same points: the derivatives of every term of every step, whose own by the latents that steps
    /// end in are `own` `[horizon · plans, terms, latent]`, by all latents and actions before,
    /// `[plans, horizon · terms, horizon · latent]` and `[plans, horizon · terms, horizon · action]`; those
    /// of the last step first, by at most so many `workers`, threads of a CPU. `None`, the default, carries
    /// cotangents back step by step.
    fn adjoints_along(
        &self,
        _own: &Tensor<3>,
        _plans: usize,
        _workers: usize,
    ) -> Option<(Tensor<3>, Tensor<3>)> {
        None
    }

    /// At the same points: the change of all latents, `[plans, horizon, latent]`, with that of the actions
    /// `[plans, horizon, action]` and a `drive` `d` `[plans, horizon, latent]`:
    /// `dz_{t+1} = A_t dz_t + B_t da_t + d_t` from `dz_0 = 0`. `None`, the default, carries tangents forward
    /// step by step.
    fn changes_along(&self, _actions: &Tensor<3>, _drive: &Tensor<3>) -> Option<Tensor<3>> {
        None
    }
}

/// Rewards at a batch of points, with the derivatives that an [`Objective`] needs.
#[derive(Clone, Debug)]
pub struct RewardLinearisation {
    /// The rewards at the points.
    pub rewards: Rewards,
    /// `∂ρ/∂z`, `[points, residuals, latent]`, of [`Objective::Residuals`]; `∂r/∂z`,
    /// `[points, 1, latent]`, of [`Objective::Reward`], and `∂ log r/∂z` of [`Objective::LogReward`].
    pub jacobian: Tensor<3>,
}

impl RewardLinearisation {
    /// Differentiates at `latents` `[points, latent]`, one backward pass for each row of the
    /// Jacobian.
    pub fn by_autodiff<M>(model: &M, latents: Tensor<2>, objective: Objective) -> Self
    where
        M: LatentModel + ?Sized,
    {
        let rewards = model.rewards(latents.clone());
        let of = |inputs: Tensor<2>| match objective {
            Objective::Reward => model.reward(inputs).unsqueeze_dim(1),
            Objective::LogReward => model.log_reward(inputs).unsqueeze_dim(1),
            Objective::Residuals => model.reward_residuals(inputs),
        };
        let count = match objective {
            Objective::Reward | Objective::LogReward => 1,
            Objective::Residuals => rewards.residuals.dims()[1],
        };
        let gradients = (0..count)
            .map(|column| {
                let inputs = latents.clone().autodiff().require_grad();
                let selected: Tensor<2> = of(inputs.clone()).narrow(1, column, 1);
                gradients_of(selected.sum(), &inputs, &inputs).0
            })
            .collect();
        Self {
            rewards,
            jacobian: Tensor::stack(gradients, 1),
        }
    }
}

/// A [`Linearisation`] of any model by autodiff, of its mean transition or of mean and standard deviation.
///
/// A pullback is one backward pass. Burn has no forward mode, so a pushforward multiplies with the
/// Jacobian, which is formed from pullbacks of unit cotangents when it is first needed.
pub struct AutodiffLinearisation<'a> {
    map: Box<dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<2> + Send + 'a>,
    latents: Tensor<2>,
    actions: Tensor<2>,
    value: Tensor<2>,
    jacobians: OnceCell<(Tensor<3>, Tensor<3>)>,
}

impl<'a> AutodiffLinearisation<'a> {
    /// Of the mean transition `μ`, at `latents` `[points, latent]` and `actions` `[points, action]`.
    pub fn new<M>(model: &'a M, latents: Tensor<2>, actions: Tensor<2>) -> Self
    where
        M: LatentModel + ?Sized,
    {
        let map = |latents, actions| model.transition_mean(latents, actions);
        Self::of(Box::new(map), latents, actions)
    }

    /// Of `[μ, σ]`, mean and standard deviation of the transition side by side.
    pub fn of_moments<M>(model: &'a M, latents: Tensor<2>, actions: Tensor<2>) -> Self
    where
        M: LatentModel + ?Sized,
    {
        let map = |latents, actions| {
            let DiagonalGaussian { mean, std } = model.transition(latents, actions);
            join(vec![mean, std], 1)
        };
        Self::of(Box::new(map), latents, actions)
    }

    fn of(
        map: Box<dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<2> + Send + 'a>,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Self {
        Self {
            value: map(latents.clone(), actions.clone()),
            map,
            latents,
            actions,
            jacobians: OnceCell::new(),
        }
    }

    /// The Jacobians by latent and by action at every point, `[points, outputs, latent]` and
    /// `[points, outputs, action]`.
    fn jacobians(&self) -> &(Tensor<3>, Tensor<3>) {
        self.jacobians.get_or_init(|| {
            let [points, outputs] = self.value.dims();
            let unit = Tensor::<2>::eye(outputs, &self.latents.device());
            self.pullback(0..points, unit.unsqueeze_dim::<3>(0).repeat_dim(0, points))
        })
    }
}

impl Linearisation for AutodiffLinearisation<'_> {
    fn value(&self) -> Tensor<2> {
        self.value.clone()
    }

    fn pullback(&self, points: Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let [count, rows, outputs] = cotangents.dims();
        let repeated = |inputs: &Tensor<2>| {
            let selected = inputs.clone().narrow(0, points.start, count);
            repeat_rows(selected, rows).autodiff().require_grad()
        };
        let latents = repeated(&self.latents);
        let actions = repeated(&self.actions);
        let value = (self.map)(latents.clone(), actions.clone());
        let weighted = value * cotangents.reshape([count * rows, outputs]).autodiff();
        let (by_latent, by_action) = gradients_of(weighted.sum(), &latents, &actions);
        let per_point = |gradient: Tensor<2>| {
            let size = gradient.dims()[1];
            gradient.reshape([count, rows, size])
        };
        (per_point(by_latent), per_point(by_action))
    }

    fn pushforward(
        &self,
        points: Range<usize>,
        latents: Tensor<3>,
        actions: Tensor<3>,
    ) -> Tensor<3> {
        let (by_latent, by_action) = self.jacobians();
        let at = |jacobian: &Tensor<3>| {
            jacobian
                .clone()
                .narrow(0, points.start, points.len())
                .swap_dims(1, 2)
        };
        latents.matmul(at(by_latent)) + actions.matmul(at(by_action))
    }
}

/// The gradients of `value` at two leaves; zero where it does not depend on them.
pub(crate) fn gradients_of(
    value: Tensor<1>,
    latents: &Tensor<2>,
    actions: &Tensor<2>,
) -> (Tensor<2>, Tensor<2>) {
    let zero = |inputs: &Tensor<2>| inputs.clone().without_autodiff().zeros_like();
    if !value.is_tracked() {
        return (zero(latents), zero(actions));
    }
    let mut gradients = value.backward();
    let mut take = |inputs: &Tensor<2>| {
        inputs
            .grad_remove(&mut gradients)
            .unwrap_or_else(|| zero(inputs))
    };
    (take(latents), take(actions))
}

/// Repeats each row of `[points, size]`, giving `[points · rows, size]`.
fn repeat_rows(inputs: Tensor<2>, rows: usize) -> Tensor<2> {
    let [points, size] = inputs.dims();
    inputs
        .unsqueeze_dim::<3>(1)
        .repeat_dim(1, rows)
        .reshape([points * rows, size])
}
