//! Whole passes through a model as one kernel each.

use burn::{
    backend::Dispatch,
    nn::Linear,
    tensor::{Device, Tensor},
};

use crate::{
    extension::ModelKernels,
    layout::{Activation, Entering, Layer, Likelihood, Network, Sizes, Slope, Wanted},
};

/// The layers of a recurrent state-space model's prior and of its reward head.
pub struct Layers<'a> {
    /// `[s, a]` to the recurrent input.
    pub input: &'a Linear,
    /// The recurrent input to the three gates.
    pub gru_input: &'a Linear,
    /// `h` to the three gates.
    pub gru_state: &'a Linear,
    /// `h'` to the prior's hidden layer.
    pub hidden: &'a Linear,
    /// That to `[mean, raw]`.
    pub output: &'a Linear,
    /// The reward head.
    pub reward: &'a [Linear],
}

/// The rewards of a batch of latents.
#[derive(Clone, Debug)]
pub struct RewardParts {
    /// `[rows, 3]`: expected reward, residual, log reward.
    all: Tensor<2>,
}

impl RewardParts {
    fn column(&self, index: usize) -> Tensor<1> {
        self.all.clone().narrow(1, index, 1).squeeze_dim(1)
    }

    /// Expected rewards, `[rows]`.
    pub fn expected(&self) -> Tensor<1> {
        self.column(0)
    }

    /// Residuals, `[rows, 1]`.
    pub fn residuals(&self) -> Tensor<2> {
        self.all.clone().narrow(1, 1, 1)
    }

    /// Logarithms of the rewards, `[rows]`.
    pub fn logarithms(&self) -> Tensor<1> {
        self.column(2)
    }
}

/// A model's prior and reward head in one tensor, on a device that has kernels for them.
#[derive(Clone, Debug)]
pub struct ModelPasses {
    parameters: Tensor<1>,
    network: Network,
    range: [f32; 2],
}

impl ModelPasses {
    /// `None` where the device has no such kernels, and where the layers have not the sizes of such a model
    /// with three layers in its reward head.
    pub fn of(
        layers: &Layers<'_>,
        activation: Activation,
        likelihood: Likelihood,
        range: [f64; 2],
    ) -> Option<Self> {
        let device = layers.input.weight.device();
        let [first, second, third] = layers.reward else {
            return None;
        };
        if !has_kernels(&device) {
            return None;
        }
        let [hidden, gates] = layers.gru_input.weight.dims();
        let stochastic = layers.output.weight.dims()[1] / 2;
        let sizes = Sizes {
            action: layers.input.weight.dims()[0] - stochastic,
            stochastic,
            deterministic: gates / 3,
            hidden,
            units: first.weight.dims()[1],
        };
        let network = Network::new(sizes, activation, likelihood);
        let own = [
            layers.gru_input,
            layers.gru_state,
            layers.hidden,
            layers.output,
            first,
            second,
            third,
        ];
        let all = [layers.input].into_iter().chain(own);
        let is_of =
            |(layer, place): (&Linear, Layer)| layer.weight.dims() == [place.inputs, place.outputs];
        if !all.zip(network.layers()).all(is_of) {
            return None;
        }
        // The action first, so that the latent is in one piece.
        let weight = layers.input.weight.val();
        let input = Tensor::cat(
            vec![
                weight.clone().narrow(0, stochastic, sizes.action),
                weight.narrow(0, 0, stochastic),
            ],
            0,
        );
        let mut parts = parts_of(input, layers.input).to_vec();
        parts.extend(
            own.into_iter()
                .flat_map(|layer| parts_of(layer.weight.val(), layer)),
        );
        Some(Self {
            parameters: Tensor::cat(parts, 0),
            network,
            range: range.map(|bound| bound as f32),
        })
    }

    /// Whether passes may be taken of this tensor: on a device without a record for derivatives.
    pub fn takes<const D: usize>(&self, tensor: &Tensor<D>) -> bool {
        has_kernels(&tensor.device())
    }
}

/// A layer's weight, bias and transposed weight.
fn parts_of(weight: Tensor<2>, layer: &Linear) -> [Tensor<1>; 3] {
    let [_, outputs] = weight.dims();
    let bias = match &layer.bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([outputs], &weight.device()),
    };
    [
        weight.clone().flatten(0, 1),
        bias,
        weight.transpose().flatten(0, 1),
    ]
}

/// Whether kernels of this crate run on `device`, without a record for derivatives.
pub(crate) fn has_kernels(device: &Device) -> bool {
    #[cfg(feature = "cube")]
    return matches!(device.as_dispatch(), burn::backend::DispatchDevice::Cube(_));
    #[cfg(not(feature = "cube"))]
    {
        let _ = device;
        false
    }
}

impl ModelPasses {
    /// `z_{t+1} = μ(z_t, a_t) + e_t` from `start` `[plans, latent]` with `actions`
    /// `[plans, horizon, action]` and defects `[plans, horizon, latent]`: latents
    /// `[plans, horizon, latent]` and their rewards, of `plans · horizon` rows.
    pub fn roll_out(
        &self,
        start: Tensor<2>,
        actions: Tensor<3>,
        defects: Option<Tensor<3>>,
    ) -> (Tensor<3>, RewardParts) {
        self.rolled_out(start, actions, defects, true)
    }

    /// The rewards alone; no latent is kept.
    pub fn rewards_along(&self, start: Tensor<2>, actions: Tensor<3>) -> RewardParts {
        self.rolled_out(start, actions, None, false).1
    }

    fn rolled_out(
        &self,
        start: Tensor<2>,
        actions: Tensor<3>,
        defects: Option<Tensor<3>>,
        keep: bool,
    ) -> (Tensor<3>, RewardParts) {
        let wanted = Wanted {
            defects: defects.is_some(),
            latents: keep,
        };
        let start = start.into_dispatch();
        // What is not read.
        let defects = defects.map_or_else(|| start.clone(), Tensor::into_dispatch);
        let (latents, rewards) = Dispatch::roll_out(
            self.parameters.clone().into_dispatch(),
            start,
            actions.into_dispatch(),
            defects,
            self.network,
            self.range,
            wanted,
        );
        let rewards = Tensor::<3>::from_dispatch(rewards);
        let all = rewards.flatten(0, 1);
        (Tensor::from_dispatch(latents), RewardParts { all })
    }

    /// The prior's mean and its derivatives at `latents` `[points, latent]` and `actions`
    /// `[points, action]`.
    pub fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> LinearPass {
        let kept = Dispatch::linearise(
            self.parameters.clone().into_dispatch(),
            latents.into_dispatch(),
            actions.into_dispatch(),
            self.network,
        );
        LinearPass {
            model: self.clone(),
            kept: Tensor::from_dispatch(kept),
        }
    }

    /// The rewards of `latents` `[rows, latent]`.
    pub fn rewards(&self, latents: Tensor<2>) -> RewardParts {
        self.linearised_rewards(latents, None).0
    }

    /// These, and the derivative of one of them, `[rows, latent]`.
    pub fn linearise_reward(&self, latents: Tensor<2>, slope: Slope) -> (RewardParts, Tensor<2>) {
        self.linearised_rewards(latents, Some(slope))
    }

    fn linearised_rewards(
        &self,
        latents: Tensor<2>,
        slope: Option<Slope>,
    ) -> (RewardParts, Tensor<2>) {
        let (rewards, slopes) = Dispatch::linearise_reward(
            self.parameters.clone().into_dispatch(),
            latents.into_dispatch(),
            self.network,
            self.range,
            slope,
        );
        let all = Tensor::from_dispatch(rewards);
        (RewardParts { all }, Tensor::from_dispatch(slopes))
    }
}

/// The prior's derivative at some points.
pub struct LinearPass {
    model: ModelPasses,
    kept: Tensor<2>,
}

impl LinearPass {
    /// The mean of `z'`, `[points, latent]`.
    pub fn value(&self) -> Tensor<2> {
        self.kept.clone().narrow(1, 0, self.model.network.latent())
    }

    /// Cotangents `[points, rows, latent]` at points from `first` on, by latent and by action.
    pub fn pullback(&self, first: usize, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let (by_latent, by_action) = Dispatch::pull_back(
            self.model.parameters.clone().into_dispatch(),
            self.kept.clone().into_dispatch(),
            cotangents.into_dispatch(),
            self.model.network,
            first,
        );
        (
            Tensor::from_dispatch(by_latent),
            Tensor::from_dispatch(by_action),
        )
    }

    /// Tangents `[points, rows, latent]` and `[points, rows, action]` at points from `first` on.
    pub fn pushforward(&self, first: usize, latents: Tensor<3>, actions: Tensor<3>) -> Tensor<3> {
        let next = Dispatch::push_forward(
            self.model.parameters.clone().into_dispatch(),
            self.kept.clone().into_dispatch(),
            latents.into_dispatch(),
            actions.into_dispatch(),
            self.model.network,
            first,
        );
        Tensor::from_dispatch(next)
    }

    /// `dz_{t+1} = A_t dz_t + B_t da_t + d_t` from `dz_0 = 0`, `[plans, horizon, latent]`, of `actions`
    /// `[plans, horizon, action]` and `drive` `[plans, horizon, latent]`, where the points are those of
    /// these plans, step by step.
    pub fn changes(&self, actions: Tensor<3>, drive: Tensor<3>) -> Tensor<3> {
        let changes = Dispatch::sweep_forward(
            self.model.parameters.clone().into_dispatch(),
            self.kept.clone().into_dispatch(),
            actions.into_dispatch(),
            drive.into_dispatch(),
            self.model.network,
        );
        Tensor::from_dispatch(changes)
    }

    /// The gradient by the actions, `[plans, rows, horizon, action]`, of sums over steps whose
    /// direct derivatives by the latents are `own` `[horizon · plans, rows, latent]`.
    pub fn gradient(&self, own: Tensor<3>, plans: usize) -> Tensor<4> {
        self.sweep(own, plans, Entering::EveryStep).1
    }

    /// Derivatives of every step's own terms `[horizon · plans, count, latent]`, those of the last
    /// step first, by the latents that steps end in and by the actions,
    /// `[plans, horizon · count, horizon, …]`.
    pub fn adjoints(&self, own: Tensor<3>, plans: usize) -> (Tensor<4>, Tensor<4>) {
        self.sweep(own, plans, Entering::OneStep)
    }

    fn sweep(&self, own: Tensor<3>, plans: usize, kind: Entering) -> (Tensor<4>, Tensor<4>) {
        let (by_latent, by_action) = Dispatch::sweep_back(
            self.model.parameters.clone().into_dispatch(),
            self.kept.clone().into_dispatch(),
            own.into_dispatch(),
            self.model.network,
            plans,
            kind,
        );
        (
            Tensor::from_dispatch(by_latent),
            Tensor::from_dispatch(by_action),
        )
    }
}
