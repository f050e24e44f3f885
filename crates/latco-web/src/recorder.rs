use burn::tensor::Tensor;
use latco_plan::{Iteration, Observer};

/// The most iterations that are kept of a plan.
const LONGEST: usize = 1_000;

/// What a planner arrived at in one iteration.
pub(crate) struct Frame {
    /// Its figures.
    pub iteration: Iteration,
    /// `[plans, horizon, action]`.
    pub actions: Tensor<3>,
    /// `[plans, horizon, latent]`, of collocation.
    pub nodes: Option<Tensor<3>>,
}

/// Hands an iteration's figures on as it ends, and keeps what it arrived at where that is asked for.
pub(crate) struct Recorder<'a> {
    pub forward: &'a mut dyn FnMut(&Iteration),
    pub frames: Option<&'a mut Vec<Frame>>,
    pub last: Option<Iteration>,
}

impl Observer for Recorder<'_> {
    fn iteration(&mut self, iteration: &Iteration) {
        (self.forward)(iteration);
        self.last = Some(iteration.clone());
    }

    fn trajectories(&mut self, actions: &Tensor<3>, nodes: Option<&Tensor<3>>) {
        if let (Some(frames), Some(iteration)) = (&mut self.frames, self.last.take())
            && frames.len() < LONGEST
        {
            frames.push(Frame {
                iteration,
                actions: actions.clone(),
                nodes: nodes.cloned(),
            });
        }
    }
}
