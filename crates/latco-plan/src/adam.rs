use burn::{
    optim::{AdamState, Optimizer},
    tensor::Tensor,
};
use latco_kernels::FusedAdam;

/// Adam's ε where none is asked for. At a rollout the constraints have no gradient but for rounding, which a
/// smaller ε would turn into whole steps, other ones on each backend.
const EPSILON: f32 = 1e-6;

/// Adam (Kingma & Ba, arXiv 1412.6980) on one tensor.
pub(crate) struct AdamSteps<const D: usize> {
    adam: FusedAdam,
    learning_rate: f64,
    state: Option<AdamState<D>>,
}

impl<const D: usize> AdamSteps<D> {
    pub fn new(learning_rate: f64) -> Self {
        Self::of(FusedAdam::new(EPSILON), learning_rate)
    }

    pub fn of(adam: FusedAdam, learning_rate: f64) -> Self {
        Self {
            adam,
            learning_rate,
            state: None,
        }
    }

    /// These steps, to go on elsewhere; fresh ones are left.
    pub fn take(&mut self) -> Self {
        Self {
            adam: self.adam.clone(),
            learning_rate: self.learning_rate,
            state: self.state.take(),
        }
    }

    /// Changes the step size.
    pub fn set_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    /// The variable after one step against its gradient, both without autodiff.
    pub fn step(&mut self, variable: Tensor<D>, gradient: Tensor<D>) -> Tensor<D> {
        let state = self.state.take();
        let (variable, state) = self
            .adam
            .step(self.learning_rate, variable, gradient, state);
        self.state = state;
        variable
    }
}
