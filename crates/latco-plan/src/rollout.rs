use burn::tensor::Tensor;

use crate::LatentModel;

/// Latents and rewards that a batch of action sequences leads to under the model's mean.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// `z_1 … z_T`, `[plans, horizon, latent]`.
    pub latents: Tensor<3>,
    /// `r(z_1) … r(z_T)`, `[plans, horizon]`.
    pub rewards: Tensor<2>,
}

impl Rollout {
    /// The summed reward of each plan, `[plans]`.
    pub fn returns(&self) -> Tensor<1> {
        self.rewards.clone().sum_dim(1).squeeze_dim(1)
    }
}

/// Rolls `actions` `[plans, horizon, action]` out from `start` `[plans, latent]`:
/// `z_{t+1} = μ(z_t, a_t)`.
pub fn roll_out(model: &dyn LatentModel, start: Tensor<2>, actions: Tensor<3>) -> Rollout {
    let [plans, horizon, _] = actions.dims();
    let latents = latents_along(start, horizon, |latent, step| {
        model.transition_mean(latent, at_step(&actions, step))
    });
    Rollout {
        rewards: rewards_along(model, latents.clone()).reshape([plans, horizon]),
        latents,
    }
}

/// The latents that `actions` `[plans, horizon, action]` lead to from `start` `[plans, latent]` where
/// each step misses the model by its `defects` `[plans, horizon, latent]`:
/// `z_{t+1} = μ(z_t, a_t) + e_t`.
pub(crate) fn latents_with_defects(
    model: &dyn LatentModel,
    start: Tensor<2>,
    actions: &Tensor<3>,
    defects: &Tensor<3>,
) -> Tensor<3> {
    latents_along(start, actions.dims()[1], |latent, step| {
        model.transition_mean(latent, at_step(actions, step)) + at_step(defects, step)
    })
}

/// `z_1 … z_T`, `[plans, horizon, latent]`, each the `next` of the one before.
fn latents_along(
    start: Tensor<2>,
    horizon: usize,
    mut next: impl FnMut(Tensor<2>, usize) -> Tensor<2>,
) -> Tensor<3> {
    let mut latent = start;
    let latents = (0..horizon).map(|step| {
        latent = next(latent.clone(), step);
        latent.clone()
    });
    Tensor::stack(latents.collect(), 1)
}

/// What every plan has at one step, `[plans, …]`.
pub(crate) fn at_step(plans: &Tensor<3>, step: usize) -> Tensor<2> {
    plans.clone().narrow(1, step, 1).squeeze_dim(1)
}

/// The rewards of `latents` `[plans, horizon, latent]`, `[plans, horizon]`.
pub(crate) fn rewards_along(model: &dyn LatentModel, latents: Tensor<3>) -> Tensor<2> {
    let [plans, horizon, latent] = latents.dims();
    model
        .reward(latents.reshape([plans * horizon, latent]))
        .reshape([plans, horizon])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Noise,
        shooting::testing::{Pendulum, assert_near, values},
    };

    const SHAPE: [usize; 2] = [3, 7];

    struct Case {
        start: Tensor<2>,
        actions: Tensor<3>,
        defects: Tensor<3>,
    }

    fn case() -> Case {
        let [plans, horizon] = SHAPE;
        let start = Pendulum.hanging().mean_of(plans);
        let device = start.device();
        let noise = &mut Noise::new(3);
        let latent = Pendulum.latent_size();
        Case {
            actions: noise.normal([plans, horizon, Pendulum.action_size()], &device),
            defects: noise.normal([plans, horizon, latent], &device),
            start,
        }
    }

    #[test]
    fn each_step_misses_the_model_by_its_defects() {
        let Case {
            start,
            actions,
            defects,
        } = case();
        let latents = latents_with_defects(&Pendulum, start.clone(), &actions, &defects);
        let mut previous = start;
        for step in 0..SHAPE[1] {
            let latent = at_step(&latents, step);
            let missed =
                latent.clone() - Pendulum.transition_mean(previous, at_step(&actions, step));
            let expected = values(at_step(&defects, step));
            for (found, expected) in values(missed).into_iter().zip(expected) {
                assert_near(found, expected, 1e-5);
            }
            previous = latent;
        }
    }

    #[test]
    fn without_defects_it_is_the_rollout() {
        let Case {
            start,
            actions,
            defects,
        } = case();
        let latents =
            latents_with_defects(&Pendulum, start.clone(), &actions, &defects.zeros_like());
        let rollout = roll_out(&Pendulum, start, actions);
        assert_eq!(values(latents), values(rollout.latents));
    }
}
