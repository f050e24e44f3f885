use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    DualConfig, Initialisation, Trajectories,
    adam::AdamSteps,
    multipliers::Multipliers,
    result::{CollocationResult, Planned, Results},
    terms::{Summary, Terms, Violations},
    violation::action_violation,
};
use crate::{
    Belief, ConfigError, Deadline, ImageSpace, LatentModel, Noise, Objective, Plan, PlanContext,
    PlanError, Planner, Resources, Rollout,
    iterations::{Iterations, Progress},
    planner::check_belief,
    roll_out,
    rollout::at_step,
};

/// Settings of collocation among images.
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
            initialisation: Initialisation::Screened {
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

impl ImageCollocationConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::require_positive("horizon", self.horizon)?;
        ConfigError::require_positive("plans", self.plans)?;
        ConfigError::require_positive("iterations", self.iterations)?;
        ConfigError::require_positive_real("action_rate", self.action_rate)?;
        ConfigError::require_positive_real("image_rate", self.image_rate)?;
        self.dual.validate()
    }
}

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
#[derive(Clone, Debug)]
pub struct ImageCollocation {
    config: ImageCollocationConfig,
}

impl ImageCollocation {
    /// A planner with these settings.
    ///
    /// # Errors
    ///
    /// Names the first setting outside its range.
    pub fn new(config: ImageCollocationConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { config })
    }
}

impl Planner for ImageCollocation {
    fn name(&self) -> &'static str {
        "image-collocation"
    }

    fn horizon(&self) -> usize {
        self.config.horizon
    }

    fn plan_with(
        &self,
        model: &dyn LatentModel,
        belief: &Belief,
        context: PlanContext<'_>,
    ) -> Result<Plan, PlanError> {
        check_belief(model, belief)?;
        let deadline = Deadline::start(context.deadline);
        let config = &self.config;
        let viewer = Viewer {
            model,
            images: model.image_space().ok_or(PlanError::NoImageSpace)?,
            belief,
        };
        let mut noise = Noise::new(context.seed);
        let defects =
            viewer.first_defects(config, context.resources, context.warm_start, &mut noise)?;
        let mut ascent = Ascent {
            config,
            viewer: &viewer,
            multipliers: viewer.first_multipliers(config, context.warm_start),
            defects,
            image_steps: AdamSteps::new(config.image_rate),
            action_steps: AdamSteps::new(config.action_rate),
        };
        let iterations =
            Iterations::run(config.iterations, &deadline, context.observer, |index| {
                let (summary, images) = ascent.iterate(index)?;
                Ok(Progress {
                    iteration: summary.iteration,
                    actions: ascent.defects.actions.clone(),
                    nodes: Some(images),
                    converged: false,
                })
            })?;
        let fresh = config.plans - usize::from(context.warm_start.is_some());
        let shape = [fresh, config.horizon];
        CollocationResult {
            model_steps: iterations.trace.len() * config.plans * config.horizon
                + config.initialisation.model_steps(shape),
            trajectories: ascent.defects,
            multipliers: ascent.multipliers,
            trace: iterations.trace,
            stop: iterations.stop,
        }
        .into_plan(&viewer, &deadline)
    }
}

/// Infers latents from the images of a plan.
struct Viewer<'a> {
    model: &'a dyn LatentModel,
    images: &'a dyn ImageSpace,
    belief: &'a Belief,
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

impl Viewer<'_> {
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
        let mut latent = self.belief.mean_of(plans);
        let (mut images, mut all_expected, mut latents) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..horizon {
            let action = at_step(actions, step);
            let predicted = self.model.transition_mean(latent.clone(), action.clone());
            let expected = self.images.decode(predicted.clone());
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
        let inferred = self.images.infer(twice(latents), twice(actions), images);
        inferred.clone().narrow(0, 0, plans) - inferred.narrow(0, plans, plans)
    }

    /// Every term of plans with these defects.
    fn terms(&self, defects: &Trajectories, seen: &Seen) -> Terms {
        let rewards = self.model.rewards(seen.latents.clone().flatten(0, 1));
        let distances = defects.latents.clone().square().sum_dim(2).squeeze_dim(2);
        let violations = Violations {
            dynamics: vec![distances],
            actions: action_violation(defects.actions.clone()),
            user: Vec::new(),
        };
        Terms::new(rewards, violations)
    }

    /// Fresh starts obey the dynamics; what is left of an earlier plan takes the first place.
    fn first_defects(
        &self,
        config: &ImageCollocationConfig,
        resources: Resources,
        warm_start: Option<(&Plan, usize)>,
        noise: &mut Noise,
    ) -> Result<Trajectories, PlanError> {
        let size = self.images.image_size();
        let fresh = |plans: usize, noise: &mut Noise| {
            let shape = [plans, config.horizon];
            let (model, start) = (self.model, config.initialisation);
            let start =
                Trajectories::initial_on(model, self.belief, shape, start, resources, noise)?;
            let device = self.belief.device();
            Ok::<_, PlanError>(Trajectories {
                latents: Tensor::zeros([plans, config.horizon, size], &device),
                actions: start.actions,
            })
        };
        let Some((plan, executed)) = warm_start else {
            return fresh(config.plans, noise);
        };
        let sizes = [size, self.model.action_size()];
        let earlier = Trajectories::remaining(plan, executed, config.horizon, sizes)?;
        let images = &earlier.latents;
        let seen = self.see_images(&earlier.actions, |step, _| at_step(images, step));
        let first = Trajectories {
            latents: seen.images - seen.expected,
            actions: earlier.actions,
        };
        if config.plans == 1 {
            return Ok(first);
        }
        let others = fresh(config.plans - 1, noise)?;
        Ok(Trajectories::joined([&first, &others].into_iter()))
    }

    fn first_multipliers(
        &self,
        config: &ImageCollocationConfig,
        warm_start: Option<(&Plan, usize)>,
    ) -> Multipliers {
        let shape = [config.plans, config.horizon];
        let device = self.belief.device();
        let mut multipliers = Multipliers::new(&config.dual, shape, [1, 0], &device);
        if let Some((plan, executed)) = warm_start {
            multipliers.warm_start(&plan.multipliers, executed, &config.dual, 1.0);
        }
        multipliers
    }
}

impl Results for Viewer<'_> {
    fn roll_out(&self, actions: Tensor<3>) -> Rollout {
        let plans = actions.dims()[0];
        roll_out(self.model, self.belief.mean_of(plans), actions)
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
}

/// The state of one saddle-point ascent.
struct Ascent<'a> {
    config: &'a ImageCollocationConfig,
    viewer: &'a Viewer<'a>,
    /// Actions, and the images' defects in the place of latents.
    defects: Trajectories,
    multipliers: Multipliers,
    image_steps: AdamSteps,
    action_steps: AdamSteps,
}

impl Ascent<'_> {
    /// One primal step, one dual step; with the images before it, `[plans, horizon, image]`.
    fn iterate(&mut self, index: usize) -> Result<(Summary, Tensor<3>), PlanError> {
        let leaves = self.defects.leaves();
        let seen = self.viewer.see(&leaves);
        let mut terms = self.viewer.terms(&leaves, &seen);
        let cost = match self.config.objective {
            Objective::Reward => terms.rewards.clone().neg(),
            Objective::Residuals => terms.residuals.clone() * 0.5,
        };
        let bounds = terms.violations.actions.clone() * self.multipliers.actions.clone();
        let gradient = leaves.gradient(&mut (cost + bounds).sum().backward());
        for term in terms.all_mut() {
            *term = term.clone().without_autodiff();
        }
        self.step(gradient);
        self.multipliers.ascend(&self.config.dual, &terms);
        let summary = terms.summarise(&self.multipliers, index)?;
        Ok((summary, seen.images.without_autodiff()))
    }

    /// Adam on the reward and the actions' bounds, then the least of the defects' penalty.
    fn step(&mut self, gradient: Trajectories) {
        let Trajectories { latents, actions } = self.defects.clone();
        let weight = self.multipliers.dynamics[0].clone().unsqueeze_dim::<3>(2);
        let shrink = weight * (2.0 * self.config.image_rate) + 1.0;
        self.defects = Trajectories {
            latents: self.image_steps.step(latents, gradient.latents) / shrink,
            actions: self.action_steps.step(actions, gradient.actions),
        };
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{DiagonalGaussian, shooting::testing::values};

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
        let mut observer = crate::NoObserver;
        let context = PlanContext::new(0, &mut observer).with_warm_start(warm_start);
        let planner = ImageCollocation::new(config).unwrap();
        planner.plan_with(&Lossy, &belief(), context).unwrap()
    }

    #[test]
    fn images_that_the_model_expects_lead_along_its_rollout() {
        let belief = belief();
        let viewer = Viewer {
            model: &Lossy,
            images: &Lossy,
            belief: &belief,
        };
        let actions = Noise::new(1).normal([2, 5, 1], &belief.device());
        let seen = viewer.see_images(&actions, |_, expected| expected);
        assert_eq!(
            values(seen.latents),
            values(viewer.roll_out(actions).latents)
        );
    }

    #[test]
    fn what_an_image_adds_is_inferred() {
        let belief = belief();
        let viewer = Viewer {
            model: &Lossy,
            images: &Lossy,
            belief: &belief,
        };
        let device = belief.device();
        let defects = Trajectories {
            latents: Tensor::from_floats([[[0.3, 0.0, 0.6], [0.0; 3]]], &device),
            actions: Tensor::from_floats([[[0.0], [0.5]]], &device),
        };
        let seen = viewer.see(&defects);
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
        let planner = ImageCollocation::new(config()).unwrap();
        let refused = planner.plan(&Blind, &belief()).unwrap_err();
        assert!(matches!(refused, PlanError::NoImageSpace), "{refused}");
    }
}
