use burn::{
    backend::Dispatch,
    optim::{Adam, AdamConfig, AdamState, LearningRate, Optimizer},
    tensor::{Device, Tensor},
};

use crate::{extension::PlanKernels, layout::AdamRates, model::has_kernels};

const BETA_1: f32 = 0.9;

/// Adam (Kingma & Ba, arXiv 1412.6980) without weight decay: one kernel a step where the device has it,
/// Burn's elsewhere.
#[derive(Clone)]
pub struct FusedAdam {
    beta_2: f32,
    epsilon: f32,
    adam: Adam,
}

impl FusedAdam {
    /// With this ε, β₁ = 0.9 and β₂ = 0.999.
    pub fn new(epsilon: f32) -> Self {
        Self::with_beta_2(0.999, epsilon)
    }

    /// With these β₂ and ε, and β₁ = 0.9.
    pub fn with_beta_2(beta_2: f32, epsilon: f32) -> Self {
        let config = AdamConfig::new()
            .with_beta_1(BETA_1)
            .with_beta_2(beta_2)
            .with_epsilon(epsilon);
        Self {
            adam: config.build(),
            beta_2,
            epsilon,
        }
    }

    /// Of step `time`, the first being 1.
    fn rates(&self, learning_rate: f64, time: i32) -> AdamRates {
        let second = (1.0 - self.beta_2.powi(time)).sqrt();
        AdamRates {
            beta_1: BETA_1,
            beta_2: self.beta_2,
            rate: learning_rate as f32 * second / (1.0 - BETA_1.powi(time)),
            epsilon: self.epsilon * second,
        }
    }
}

impl Optimizer for FusedAdam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        variable: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        let on_kernels = has_kernels(&variable.device()) && has_kernels(&gradient.device());
        let mut state = match state {
            Some(state) if on_kernels => state,
            // The first step makes the state, also on a device with kernels.
            state => return self.adam.step(learning_rate, variable, gradient, state),
        };
        state.momentum.time += 1;
        let rates = self.rates(learning_rate, state.momentum.time as i32);
        let (next, first, second) = Dispatch::adam(
            variable.into_dispatch(),
            gradient.into_dispatch(),
            state.momentum.moment_1.into_dispatch(),
            state.momentum.moment_2.into_dispatch(),
            rates,
        );
        state.momentum.moment_1 = Tensor::from_dispatch(first);
        state.momentum.moment_2 = Tensor::from_dispatch(second);
        (Tensor::from_dispatch(next), Some(state))
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        Adam::to_device(state, device)
    }
}
