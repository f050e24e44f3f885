//! Passes over tensors that lie in this process's memory.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::network::{HostLayers, HostNetwork};
use crate::{
    elementwise::is_in_memory,
    layout::{Entering, Keep, Network, Slope},
    model::{Derivative, Passes},
};

/// A model in this process's memory.
#[derive(Clone, Debug)]
pub(crate) struct HostModel(Arc<HostNetwork>);

impl HostModel {
    pub fn new(network: Network, range: [f32; 2], layers: HostLayers) -> Self {
        Self(Arc::new(HostNetwork::new(network, range, layers)))
    }
}

/// The numbers of a tensor in row-major order.
fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let numbers = tensor.try_into_vec_as();
    numbers.expect("what lies in this process's memory can be read")
}

fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

impl Passes for HostModel {
    fn runs_on(&self, device: &Device) -> bool {
        is_in_memory(device)
    }

    fn roll_out(
        &self,
        start: Tensor<2>,
        actions: Tensor<3>,
        defects: Option<Tensor<3>>,
        keep: Keep,
    ) -> (Tensor<3>, Tensor<2>) {
        let (device, [plans, latent]) = (start.device(), start.dims());
        let horizon = actions.dims()[1];
        let defects = defects.map(numbers);
        let (start, actions) = (numbers(start), numbers(actions));
        let (latents, rewards) = self.0.roll_out(&start, &actions, defects.as_deref(), keep);
        let kept = if keep.latents() { plans } else { 0 };
        let latents = tensor(latents, [kept, horizon, latent], &device);
        let rows = rewards.len() / 3;
        (latents, tensor(rewards, [rows, 3], &device))
    }

    fn linearise_reward(&self, latents: Tensor<2>, slope: Option<Slope>) -> (Tensor<2>, Tensor<2>) {
        let (device, [rows, latent]) = (latents.device(), latents.dims());
        let latents = numbers(latents);
        let (rewards, slopes, columns) = match slope {
            None => (self.0.rewards(&latents), Vec::new(), 0),
            Some(slope) => {
                let (rewards, slopes) = self.0.linearise_reward(&latents, slope);
                (rewards, slopes, latent)
            }
        };
        let rewards = tensor(rewards, [rows, 3], &device);
        (rewards, tensor(slopes, [rows, columns], &device))
    }

    fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Derivative> {
        let (device, [points, latent]) = (latents.device(), latents.dims());
        let kept = self.0.linearise(&numbers(latents), &numbers(actions));
        Box::new(HostDerivative {
            model: self.0.clone(),
            kept,
            sizes: [points, latent],
            device,
        })
    }
}

struct HostDerivative {
    model: Arc<HostNetwork>,
    /// `[points, width]`.
    kept: Vec<f32>,
    /// `[points, latent]`.
    sizes: [usize; 2],
    device: Device,
}

impl Derivative for HostDerivative {
    fn value(&self) -> Tensor<2> {
        let [_, latent] = self.sizes;
        let rows = self.kept.chunks_exact(self.model.network.kept().width);
        let value = rows.flat_map(|row| &row[..latent]).copied().collect();
        tensor(value, self.sizes, &self.device)
    }

    fn pull_back(&self, first: usize, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let [points, rows, latent] = cotangents.dims();
        let cotangents = numbers(cotangents);
        let (by_latent, by_action) = self.model.pull_back(&self.kept, first, points, cotangents);
        let action = self.model.network.sizes.action;
        (
            tensor(by_latent, [points, rows, latent], &self.device),
            tensor(by_action, [points, rows, action], &self.device),
        )
    }

    fn push_forward(&self, first: usize, latents: Tensor<3>, actions: Tensor<3>) -> Tensor<3> {
        let shape = latents.dims();
        let (latents, actions) = (numbers(latents), numbers(actions));
        let [points, ..] = shape;
        let next = (self.model).push_forward(&self.kept, first, points, latents, &actions);
        tensor(next, shape, &self.device)
    }

    fn sweep_back(
        &self,
        own: Tensor<3>,
        plans: usize,
        kind: Entering,
        workers: usize,
    ) -> (Tensor<4>, Tensor<4>) {
        let [points, count, latent] = own.dims();
        let horizon = points / plans;
        let own = numbers(own);
        let (by_latent, by_action) =
            (self.model).sweep_back(&self.kept, &own, plans, kind, workers);
        let (rows, ends) = match kind {
            Entering::EveryStep => (count, 0),
            Entering::OneStep => (horizon * count, latent),
        };
        let action = by_action.len() / (plans * rows * horizon);
        (
            tensor(by_latent, [plans, rows, horizon, ends], &self.device),
            tensor(by_action, [plans, rows, horizon, action], &self.device),
        )
    }

    fn sweep_forward(&self, actions: Tensor<3>, drive: Tensor<3>) -> Tensor<3> {
        let shape = drive.dims();
        let (actions, drive) = (numbers(actions), numbers(drive));
        let [plans, ..] = shape;
        let changes = (self.model).sweep_forward(&self.kept, plans, &actions, drive);
        tensor(changes, shape, &self.device)
    }
}
