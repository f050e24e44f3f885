use std::time::Duration;

use crate::{Belief, LatentModel, NoObserver, Observer, Plan, PlanError};

/// A method that finds a plan for a model and a belief.
pub trait Planner: Send + Sync {
    /// The method's name as users type it.
    fn name(&self) -> &'static str;

    /// The number of steps that a plan has.
    fn horizon(&self) -> usize;

    /// Plans from `belief`, with the seed, deadline, warm start and observer of `context`.
    fn plan_with(
        &self,
        model: &dyn LatentModel,
        belief: &Belief,
        context: PlanContext<'_>,
    ) -> Result<Plan, PlanError>;

    /// Plans from `belief` with seed 0, no deadline and no warm start.
    fn plan(&self, model: &dyn LatentModel, belief: &Belief) -> Result<Plan, PlanError> {
        self.plan_with(model, belief, PlanContext::new(0, &mut NoObserver))
    }
}

/// What a device does at once. It decides how a batch of plans or samples is shared out, so how fast a
/// plan is found and in how much memory; what is found differs by rounding alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Threads among which planners may share out a batch: the cores for a model on a CPU, one for a
    /// model on a GPU, which a batch fills by itself.
    pub workers: usize,
    /// The least number of samples worth a rollout of their own, where a planner is set to fewer: one
    /// on a CPU, whose caches want small batches; thousands on a GPU, where a step of the model takes
    /// as long for one row as for so many.
    pub rows: usize,
}

impl Resources {
    /// What each of `count` plans has that are made at the same time.
    pub fn shared_among(self, count: usize) -> Self {
        Self {
            workers: (self.workers / count.max(1)).max(1),
            ..self
        }
    }
}

impl Default for Resources {
    /// One thread of a CPU.
    fn default() -> Self {
        Self {
            workers: 1,
            rows: 1,
        }
    }
}

/// What may change from one plan to the next.
pub struct PlanContext<'a> {
    /// Determines every random number of the plan.
    pub seed: u64,
    /// The best plan so far is returned by then; `None` waits for the other stopping rules.
    pub deadline: Option<Duration>,
    /// An earlier plan and the number of its steps executed since.
    pub warm_start: Option<(&'a Plan, usize)>,
    /// What the model's device does at once.
    pub resources: Resources,
    /// Sees each iteration.
    pub observer: &'a mut dyn Observer,
}

impl<'a> PlanContext<'a> {
    /// A cold start without a deadline, with the default [`Resources`]: one thread.
    pub fn new(seed: u64, observer: &'a mut dyn Observer) -> Self {
        Self {
            seed,
            deadline: None,
            warm_start: None,
            resources: Resources::default(),
            observer,
        }
    }

    /// Returns the best plan so far after `limit`.
    pub fn with_deadline(mut self, limit: Option<Duration>) -> Self {
        self.deadline = limit;
        self
    }

    /// Shares batches out as suits a device of these resources.
    pub fn with_resources(mut self, resources: Resources) -> Self {
        self.resources = resources;
        self
    }

    /// Starts from `plan`, of which `executed` steps have passed.
    pub fn with_warm_start(mut self, plan: Option<(&'a Plan, usize)>) -> Self {
        self.warm_start = plan;
        self
    }
}

/// Refuses a belief whose mean or deviation is not one latent of the model's size.
pub(crate) fn check_belief(model: &dyn LatentModel, belief: &Belief) -> Result<(), PlanError> {
    let expected = model.latent_size();
    let shapes = [belief.mean().dims(), belief.std().dims()];
    match shapes.into_iter().find(|&shape| shape != [1, expected]) {
        None => Ok(()),
        Some([rows, size]) => Err(PlanError::BeliefSize {
            expected,
            found: if size == expected { rows * size } else { size },
        }),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::{DiagonalGaussian, shooting::testing::Regulator};

    #[test]
    fn a_belief_is_one_latent_with_its_deviation() {
        let model = Regulator::inside_the_bounds();
        let size = model.latent_size();
        let of = |shape: [usize; 2]| Tensor::<2>::zeros(shape, &Device::default());
        let found = |mean, std| {
            let belief = Belief::new(DiagonalGaussian::new(of(mean), of(std)));
            match check_belief(&model, &belief) {
                Err(PlanError::BeliefSize { found, .. }) => Some(found),
                checked => checked.map(|()| None).unwrap(),
            }
        };
        assert_eq!(found([1, size], [1, size]), None);
        assert_eq!(found([1, size + 1], [1, size + 1]), Some(size + 1));
        assert_eq!(found([1, size], [1, 1]), Some(1));
        assert_eq!(found([1, size], [1, size + 2]), Some(size + 2));
        assert_eq!(found([2, size], [2, size]), Some(2 * size));
        assert_eq!(found([1, size], [2, size]), Some(2 * size));
    }
}
