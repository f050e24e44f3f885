//! Plans for many beliefs at the same time.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::{
    Belief, Deadline, LatentModel, NoObserver, Plan, PlanContext, PlanError, Planner, Resources,
    threads::on_shares,
};

/// What one of many plans is made from.
#[derive(Clone, Copy, Debug)]
pub struct PlanRequest<'a> {
    /// Where it starts.
    pub belief: &'a Belief,
    /// Determines every random number of the plan.
    pub seed: u64,
    /// An earlier plan and the number of its steps executed since.
    pub warm_start: Option<(&'a Plan, usize)>,
}

impl<'a> PlanRequest<'a> {
    /// A cold start from `belief`.
    pub fn new(belief: &'a Belief, seed: u64) -> Self {
        Self {
            belief,
            seed,
            warm_start: None,
        }
    }

    /// Starts from `plan`, of which `executed` steps have passed.
    pub fn with_warm_start(mut self, plan: Option<(&'a Plan, usize)>) -> Self {
        self.warm_start = plan;
        self
    }
}

/// A plan for each of the `requests`, in their order: many robots that share a model, or the episodes of an
/// evaluation.
///
/// Each of the [`workers`](Resources::workers) makes one plan after another, so that cores do not wait for
/// each other; where there are fewer requests than workers, plans have several of these each. A plan is the
/// one that its request gets alone, but for rounding where it has other workers then. By the `deadline`, if
/// there is one, all plans are made: what is left of it is divided among those that a worker has still to
/// make.
///
/// A request that fails leaves the others alone; its error says why.
pub fn plan_many(
    planner: &dyn Planner,
    model: &dyn LatentModel,
    requests: &[PlanRequest<'_>],
    deadline: Option<Duration>,
    resources: Resources,
) -> Vec<Result<Plan, PlanError>> {
    let workers = resources.workers.clamp(1, requests.len().max(1));
    let resources = resources.shared_among(workers);
    let clock = Deadline::start(deadline);
    let next = AtomicUsize::new(0);
    let work = |_| {
        let mut plans = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(request) = requests.get(index) else {
                return Ok::<_, Infallible>(plans);
            };
            let rounds = (requests.len() - index).div_ceil(workers);
            let mut observer = NoObserver;
            let context = PlanContext::new(request.seed, &mut observer)
                .with_deadline(clock.left().map(|left| left / rounds as u32))
                .with_resources(resources)
                .with_warm_start(request.warm_start);
            plans.push((index, planner.plan_with(model, request.belief, context)));
        }
    };
    let Ok(shares) = on_shares(workers, workers, work);
    let mut plans: Vec<_> = shares.into_iter().flatten().collect();
    plans.sort_by_key(|(index, _)| *index);
    plans.into_iter().map(|(_, plan)| plan).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::{
        Noise,
        catalogue::planner,
        shooting::{
            CemConfig,
            testing::{HORIZON, Regulator, solver, values},
        },
    };

    fn beliefs(count: u64) -> Vec<Belief> {
        let size = Regulator::inside_the_bounds().latent_size();
        let of = |seed| Belief::certain(Noise::new(seed).normal([size], &Device::default()));
        (0..count).map(of).collect()
    }

    fn with_workers(workers: usize) -> Resources {
        Resources {
            workers,
            ..Resources::default()
        }
    }

    #[test]
    fn each_plan_is_the_one_that_its_request_gets_alone() {
        let model = Regulator::inside_the_bounds();
        let beliefs = beliefs(5);
        for name in ["latco", "icem", "shooting-gd"] {
            let planner = planner(name, Some(HORIZON)).unwrap();
            let earlier = planner.plan(&model, &beliefs[0]).unwrap();
            let requests: Vec<_> = (0..)
                .zip(&beliefs)
                .map(|(seed, belief)| {
                    let warm = (seed % 2 == 1).then_some((&earlier, 1));
                    PlanRequest::new(belief, seed).with_warm_start(warm)
                })
                .collect();
            for workers in [1, 2, 5] {
                let resources = with_workers(workers);
                let plans = plan_many(planner.as_ref(), &model, &requests, None, resources);
                assert_eq!(plans.len(), requests.len());
                for (plan, request) in plans.into_iter().zip(&requests) {
                    let observer = &mut NoObserver;
                    let context = PlanContext::new(request.seed, observer)
                        .with_warm_start(request.warm_start);
                    let alone = planner.plan_with(&model, request.belief, context).unwrap();
                    assert_eq!(
                        values(plan.unwrap().actions),
                        values(alone.actions),
                        "{name}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_request_that_fails_leaves_the_others_alone() {
        let model = Regulator::inside_the_bounds();
        let mut beliefs = beliefs(3);
        beliefs[1] = Belief::certain(Tensor::zeros([model.latent_size() + 1], &Device::default()));
        let requests: Vec<_> = beliefs.iter().map(|at| PlanRequest::new(at, 0)).collect();
        let planner = planner("icem", Some(HORIZON)).unwrap();
        let plans = plan_many(planner.as_ref(), &model, &requests, None, with_workers(2));
        let sizes = [model.latent_size(), model.latent_size() + 1];
        match plans.as_slice() {
            [Ok(_), Err(PlanError::BeliefSize { expected, found }), Ok(_)] => {
                assert_eq!([*expected, *found], sizes);
            }
            other => panic!("{other:?}"),
        }
        assert!(plan_many(planner.as_ref(), &model, &[], None, with_workers(2)).is_empty());
    }

    /// Of twelve plans by two workers each has a sixth of the time.
    #[test]
    fn the_deadline_is_shared_out() {
        let model = Regulator::inside_the_bounds();
        let beliefs = beliefs(12);
        let requests: Vec<_> = beliefs.iter().map(|at| PlanRequest::new(at, 0)).collect();
        let planner = solver(CemConfig {
            horizon: HORIZON,
            iterations: 1_000_000,
            ..CemConfig::default()
        });
        let limit = Duration::from_millis(1_200);
        let clock = Deadline::start(None);
        let plans = plan_many(&planner, &model, &requests, Some(limit), with_workers(2));
        assert!(clock.elapsed() < 2 * limit);
        for plan in plans {
            let plan = plan.unwrap();
            assert_eq!(plan.stop, crate::StopReason::Deadline);
            assert!(plan.elapsed < limit / 2, "{:?}", plan.elapsed);
        }
    }
}
