//! Whole passes through a model.

use std::{fmt::Debug, sync::Arc};

use burn::{
    nn::Linear,
    tensor::{Device, Tensor},
};

use crate::{
    device::DeviceModel,
    elementwise::is_in_memory,
    host::{Dense, HostLayers, HostModel},
    join::join,
    layout::{Activation, Entering, Keep, Layer, Likelihood, Network, Sizes, Slope},
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

impl Layers<'_> {
    /// What passes must know of them; `None` where they have not the sizes of such a model with three layers
    /// in its reward head.
    fn network(&self, activation: Activation, likelihood: Likelihood) -> Option<Network> {
        let [first, _, _] = self.reward else {
            return None;
        };
        let [hidden, gates] = self.gru_input.weight.dims();
        let stochastic = self.output.weight.dims()[1] / 2;
        let sizes = Sizes {
            action: self.input.weight.dims()[0].checked_sub(stochastic)?,
            stochastic,
            deterministic: gates / 3,
            hidden,
            units: first.weight.dims()[1],
        };
        let network = Network::new(sizes, activation, likelihood);
        let is_of =
            |(layer, place): (&Linear, Layer)| layer.weight.dims() == [place.inputs, place.outputs];
        let mut all = self.all().into_iter().zip(network.layers());
        all.all(is_of).then_some(network)
    }

    /// In the order of [`Network::layers`].
    fn all(&self) -> Vec<&Linear> {
        let prior = [
            self.input,
            self.gru_input,
            self.gru_state,
            self.hidden,
            self.output,
        ];
        prior.into_iter().chain(self.reward).collect()
    }

    /// All of them in one tensor, each with its bias and its weight transposed.
    fn parameters(&self, sizes: Sizes) -> Tensor<1> {
        // The action first, so that the latent is in one piece.
        let weight = self.input.weight.val();
        let input = join(
            vec![
                weight.clone().narrow(0, sizes.stochastic, sizes.action),
                weight.narrow(0, 0, sizes.stochastic),
            ],
            0,
        );
        let mut parts = parts_of(input, self.input).to_vec();
        let others = self.all().into_iter().skip(1);
        parts.extend(others.flat_map(|layer| parts_of(layer.weight.val(), layer)));
        join(parts, 0)
    }

    /// All of them in this process's memory; `None` where they cannot be read.
    fn on_host(&self) -> Option<HostLayers> {
        let reward = self.reward.iter().map(dense).collect::<Option<Vec<_>>>()?;
        Some(HostLayers {
            input: dense(self.input)?,
            gru_input: dense(self.gru_input)?,
            gru_state: dense(self.gru_state)?,
            hidden: dense(self.hidden)?,
            output: dense(self.output)?,
            reward: reward.try_into().ok()?,
        })
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

/// A layer's weight and bias in this process's memory.
fn dense(layer: &Linear) -> Option<Dense> {
    let bias = match &layer.bias {
        Some(bias) => bias.val().try_into_vec_as().ok()?,
        None => vec![0.0; layer.weight.dims()[1]],
    };
    let weight = layer.weight.val().try_into_vec_as().ok()?;
    Some(Dense { weight, bias })
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

/// Passes as some kind of device computes them.
pub(crate) trait Passes: Debug + Send + Sync {
    /// Whether tensors on `device` may be given.
    fn runs_on(&self, device: &Device) -> bool;

    /// Latents `[plans, horizon, latent]` and rewards `[plans · horizon, 3]`, as far as they are to be kept.
    fn roll_out(
        &self,
        start: Tensor<2>,
        actions: Tensor<3>,
        defects: Option<Tensor<3>>,
        keep: Keep,
    ) -> (Tensor<3>, Tensor<2>);

    /// Rewards `[rows, 3]` and the derivative of one of them `[rows, latent]`.
    fn linearise_reward(&self, latents: Tensor<2>, slope: Option<Slope>) -> (Tensor<2>, Tensor<2>);

    fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Derivative>;
}

/// The prior's derivative at some points; see [`LinearPass`].
pub(crate) trait Derivative: Send + Sync {
    fn value(&self) -> Tensor<2>;

    fn pull_back(&self, first: usize, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>);

    fn push_forward(&self, first: usize, latents: Tensor<3>, actions: Tensor<3>) -> Tensor<3>;

    /// `[plans, rows, horizon, latent]` of cotangents that each enter in one step, and
    /// `[plans, rows, horizon, action]`, by at most so many threads of a CPU.
    fn sweep_back(
        &self,
        own: Tensor<3>,
        plans: usize,
        kind: Entering,
        workers: usize,
    ) -> (Tensor<4>, Tensor<4>);

    fn sweep_forward(&self, actions: Tensor<3>, drive: Tensor<3>) -> Tensor<3>;
}

/// A model's prior and reward head, on a device that computes passes through them at once.
#[derive(Clone, Debug)]
pub struct ModelPasses(Arc<dyn Passes>);

impl ModelPasses {
    /// `None` where the device has no such passes, and where the layers have not the sizes of such a model
    /// with three layers in its reward head.
    pub fn of(
        layers: &Layers<'_>,
        activation: Activation,
        likelihood: Likelihood,
        range: [f64; 2],
    ) -> Option<Self> {
        let device = layers.input.weight.device();
        let network = layers.network(activation, likelihood)?;
        let range = range.map(|bound| bound as f32);
        if has_kernels(&device) {
            let parameters = layers.parameters(network.sizes);
            return Some(Self(Arc::new(DeviceModel::new(parameters, network, range))));
        }
        let layers = is_in_memory(&device).then(|| layers.on_host())??;
        Some(Self(Arc::new(HostModel::new(network, range, layers))))
    }

    /// Whether passes may be taken of this tensor: on a device without a record for derivatives.
    pub fn takes<const D: usize>(&self, tensor: &Tensor<D>) -> bool {
        self.0.runs_on(&tensor.device())
    }

    /// `z_{t+1} = μ(z_t, a_t) + e_t` from `start` `[plans, latent]` with `actions`
    /// `[plans, horizon, action]` and defects `[plans, horizon, latent]`: latents
    /// `[plans, horizon, latent]`.
    pub fn latents_along(
        &self,
        start: Tensor<2>,
        actions: Tensor<3>,
        defects: Option<Tensor<3>>,
    ) -> Tensor<3> {
        let (latents, _) = self.0.roll_out(start, actions, defects, Keep::Latents);
        latents
    }

    /// The latents without defects, and their rewards, of `plans · horizon` rows.
    pub fn roll_out(&self, start: Tensor<2>, actions: Tensor<3>) -> (Tensor<3>, RewardParts) {
        let (latents, all) = self.0.roll_out(start, actions, None, Keep::Both);
        (latents, RewardParts { all })
    }

    /// The rewards alone; no latent is kept.
    pub fn rewards_along(&self, start: Tensor<2>, actions: Tensor<3>) -> RewardParts {
        let (_, all) = self.0.roll_out(start, actions, None, Keep::Rewards);
        RewardParts { all }
    }

    /// The prior's mean and its derivatives at `latents` `[points, latent]` and `actions`
    /// `[points, action]`.
    pub fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> LinearPass {
        LinearPass(self.0.linearise(latents, actions))
    }

    /// The rewards of `latents` `[rows, latent]`.
    pub fn rewards(&self, latents: Tensor<2>) -> RewardParts {
        let (all, _) = self.0.linearise_reward(latents, None);
        RewardParts { all }
    }

    /// These, and the derivative of one of them, `[rows, latent]`.
    pub fn linearise_reward(&self, latents: Tensor<2>, slope: Slope) -> (RewardParts, Tensor<2>) {
        let (all, slopes) = self.0.linearise_reward(latents, Some(slope));
        (RewardParts { all }, slopes)
    }
}

/// The prior's derivative at some points.
pub struct LinearPass(Box<dyn Derivative>);

impl LinearPass {
    /// The mean of `z'`, `[points, latent]`.
    pub fn value(&self) -> Tensor<2> {
        self.0.value()
    }

    /// Cotangents `[points, rows, latent]` at points from `first` on, by latent and by action.
    pub fn pullback(&self, first: usize, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        self.0.pull_back(first, cotangents)
    }

    /// Tangents `[points, rows, latent]` and `[points, rows, action]` at points from `first` on.
    pub fn pushforward(&self, first: usize, latents: Tensor<3>, actions: Tensor<3>) -> Tensor<3> {
        self.0.push_forward(first, latents, actions)
    }

    /// `dz_{t+1} = A_t dz_t + B_t da_t + d_t` from `dz_0 = 0`, `[plans, horizon, latent]`, of `actions`
    /// `[plans, horizon, action]` and `drive` `[plans, horizon, latent]`, where the points are those of
    /// these plans, step by step.
    pub fn changes(&self, actions: Tensor<3>, drive: Tensor<3>) -> Tensor<3> {
        self.0.sweep_forward(actions, drive)
    }

    /// The gradient by the actions, `[plans, rows, horizon, action]`, of sums over steps whose
    /// direct derivatives by the latents are `own` `[horizon · plans, rows, latent]`.
    pub fn gradient(&self, own: Tensor<3>, plans: usize) -> Tensor<4> {
        self.0.sweep_back(own, plans, Entering::EveryStep, 1).1
    }

    /// Derivatives of every step's own terms `[horizon · plans, count, latent]`, those of the last
    /// step first, by the latents that steps end in and by the actions,
    /// `[plans, horizon · count, horizon, …]`; by at most so many `workers`, threads of a CPU.
    pub fn adjoints(&self, own: Tensor<3>, plans: usize, workers: usize) -> (Tensor<4>, Tensor<4>) {
        self.0.sweep_back(own, plans, Entering::OneStep, workers)
    }
}
