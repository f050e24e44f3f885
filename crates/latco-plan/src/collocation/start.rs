use super::{DualConfig, Initialisation, Trajectories, multipliers::Multipliers, terms::Problem};
use crate::{Belief, Noise, Plan, PlanError, Resources};

/// How a search starts.
pub(super) struct Start<'a> {
    /// Plans and horizon.
    pub shape: [usize; 2],
    pub initialisation: Initialisation,
    /// What starts are screened with.
    pub resources: Resources,
    pub dual: &'a DualConfig,
    /// What the multipliers of a warm start are divided by.
    pub relaxation: f32,
}

impl Start<'_> {
    /// The first trajectories and multipliers; those of a warm start take the first place.
    pub fn prepare(
        &self,
        problem: &Problem<'_>,
        first_node: &Belief,
        warm_start: Option<(&Plan, usize)>,
        noise: &mut Noise,
    ) -> Result<(Trajectories, Multipliers), PlanError> {
        let trajectories = self.trajectories(problem, first_node, warm_start, noise)?;
        let constraints = [problem.constraints_of_dynamics(), problem.constraints.len()];
        let device = first_node.device();
        let mut multipliers = Multipliers::new(self.dual, self.shape, constraints, &device);
        if let Some((plan, executed)) = warm_start {
            multipliers.warm_start(&plan.multipliers, executed, self.dual, self.relaxation);
        }
        Ok((trajectories, multipliers))
    }

    /// Steps of the model that the first trajectories take.
    pub fn model_steps(&self, warm: bool) -> usize {
        let [plans, horizon] = self.shape;
        self.initialisation
            .model_steps([plans - usize::from(warm), horizon])
    }

    fn trajectories(
        &self,
        problem: &Problem<'_>,
        first_node: &Belief,
        warm_start: Option<(&Plan, usize)>,
        noise: &mut Noise,
    ) -> Result<Trajectories, PlanError> {
        let model = problem.model;
        let fresh = |plans: usize, noise: &mut Noise| {
            let shape = [plans, self.shape[1]];
            Trajectories::initial_on(
                model,
                first_node,
                shape,
                self.initialisation,
                self.resources,
                noise,
            )
        };
        let [plans, horizon] = self.shape;
        let Some((plan, executed)) = warm_start else {
            return fresh(plans, noise);
        };
        let sizes = [model.latent_size(), model.action_size()];
        let first = Trajectories::remaining(plan, executed, horizon, sizes)?;
        if plans == 1 {
            return Ok(first);
        }
        let others = fresh(plans - 1, noise)?;
        Ok(Trajectories::joined([&first, &others].into_iter()))
    }
}
