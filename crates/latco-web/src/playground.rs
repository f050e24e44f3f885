use burn::tensor::Tensor;
use latco_agent::{Agent, check_interface, decoded_images, device::device};
use latco_env::{EnvOptions, Image, Scene, Thing, scene};
use latco_model::WorldModel;
use latco_plan::{Belief, Iteration, LatentModel, Plan, StopReason, roll_out};
use serde::Serialize;

use crate::{
    Locator, Place, Setup, WebError,
    recorder::{Frame, Recorder},
};

/// A task, a model and a planner in a closed loop, with hands on the things of the task.
pub struct Playground {
    scene: Box<dyn Scene>,
    agent: Agent,
    setup: Setup,
    seed: u64,
    /// What the agent sees.
    image: Image,
    locator: Locator,
    /// Steps since the reset.
    steps: usize,
    /// Steps executed of the present plan.
    executed: usize,
    /// The action for what is seen, chosen but not executed.
    chosen: Option<Vec<f32>>,
    /// The iterations of the last plan that was recorded.
    frames: Vec<Frame>,
    /// The belief that the last plan was made from.
    start: Option<Belief>,
}

/// What one step of the loop did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Steps since the reset.
    pub step: usize,
    /// The reward of the new state.
    pub reward: f32,
    /// Whether it solves the task.
    pub solved: bool,
    /// The executed action, each component in `[−1, 1]`.
    pub action: Vec<f32>,
}

/// A plan's figures.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// What its latents promise, `Σ r(z_t)`.
    #[serde(rename = "virtual")]
    pub virtual_: f32,
    /// What its actions deliver, rolled out through the model.
    pub rollout: f32,
    /// The mean return over copies with disturbed actions, of models that err.
    pub robust: Option<f32>,
    /// The largest `‖z_{t+1} − μ(z_t, a_t)‖²`.
    pub violation: f32,
    /// The largest λ, of the last iteration that had one.
    pub multiplier: f32,
    /// Iterations of the planner.
    pub iterations: usize,
    /// Steps of the plan.
    pub horizon: usize,
    /// Rows that went through the model's transition.
    pub model_steps: usize,
    /// Wall time.
    pub milliseconds: f64,
    /// Why it ended.
    pub stop: StopReason,
}

impl From<&Plan> for PlanReport {
    fn from(plan: &Plan) -> Self {
        let mut multipliers = plan.trace.iter().map(|iteration| iteration.multiplier_max);
        let multiplier = multipliers.rfind(|&multiplier| multiplier > 0.0);
        Self {
            virtual_: plan.virtual_.total(),
            rollout: plan.rollout.total(),
            robust: plan.robust_return,
            violation: plan.violation_max(),
            multiplier: multiplier.unwrap_or(0.0),
            iterations: plan.trace.len(),
            horizon: plan.horizon(),
            model_steps: plan.model_steps,
            milliseconds: plan.elapsed.as_secs_f64() * 1e3,
            stop: plan.stop,
        }
    }
}

/// What a plan imagines at one step.
#[derive(Clone, Debug)]
pub struct Imagined {
    /// The step, counted from 0: after so many further actions than the first.
    pub step: usize,
    /// The decoded latent.
    pub image: Image,
    /// Where it shows the effector.
    pub place: Place,
}

/// What a recorded iteration shows.
#[derive(Clone, Debug)]
pub struct IterationPicture {
    /// Its figures.
    pub iteration: Iteration,
    /// Whether its latents are nodes of a relaxed plan; those of a shooting method are its rollout's.
    pub relaxed: bool,
    /// What its latents imagine.
    pub imagined: Vec<Imagined>,
    /// Where its actions lead to through the model.
    pub rollout: Vec<Place>,
    /// The return there.
    pub rollout_return: f32,
}

impl Playground {
    /// The task of this name with the model that `checkpoint` holds, reset with seed 0.
    ///
    /// # Errors
    ///
    /// If there is no such task, the bytes are no checkpoint, or one of another task's images.
    pub fn new(task: &str, checkpoint: Vec<u8>, setup: Setup) -> Result<Self, WebError> {
        let mut scene = scene(task, &EnvOptions::default())?;
        let device = device("flex")?;
        let model =
            WorldModel::from_bytes(checkpoint, format!("the checkpoint of {task}"), &device)
                .map_err(latco_agent::AgentError::from)?;
        check_interface(scene.as_ref(), &model)?;
        let image = scene.reset(0)?;
        let agent = setup.agent(model)?;
        Ok(Self {
            locator: Locator::new(&image, scene.effector_colour()),
            scene,
            agent,
            setup,
            seed: 0,
            image,
            steps: 0,
            executed: 0,
            chosen: None,
            frames: Vec::new(),
            start: None,
        })
    }

    /// Plans otherwise from the next step on, as if the episode began now.
    ///
    /// # Errors
    ///
    /// If the planner or a setting is refused; everything then stays as it was.
    pub fn configure(&mut self, setup: Setup) -> Result<(), WebError> {
        self.agent = setup.agent(self.agent.model().clone())?;
        self.setup = setup;
        self.search_anew();
        Ok(())
    }

    /// Begins the episode of this seed.
    ///
    /// # Errors
    ///
    /// If the task fails.
    pub fn reset(&mut self, seed: u64) -> Result<(), WebError> {
        self.image = self.scene.reset(seed)?;
        self.locator = Locator::new(&self.image, self.scene.effector_colour());
        self.seed = seed;
        self.steps = 0;
        self.search_anew();
        Ok(())
    }

    /// Forgets belief and plan, so that the next step searches from nothing.
    pub fn search_anew(&mut self) {
        self.agent.reset(self.seed);
        self.executed = 0;
        self.chosen = None;
        self.frames.clear();
    }

    /// What can be moved.
    pub fn things(&self) -> Vec<Thing> {
        self.scene.things()
    }

    /// Moves a thing; the belief begins anew, the next plan starts from what is left of the present one.
    ///
    /// # Errors
    ///
    /// If there is no such thing.
    pub fn move_thing(&mut self, name: &str, position: [f32; 2]) -> Result<(), WebError> {
        self.scene.move_thing(name, position)?;
        self.image = self.scene.picture(self.image.width())?;
        match self.chosen.take() {
            Some(_) => self.agent.forget_choice(),
            None => self.agent.forget_observations(),
        }
        Ok(())
    }

    /// The scene in `size` × `size` pixels.
    ///
    /// # Errors
    ///
    /// If the size is none of 16 to 1024.
    pub fn picture(&self, size: usize) -> Result<Image, WebError> {
        Ok(self.scene.picture(size)?)
    }

    /// What the agent sees.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Observes and chooses the next action; a plan is made where one is due, whose figures come back.
    /// `on_iteration` is told of every iteration, and with `record` what each arrived at is kept for
    /// [`recorded_iteration`](Self::recorded_iteration).
    ///
    /// # Errors
    ///
    /// If planning fails.
    pub fn think(
        &mut self,
        record: bool,
        on_iteration: &mut dyn FnMut(&Iteration),
    ) -> Result<Option<PlanReport>, WebError> {
        if self.chosen.is_some() {
            return Ok(None);
        }
        let mut frames = Vec::new();
        let mut recorder = Recorder {
            forward: on_iteration,
            frames: record.then_some(&mut frames),
            last: None,
        };
        self.chosen = Some(self.agent.act_observed(&self.image, &mut recorder)?);
        if !self.agent.has_just_planned() {
            return Ok(None);
        }
        self.frames = frames;
        self.start = self.agent.belief().cloned();
        self.executed = 0;
        Ok(self.agent.plan().map(PlanReport::from))
    }

    /// Executes the action that was chosen; chooses one first where none was.
    ///
    /// # Errors
    ///
    /// If planning fails.
    pub fn execute(&mut self) -> Result<Report, WebError> {
        self.think(false, &mut |_| ())?;
        let nothing = WebError::Nothing { what: "action" };
        let action = self.chosen.take().ok_or(nothing)?;
        let step = self.scene.step(&action)?;
        self.image = step.image;
        self.executed += 1;
        self.steps += 1;
        Ok(Report {
            step: self.steps,
            reward: step.reward,
            solved: step.success,
            action: self.scene.action_space().normalised(&action),
        })
    }

    /// The plan that is being executed.
    ///
    /// # Errors
    ///
    /// If none was made yet.
    pub fn plan(&self) -> Result<&Plan, WebError> {
        self.agent.plan().ok_or(WebError::Nothing { what: "plan" })
    }

    /// Steps executed of it.
    pub fn executed(&self) -> usize {
        self.executed
    }

    /// What the plan imagines at every `every`-th of its steps, and at the last, in the order of time.
    ///
    /// # Errors
    ///
    /// If there is no plan.
    pub fn imagine(&self, every: usize) -> Result<Vec<Imagined>, WebError> {
        let plan = self.plan()?;
        let last = plan.horizon() - 1;
        let mut steps: Vec<_> = (0..last).step_by(every.max(1)).collect();
        steps.push(last);
        let latent = |&step: &usize| plan.latents.clone().narrow(0, step, 1);
        let latents = Tensor::cat(steps.iter().map(latent).collect(), 0);
        Ok(self.imagined(steps, latents))
    }

    /// What `latents` `[steps, latent]` show at these steps.
    fn imagined(&self, steps: Vec<usize>, latents: Tensor<2>) -> Vec<Imagined> {
        let images = decoded_images(self.agent.model(), latents);
        let moments = steps.into_iter().zip(images);
        moments
            .map(|(step, image)| Imagined {
                step,
                place: self.locator.locate(&image),
                image,
            })
            .collect()
    }

    /// What the belief after the last observation shows.
    ///
    /// # Errors
    ///
    /// If nothing was observed yet.
    pub fn believed(&self) -> Result<Image, WebError> {
        let nothing = WebError::Nothing { what: "belief" };
        let belief = self.agent.belief().ok_or(nothing)?;
        let mut images = decoded_images(self.agent.model(), belief.mean());
        images.pop().ok_or(WebError::Nothing { what: "belief" })
    }

    /// Iterations that were recorded.
    pub fn recorded(&self) -> usize {
        self.frames.len()
    }

    /// A recorded iteration, from the belief that its plan was made from: of collocation the plan of highest virtual
    /// reward.
    ///
    /// # Errors
    ///
    /// If it was not recorded.
    pub fn recorded_iteration(&self, index: usize) -> Result<IterationPicture, WebError> {
        let count = self.frames.len();
        let frame = (self.frames.get(index)).ok_or(WebError::Iteration { index, count })?;
        let model = self.agent.model();
        let best = match &frame.nodes {
            Some(nodes) => self.most_rewarded(nodes),
            None => 0,
        };
        let actions = frame.actions.clone().narrow(0, best, 1).clamp(-1.0, 1.0);
        let nothing = WebError::Nothing { what: "belief" };
        let start = self.start.as_ref().ok_or(nothing)?;
        let rollout = roll_out(model, start.mean(), actions);
        let returns = numbers(rollout.returns());
        let latents = rollout.latents.squeeze_dim::<2>(0);
        let steps = (0..latents.dims()[0]).collect();
        let rolled_out = self.imagined(steps, latents);
        let places = rolled_out.iter().map(|moment| moment.place).collect();
        let imagined = match &frame.nodes {
            None => rolled_out,
            Some(nodes) => {
                let nodes = nodes.clone().narrow(0, best, 1);
                let latents = nodes.narrow(2, 0, model.latent_size()).squeeze_dim::<2>(0);
                self.imagined((0..latents.dims()[0]).collect(), latents)
            }
        };
        Ok(IterationPicture {
            iteration: frame.iteration.clone(),
            relaxed: frame.nodes.is_some(),
            imagined,
            rollout: places,
            rollout_return: returns.first().copied().unwrap_or(0.0),
        })
    }

    /// The plan whose nodes `[plans, horizon, node]` promise most.
    fn most_rewarded(&self, nodes: &Tensor<3>) -> usize {
        let model = self.agent.model();
        let [plans, horizon, _] = nodes.dims();
        let latents = nodes.clone().narrow(2, 0, model.latent_size());
        let rewards = numbers(model.reward(latents.flatten(0, 1)));
        let total = |plan: &usize| rewards[plan * horizon..][..horizon].iter().sum::<f32>();
        (0..plans)
            .max_by(|a, b| total(a).total_cmp(&total(b)).then(b.cmp(a)))
            .unwrap_or(0)
    }
}

/// The values of a tensor on the CPU.
fn numbers(tensor: Tensor<1>) -> Vec<f32> {
    tensor.to_data_as::<f32>().iter().collect()
}
