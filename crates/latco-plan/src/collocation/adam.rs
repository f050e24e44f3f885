use burn::{
    optim::{Adam, AdamConfig, AdamState, Optimizer},
    tensor::Tensor,
};

/// Adam's ε. At a rollout the constraints have no gradient but for rounding, which a smaller ε would
/// turn into whole steps, other ones on each backend.
const EPSILON: f32 = 1e-6;

/// Adam (Kingma & Ba, arXiv 1412.6980) on one plan tensor.
pub(crate) struct AdamSteps {
    adam: Adam,
    learning_rate: f64,
    state: Option<AdamState<3>>,
}

impl AdamSteps {
    pub fn new(learning_rate: f64) -> Self {
        Self {
            adam: AdamConfig::new().with_epsilon(EPSILON).build(),
            learning_rate,
            state: None,
        }
    }

    /// These steps, to go on elsewhere; fresh ones are left.
    pub fn take(&mut self) -> Self {
        let fresh = Self::new(self.learning_rate);
        std::mem::replace(self, fresh)
    }

    /// The variable after one step against its gradient, both without autodiff.
    pub fn step(&mut self, variable: Tensor<3>, gradient: Tensor<3>) -> Tensor<3> {
        let state = self.state.take();
        let (variable, state) = self
            .adam
            .step(self.learning_rate, variable, gradient, state);
        self.state = state;
        variable
    }
}
