use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    DualConfig, Initialisation, Trajectories,
    lagrangian::{Summary, Terms, Violations, action_violation, costs},
    multipliers::{Multipliers, Weights},
    nodes::{Nodes, Planned},
};
use crate::{
    ConfigError, ImageSpace, Noise, Objective, PlanError, Rollout, StopReason,
    adam::AdamSteps,
    host::read,
    rollout::{at_step, rewards_along},
    solve::{Method, Pool, Problem, Progress, Search},
};

/// Collocation among images, the image-space ablation of LatCo (Rybkin et al. 2021): the plan's
/// nodes are images `x`, and the latents are what the model infers on seeing them.
///
/// ```text
/// max_{x, a} Σ r(z_t)   s.t.  x_{t+1} = x̂_{t+1},   |a_t| ≤ 1
/// x̂_{t+1} = decode(μ(z_t, a_t))                                   the image that the model expects
/// z_{t+1} = μ(z_t, a_t) + q(x_{t+1}, a_t, z_t) − q(x̂_{t+1}, a_t, z_t)
/// ```
///
/// An image that the model expects tells it nothing, so that a plan which obeys the constraints *is*
/// its rollout, whatever decoding and inferring again would lose.
///
/// The variables are the actions and the defects `δ_t = x_t − x̂_t`. Adam follows the reward's
/// gradient `g`; the penalty `λ ‖δ‖²`, a diagonal one, is minimised exactly after each of its steps,
/// which lets λ grow without bound:
///
/// ```text
/// δ ← (δ − η Adam(g)) / (1 + 2 η λ),      λ, ν ← dual rule on  ‖δ‖², ‖max(|a| − 1, 0)‖²
/// ```
///
/// Choose it to see what planning among images costs beside planning among latents: each iteration
/// decodes and encodes every step, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageCollocationConfig {
    /// Steps of the plan, T.
    pub horizon: usize,
    /// Starts optimised side by side; the best by rollout is returned.
    pub plans: usize,
    /// Adam steps.
    pub iterations: usize,
    /// Adam's step size for the actions.
    pub action_rate: f64,
    /// Adam's step size for the images.
    pub image_rate: f64,
    /// What is maximised.
    pub objective: Objective,
    /// Where the actions start; the images are those that the model expects of them.
    pub initialisation: Initialisation,
    /// The dual ascent; its ε is a squared distance of whole images.
    pub dual: DualConfig,
}

impl Default for ImageCollocationConfig {
    fn default() -> Self {
        Self {
            horizon: 30,
            plans: 1,
            iterations: 120,
            action_rate: 0.05,
            image_rate: 0.05,
            objective: Objective::Residuals,
            initialisation: Initialisation::BestOfN {
                std: 0.7,
                exponent: 2.0,
                candidates: 64,
            },
            dual: DualConfig {
                threshold: 1e-2,
                ..DualConfig::default()
            },
        }
    }
}

impl Method for ImageCollocationConfig {
    fn horizon(&self) -> usize {
        self.horizon
    }

    fn set_horizon(&mut self, horizon: usize) {
        self.horizon = horizon;
    }

    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("plans", self.plans)?;
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_positive_real("action_rate", self.action_rate)?;
        ConfigError::require_positive_real("image_rate", self.image_rate)?;
        self.dual.validate_without_vectors()
    }

    fn init<'a>(
        &self,
        problem: &'a Problem<'a>,
        _pool: &Pool,
        noise: &mut Noise,
    ) -> Result<Box<dyn Search + 'a>, PlanError> {
        let images = Images {
            space: problem.model.image_space().ok_or(PlanError::NoImageSpace)?,
            objective: self.objective,
            problem,
        };
        Ok(Box::new(ImageCollocation {
            earlier: images.earlier(),
            settings: self.clone(),
            noise: noise.take(),
            ascent: None,
            iteration: 0,
            images,
        }))
    }
}

/// What the images of plans make of their latents.
struct Images<'a> {
    problem: &'a Problem<'a>,
    space: &'a dyn ImageSpace,
    objective: Objective,
}

/// What a batch of plans shows, and what the model makes of it.
struct Seen {
    /// `[plans, horizon, image]`.
    images: Tensor<3>,
    /// Those that the model expected in their place.
    expected: Tensor<3>,
    /// `[plans, horizon, latent]`.
    latents: Tensor<3>,
}

impl Images<'_> {
    /// The plans whose images have these defects, which stand in the place of latents.
    fn see(&self, defects: &Trajectories) -> Seen {
        self.see_images(&defects.actions, |step, expected| {
            expected + at_step(&defects.latents, step)
        })
    }

    /// The plans in which `image` gives the images of a step, `[plans, image]`, from those that the
    /// model expects there.
    fn see_images(
        &self,
        actions: &Tensor<3>,
        image: impl Fn(usize, Tensor<2>) -> Tensor<2>,
    ) -> Seen {
        let [plans, horizon, _] = actions.dims();
        let mut latent = self.problem.start(plans);
        let (mut images, mut all_expected, mut latents) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..horizon {
            let action = at_step(actions, step);
            let predicted = self
                .problem
                .model
                .transition_mean(latent.clone(), action.clone());
            let expected = self.space.decode(predicted.clone());
            let shown = image(step, expected.clone());
            latent = predicted + self.news(latent, action, [shown.clone(), expected.clone()]);
            images.push(shown);
            all_expected.push(expected);
            latents.push(latent.clone());
        }
        Seen {
            images: Tensor::stack(images, 1),
            expected: Tensor::stack(all_expected, 1),
            latents: Tensor::stack(latents, 1),
        }
    }

    /// `q(x, a, z) − q(x̂, a, z)`, `[plans, latent]`, of images `[x, x̂]`, `[plans, image]` each.
    fn news(&self, latents: Tensor<2>, actions: Tensor<2>, images: [Tensor<2>; 2]) -> Tensor<2> {
        let plans = latents.dims()[0];
        let twice = |rows: Tensor<2>| rows.repeat_dim(0, 2);
        let images = Tensor::cat(images.into(), 0);
        let inferred = self.space.infer(twice(latents), twice(actions), images);
        inferred.clone().narrow(0, 0, plans) - inferred.narrow(0, plans, plans)
    }

    /// Every term of plans with these defects.
    fn terms(&self, defects: &Trajectories, seen: &Seen) -> Terms {
        let model = self.problem.model;
        let latents = seen.latents.clone().flatten::<2>(0, 1);
        let rewards = model.rewards(latents.clone());
        let distances = defects.latents.clone().square().sum_dim(2).squeeze_dim(2);
        let violations = Violations {
            dynamics: vec![distances],
            actions: action_violation(defects.actions.clone()),
            user: Vec::new(),
        };
        let costs = costs(model, self.objective, latents, &rewards);
        Terms::new(costs, rewards, violations)
    }

    /// What is left of an earlier plan of images.
    fn earlier(&self) -> Option<Trajectories> {
        let Problem {
            model,
            horizon,
            warm_start,
            ..
        } = *self.problem;
        let sizes = [self.space.image_size(), model.action_size()];
        let remaining = |(plan, executed)| Trajectories::remaining(plan, executed, horizon, sizes);
        warm_start.map(remaining).and_then(Result::ok)
    }

    /// The defects of a plan with these images in the place of latents.
    fn defects(&self, plan: &Trajectories) -> Trajectories {
        let images = &plan.latents;
        let seen = self.see_images(&plan.actions, |step, _| at_step(images, step));
        Trajectories {
            latents: seen.images - seen.expected,
            actions: plan.actions.clone(),
        }
    }

    /// The defects of plans that obey the dynamics: none.
    fn no_defects(&self, actions: Tensor<3>) -> Trajectories {
        let [plans, horizon, _] = actions.dims();
        let shape = [plans, horizon, self.space.image_size()];
        Trajectories {
            latents: Tensor::zeros(shape, &actions.device()),
            actions,
        }
    }
}

impl Nodes for Images<'_> {
    fn roll_out(&self, actions: Tensor<3>) -> Rollout {
        self.problem.roll_out(actions)
    }

    fn on_rollout(&self, actions: Tensor<3>, _rollout: &Rollout) -> Trajectories {
        self.no_defects(actions)
    }

    fn planned(&self, chosen: Trajectories) -> Planned {
        let seen = self.see(&chosen);
        let terms = self.terms(&chosen, &seen);
        Planned {
            rewards: terms.rewards,
            violation: terms.violations.largest(),
            nodes: seen.images.squeeze_dim(0),
            latents: seen.latents.squeeze_dim(0),
            std: None,
        }
    }

    fn latents(&self, rollout: Tensor<2>) -> Tensor<2> {
        rollout
    }

    fn are_latents(&self) -> bool {
        false
    }
}

/// The saddle-point search of a batch of plans.
struct ImageCollocation<'a> {
    settings: ImageCollocationConfig,
    images: Images<'a>,
    noise: Noise,
    /// What is left of an earlier plan, images in the place of latents.
    earlier: Option<Trajectories>,
    /// Since the first iteration.
    ascent: Option<Ascent>,
    iteration: usize,
}

/// Where the search is.
struct Ascent {
    /// Actions, and the images' defects in the place of latents.
    defects: Trajectories,
    multipliers: Multipliers,
    image_steps: AdamSteps<3>,
    action_steps: AdamSteps<3>,
}

impl ImageCollocation<'_> {
    fn begin(&mut self, pool: &mut Pool) -> Result<Ascent, PlanError> {
        Ok(Ascent {
            defects: self.first_defects(pool)?,
            multipliers: self.first_multipliers(),
            image_steps: AdamSteps::new(self.settings.image_rate),
            action_steps: AdamSteps::new(self.settings.action_rate),
        })
    }

    /// Fresh starts obey the dynamics; what is left of an earlier plan takes the first place.
    fn first_defects(&mut self, pool: &mut Pool) -> Result<Trajectories, PlanError> {
        let ImageCollocationConfig {
            plans,
            initialisation,
            ..
        } = self.settings;
        let earlier = self.earlier.as_ref().map(|plan| self.images.defects(plan));
        let mut batches: Vec<_> = earlier.into_iter().collect();
        let fresh = plans - batches.len();
        if fresh > 0 {
            let problem = self.images.problem;
            let start = initialisation.draw(problem, fresh, pool, &mut self.noise)?;
            if initialisation.rolls_out() {
                let rewards = rewards_along(problem.model, start.latents);
                pool.offer(&start.actions, &read("return", rewards.sum_dim(1))?);
            }
            batches.push(self.images.no_defects(start.actions));
        }
        Ok(Trajectories::joined(batches.iter()))
    }

    fn first_multipliers(&self) -> Multipliers {
        let ImageCollocationConfig { plans, dual, .. } = &self.settings;
        let problem = self.images.problem;
        let shape = [*plans, problem.horizon];
        let mut multipliers = Multipliers::new(dual, shape, [1, 0]);
        if let (Some(_), Some((plan, executed))) = (&self.earlier, problem.warm_start) {
            multipliers.warm_start(&plan.multipliers, executed, dual);
        }
        multipliers
    }

    /// One primal step, one dual step of `ascent`; with the images before it, `[plans, horizon, image]`.
    fn iterate(&self, ascent: &mut Ascent) -> Result<(Summary, Tensor<3>), PlanError> {
        let leaves = ascent.defects.leaves();
        let seen = self.images.see(&leaves);
        let terms = self.images.terms(&leaves, &seen);
        let weights = ascent
            .multipliers
            .on_device(&self.images.problem.belief.device());
        let bounds = terms.violations.actions.clone() * weights.actions.clone();
        let cost = terms.costs.clone() + bounds;
        let gradient = leaves.gradient(&mut cost.sum().backward());
        ascent.step(gradient, &weights, self.settings.image_rate);
        let values = terms.read()?;
        ascent.multipliers.ascend(&self.settings.dual, &values);
        let summary = values.summarise(&ascent.multipliers)?;
        Ok((summary, seen.images.without_autodiff()))
    }
}

impl Ascent {
    /// Adam on the reward and the actions' bounds, then the least of the defects' penalty.
    fn step(&mut self, gradient: Trajectories, weights: &Weights, image_rate: f64) {
        let Trajectories { latents, actions } = self.defects.clone();
        let weight = weights.dynamics[0].clone().unsqueeze_dim::<3>(2);
        let shrink = weight * (2.0 * image_rate) + 1.0;
        self.defects = Trajectories {
            latents: self.image_steps.step(latents, gradient.latents) / shrink,
            actions: self.action_steps.step(actions, gradient.actions),
        };
    }
}

impl Search for ImageCollocation<'_> {
    fn step(&mut self, pool: &mut Pool) -> Result<Progress, PlanError> {
        let mut ascent = match self.ascent.take() {
            Some(ascent) => ascent,
            None => self.begin(pool)?,
        };
        let (summary, images) = self.iterate(&mut ascent)?;
        self.iteration += 1;
        pool.model_steps += self.settings.plans * self.settings.horizon;
        let shown = Trajectories {
            latents: images,
            actions: ascent.defects.actions.clone(),
        };
        self.ascent = Some(ascent);
        let over = self.iteration >= self.settings.iterations;
        Ok(summary.progress(&shown, over.then_some(StopReason::Iterations)))
    }

    fn finish(&mut self, pool: &mut Pool) -> Result<(), PlanError> {
        let ascent = self.ascent.take();
        let found = ascent.map(|ascent| {
            let multipliers = ascent.multipliers;
            (ascent.defects, move |plan: usize| {
                multipliers.of_dynamics(plan)
            })
        });
        self.images.finish(found, pool)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{
        Belief, DiagonalGaussian, LatentModel, NoObserver, Plan, PlanContext, Planner,
        shooting::testing::{solver, values},
    };

    /// A point that actions move, rewarded at one; images show it thrice, and what is inferred from
    /// them is a tenth short.
    struct Lossy;

    impl LatentModel for Lossy {
        fn latent_size(&self) -> usize {
            1
        }

        fn action_size(&self) -> usize {
            1
        }

        fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
            let mean = latents + actions * 0.2;
            let std = mean.zeros_like();
            DiagonalGaussian::new(mean, std)
        }

        fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
            (latents - 1.0).square().neg().exp().squeeze_dim(1)
        }

        fn image_space(&self) -> Option<&dyn ImageSpace> {
            Some(self)
        }
    }

    impl ImageSpace for Lossy {
        fn image_size(&self) -> usize {
            3
        }

        fn infer(&self, _: Tensor<2>, _: Tensor<2>, images: Tensor<2>) -> Tensor<2> {
            images.mean_dim(1) * 0.9
        }

        fn decode(&self, latents: Tensor<2>) -> Tensor<2> {
            latents.repeat_dim(1, 3)
        }
    }

    fn belief() -> Belief {
        Belief::certain(Tensor::zeros([1], &Device::default()))
    }

    fn config() -> ImageCollocationConfig {
        ImageCollocationConfig {
            horizon: 8,
            iterations: 300,
            dual: DualConfig::default(),
            ..ImageCollocationConfig::default()
        }
    }

    fn plan(warm_start: Option<(&Plan, usize)>, iterations: usize) -> Plan {
        let config = ImageCollocationConfig {
            iterations,
            ..config()
        };
        let mut observer = NoObserver;
        let context = PlanContext::new(0, &mut observer).with_warm_start(warm_start);
        let planner = solver(config);
        planner.plan_with(&Lossy, &belief(), context).unwrap()
    }

    #[test]
    fn images_that_the_model_expects_lead_along_its_rollout() {
        let belief = belief();
        let images = Images {
            problem: &Problem::new(&Lossy, &belief, 5),
            space: &Lossy,
            objective: Objective::Residuals,
        };
        let actions = Noise::new(1).normal([2, 5, 1], &belief.device());
        let seen = images.see_images(&actions, |_, expected| expected);
        assert_eq!(
            values(seen.latents),
            values(images.roll_out(actions).latents)
        );
    }

    #[test]
    fn what_an_image_adds_is_inferred() {
        let belief = belief();
        let images = Images {
            problem: &Problem::new(&Lossy, &belief, 2),
            space: &Lossy,
            objective: Objective::Residuals,
        };
        let device = belief.device();
        let defects = Trajectories {
            latents: Tensor::from_floats([[[0.3, 0.0, 0.6], [0.0; 3]]], &device),
            actions: Tensor::from_floats([[[0.0], [0.5]]], &device),
        };
        let seen = images.see(&defects);
        let expected = [0.27, 0.37];
        for (latent, expected) in values(seen.latents).into_iter().zip(expected) {
            assert!((latent - expected).abs() < 1e-6);
        }
        assert_eq!(&values(seen.images)[..3], [0.3, 0.0, 0.6]);
    }

    #[test]
    fn a_plan_reaches_the_reward_and_its_rollout_too() {
        let plan = plan(None, 300);
        // Five steps of 0.2 lead to the reward at 1, three more stay there.
        let best: f32 = (1..=8)
            .map(|step| (-(1.0 - 0.2 * step as f32).max(0.0).powi(2)).exp())
            .sum();
        assert!(plan.rollout.total() > best - 0.05, "{:?}", plan.rollout);
        assert!(plan.is_backed_by_rollout());
        assert!(plan.violation_max() < 2e-4, "{:?}", plan.violation);
    }

    /// Of images: their defects are found again.
    #[test]
    fn a_warm_start_goes_on_from_the_images() {
        let earlier = plan(None, 20);
        assert!(earlier.violation_max() > 0.0);
        let next = plan(Some((&earlier, 0)), 1);
        let first = &next.trace[0];
        let total = earlier.virtual_.total();
        assert!((first.reward - total).abs() < 1e-3, "{first:?}, {total}");
    }

    #[test]
    fn models_without_images_are_refused() {
        struct Blind;
        impl LatentModel for Blind {
            fn latent_size(&self) -> usize {
                1
            }
            fn action_size(&self) -> usize {
                1
            }
            fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
                Lossy.transition(latents, actions)
            }
            fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
                Lossy.reward(latents)
            }
        }
        let planner = solver(config());
        let refused = planner.plan(&Blind, &belief()).unwrap_err();
        assert!(matches!(refused, PlanError::NoImageSpace), "{refused}");
    }
}
