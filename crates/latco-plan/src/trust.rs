//! What speaks for a plan, or against it, beyond the model's own promise.

use burn::tensor::Tensor;
use latco_kernels::{join, stack};

use crate::{LatentModel, Noise, PlanError, Rollout, host::read, roll_out, rollout::rewards_along};

/// Copies of a plan that a mean return is taken over.
pub(crate) const COPIES: usize = 32;

/// So many disturbances of standard deviation `std` for actions of shape `[horizon, action]`, in pairs of
/// opposite sign.
pub(crate) fn disturbances(
    copies: usize,
    [horizon, action]: [usize; 2],
    std: f64,
    noise: &mut Noise,
    device: &burn::tensor::Device,
) -> Tensor<3> {
    let half = noise.normal([copies / 2, horizon, action], device) * std;
    join(vec![half.clone(), half.neg()], 0)
}

/// Every plan `[plans, horizon, action]` with every disturbance, `[plans · copies, horizon, action]`.
pub(crate) fn disturbed(plans: &Tensor<3>, disturbances: &Tensor<3>) -> Tensor<3> {
    let plans = plans.clone().unsqueeze_dim::<4>(1);
    let copies = plans + disturbances.clone().unsqueeze_dim::<4>(0);
    copies.clamp(-1.0, 1.0).flatten(0, 1)
}

/// The mean return of `actions` `[horizon, action]` from `start` `[1, latent]` over 32 copies whose
/// actions are disturbed by white noise of standard deviation `std`:
///
/// ```text
/// (1/C) Σ_c Σ_t r(z_t^c),    z_{t+1}^c = μ(z_t^c, clip(a_t + s ξ_t^c, −1, 1))
/// ```
///
/// # Errors
///
/// If the device fails.
pub fn robust_return(
    model: &dyn LatentModel,
    start: Tensor<2>,
    actions: Tensor<2>,
    std: f64,
    noise: &mut Noise,
) -> Result<f32, PlanError> {
    let (shape, device) = (actions.dims(), actions.device());
    let noise = disturbances(COPIES, shape, std, noise, &device);
    let copies = disturbed(&actions.unsqueeze_dim(0), &noise);
    mean_return(&roll_out(model, start.repeat_dim(0, COPIES), copies))
}

/// The mean return of `actions` `[horizon, action]` from `start` `[1, latent]` over 32 rollouts whose
/// latents are drawn, `z_{t+1} ~ p(z' | z_t, a_t)`: the measure by which LatCo chooses among its plans.
///
/// # Errors
///
/// If the device fails.
pub fn sampled_return(
    model: &dyn LatentModel,
    start: Tensor<2>,
    actions: Tensor<2>,
    noise: &mut Noise,
) -> Result<f32, PlanError> {
    let [horizon, _] = actions.dims();
    let device = actions.device();
    let mut latent = start.repeat_dim(0, COPIES);
    let size = latent.dims()[1];
    let latents = (0..horizon).map(|step| {
        let action = actions.clone().narrow(0, step, 1).repeat_dim(0, COPIES);
        let next = model.transition(latent.clone(), action);
        latent = next.sample(noise.normal([COPIES, size], &device));
        latent.clone()
    });
    let latents = stack::<_, 3>(latents.collect(), 1);
    mean_return(&Rollout {
        rewards: rewards_along(model, latents.clone()),
        latents,
    })
}

fn mean_return(rollout: &Rollout) -> Result<f32, PlanError> {
    let returns = read("return", rollout.returns())?;
    Ok(returns.iter().sum::<f32>() / returns.len() as f32)
}

/// How uncertain the model is of each step of `actions` `[horizon, action]`, which lead from `start`
/// `[1, latent]` to `latents` `[horizon, latent]`; `None` where it cannot tell.
///
/// # Errors
///
/// If the device fails.
pub fn uncertainty(
    model: &dyn LatentModel,
    start: Tensor<2>,
    actions: Tensor<2>,
    latents: Tensor<2>,
) -> Result<Option<Vec<f32>>, PlanError> {
    let before = previous(start, latents);
    let steps = model.uncertainty(before, actions);
    steps.map(|steps| read("uncertainty", steps)).transpose()
}

/// How far each of `latents` `[horizon, latent]` is from what the model infers of the image that it decodes
/// them to, in standard deviations of the transition (the root of the mean square over the components that
/// have one):
///
/// ```text
/// z_{t+1} − E q(z' | decode(z_{t+1}), a_t, z_t)
/// ```
///
/// `actions` `[horizon, action]` lead to them from `start` `[1, latent]`. `None` of a model without images.
///
/// # Errors
///
/// If the device fails.
pub fn image_consistency(
    model: &dyn LatentModel,
    start: Tensor<2>,
    actions: Tensor<2>,
    latents: Tensor<2>,
) -> Result<Option<Vec<f32>>, PlanError> {
    let Some(images) = model.image_space() else {
        return Ok(None);
    };
    let before = previous(start, latents.clone());
    let std = model.transition(before.clone(), actions.clone()).std;
    let seen = images.infer(before, actions, images.decode(latents.clone()));
    let counted = std.clone().greater_equal_elem(LEAST_STD).float();
    let squares = ((latents - seen) / std.clamp_min(LEAST_STD)).square() * counted.clone();
    let mean = squares.sum_dim(1) / counted.sum_dim(1).clamp_min(1.0);
    read("distance", mean.sqrt()).map(Some)
}

/// Below it a standard deviation is none.
const LEAST_STD: f64 = 1e-6;

/// The latents before each of `latents` `[horizon, latent]`.
fn previous(start: Tensor<2>, latents: Tensor<2>) -> Tensor<2> {
    let [horizon, _] = latents.dims();
    join(vec![start, latents], 0).narrow(0, 0, horizon)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{DiagonalGaussian, ImageSpace};

    /// `z' = z` with a deviation of ½ and one that is none but for rounding; what is inferred is always 0.
    struct Steady;

    impl LatentModel for Steady {
        fn latent_size(&self) -> usize {
            2
        }

        fn action_size(&self) -> usize {
            1
        }

        fn transition(&self, latents: Tensor<2>, _actions: Tensor<2>) -> DiagonalGaussian {
            let std = Tensor::<2>::from_floats([[0.5, 1e-9]], &latents.device());
            let std = std.repeat_dim(0, latents.dims()[0]);
            DiagonalGaussian::new(latents, std)
        }

        fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
            latents.sum_dim(1).squeeze_dim(1)
        }

        fn image_space(&self) -> Option<&dyn ImageSpace> {
            Some(self)
        }
    }

    impl ImageSpace for Steady {
        fn image_size(&self) -> usize {
            2
        }

        fn infer(&self, latents: Tensor<2>, _: Tensor<2>, _: Tensor<2>) -> Tensor<2> {
            latents.zeros_like()
        }

        fn decode(&self, latents: Tensor<2>) -> Tensor<2> {
            latents
        }
    }

    #[test]
    fn components_without_a_deviation_have_no_distance() {
        let device = Device::default();
        let start = Tensor::zeros([1, 2], &device);
        let actions = Tensor::zeros([2, 1], &device);
        let latents = Tensor::<2>::from_floats([[2.0, 0.1], [-1.0, 0.0]], &device);
        let found = image_consistency(&Steady, start, actions, latents);
        assert_eq!(found.unwrap(), Some(vec![4.0, 2.0]));
    }
}
