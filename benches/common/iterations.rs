//! The time that an iteration of a planner takes.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use latco::{
    Belief, LatentModel, PlanContext, Planner, WorldModel,
    model::WorldModelConfig,
    plan::{Iteration, Noise, StopReason},
};

/// A model with random weights, and a belief to plan from.
pub struct Task {
    model: WorldModel,
    belief: Belief,
}

impl Task {
    /// A model of these sizes and a normal latent.
    pub fn new(config: WorldModelConfig, device: &Device) -> Self {
        let model = WorldModel::new(config, 0, device).expect("valid sizes");
        let latent = Noise::new(0).normal([model.latent_size()], device);
        Self {
            belief: Belief::certain(latent),
            model,
        }
    }
}

/// Times the iterations of a planner by planning under a deadline.
pub struct IterationClock<'a> {
    planner: &'a dyn Planner,
    task: &'a Task,
    /// The time that a plan may take.
    limit: Duration,
}

impl<'a> IterationClock<'a> {
    /// A clock for iterations of `planner` on `task`.
    pub fn new(planner: &'a dyn Planner, task: &'a Task) -> Self {
        Self {
            planner,
            task,
            limit: Duration::from_millis(300),
        }
    }

    /// The mean time between the ends of the iterations of one plan, so that the plan's start, its
    /// first iteration and its rollout do not count. Plans may take longer from then on where two
    /// iterations did not fit.
    pub fn mean(&mut self) -> Duration {
        loop {
            let (ends, elapsed) = self.plan();
            if let [first, .., last] = ends[..] {
                return (last - first) / (ends.len() - 1) as u32;
            }
            self.limit = self.limit.max(elapsed) * 3 / 2;
        }
    }

    /// When each iteration of a plan ended, and how long the plan took.
    fn plan(&self) -> (Vec<Instant>, Duration) {
        let mut ends = Vec::new();
        let mut observer = |_: &Iteration| ends.push(Instant::now());
        let context = PlanContext::new(0, &mut observer).with_deadline(Some(self.limit));
        let plan = self
            .planner
            .plan_with(&self.task.model, &self.task.belief, context)
            .expect("a finite plan");
        assert!(
            ends.len() > 1 || plan.stop == StopReason::Deadline,
            "{} converges in one iteration",
            self.planner.name()
        );
        (ends, plan.elapsed)
    }
}
