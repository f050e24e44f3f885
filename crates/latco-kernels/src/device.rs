//! Passes as kernels of a device.

use burn::{
    backend::{Dispatch, DispatchTensor},
    tensor::{Device, Tensor},
};

use crate::{
    extension::ModelKernels,
    layout::{Entering, Keep, Network, Slope, Wanted},
    model::{Derivative, Passes, has_kernels},
};

/// A model's prior and reward head in one tensor.
#[derive(Clone, Debug)]
pub(crate) struct DeviceModel {
    parameters: Tensor<1>,
    network: Network,
    range: [f32; 2],
}

impl DeviceModel {
    pub fn new(parameters: Tensor<1>, network: Network, range: [f32; 2]) -> Self {
        Self {
            parameters,
            network,
            range,
        }
    }

    fn parameters(&self) -> DispatchTensor {
        self.parameters.clone().into_dispatch()
    }
}

impl Passes for DeviceModel {
    fn runs_on(&self, device: &Device) -> bool {
        has_kernels(device)
    }

    fn roll_out(
        &self,
        start: Tensor<2>,
        actions: Tensor<3>,
        defects: Option<Tensor<3>>,
        keep: Keep,
    ) -> (Tensor<3>, Tensor<2>) {
        let wanted = Wanted {
            defects: defects.is_some(),
            latents: keep.latents(),
            rewards: keep.rewards(),
        };
        let start = start.into_dispatch();
        // What is not read.
        let defects = defects.map_or_else(|| start.clone(), Tensor::into_dispatch);
        let (latents, rewards) = Dispatch::roll_out(
            self.parameters(),
            start,
            actions.into_dispatch(),
            defects,
            self.network,
            self.range,
            wanted,
        );
        let rewards = Tensor::<3>::from_dispatch(rewards);
        (Tensor::from_dispatch(latents), rewards.flatten(0, 1))
    }

    fn linearise_reward(&self, latents: Tensor<2>, slope: Option<Slope>) -> (Tensor<2>, Tensor<2>) {
        let (rewards, slopes) = Dispatch::linearise_reward(
            self.parameters(),
            latents.into_dispatch(),
            self.network,
            self.range,
            slope,
        );
        (
            Tensor::from_dispatch(rewards),
            Tensor::from_dispatch(slopes),
        )
    }

    fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Derivative> {
        let kept = Dispatch::linearise(
            self.parameters(),
            latents.into_dispatch(),
            actions.into_dispatch(),
            self.network,
        );
        Box::new(DeviceDerivative {
            model: self.clone(),
            kept: Tensor::from_dispatch(kept),
        })
    }
}

struct DeviceDerivative {
    model: DeviceModel,
    /// `[points, width]`.
    kept: Tensor<2>,
}

impl DeviceDerivative {
    fn kept(&self) -> DispatchTensor {
        self.kept.clone().into_dispatch()
    }
}

impl Derivative for DeviceDerivative {
    fn value(&self) -> Tensor<2> {
        self.kept.clone().narrow(1, 0, self.model.network.latent())
    }

    fn pull_back(&self, first: usize, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let (by_latent, by_action) = Dispatch::pull_back(
            self.model.parameters(),
            self.kept(),
            cotangents.into_dispatch(),
            self.model.network,
            first,
        );
        (
            Tensor::from_dispatch(by_latent),
            Tensor::from_dispatch(by_action),
        )
    }

    fn push_forward(&self, first: usize, latents: Tensor<3>, actions: Tensor<3>) -> Tensor<3> {
        Tensor::from_dispatch(Dispatch::push_forward(
            self.model.parameters(),
            self.kept(),
            latents.into_dispatch(),
            actions.into_dispatch(),
            self.model.network,
            first,
        ))
    }

    fn sweep_back(
        &self,
        own: Tensor<3>,
        plans: usize,
        kind: Entering,
        _workers: usize,
    ) -> (Tensor<4>, Tensor<4>) {
        let (by_latent, by_action) = Dispatch::sweep_back(
            self.model.parameters(),
            self.kept(),
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

    fn sweep_forward(&self, actions: Tensor<3>, drive: Tensor<3>) -> Tensor<3> {
        Tensor::from_dispatch(Dispatch::sweep_forward(
            self.model.parameters(),
            self.kept(),
            actions.into_dispatch(),
            drive.into_dispatch(),
            self.model.network,
        ))
    }
}
