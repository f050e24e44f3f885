//! The work behind each job.

use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Tensor};
use latco_agent::device::{is_gpu, resources, trainer_on};
use latco_model::{Batch, ElboConfig, PixelLayout, Sequences, Trainer, TrainerConfig, WorldModel};
use latco_plan::{
    Belief, Differentiable, Iteration, LatentModel, Noise, Plan, PlanContext, PlanError,
    PlanRequest, Planner,
    catalogue::planner,
    collocation::{FirstOrderConfig, LeastSquares, Trajectories, Weights},
    plan_many,
    shooting::CemConfig,
    solve::Solver,
};

use super::{Job, Sizes};
use crate::{arguments::DEFAULT_PLANNER, error::CliError};

/// The side of the matrices whose product shows the peak of a CPU's core, and of a GPU, whose smallest
/// buffers hold one of these.
const PEAK_SIDES: [usize; 2] = [1_024, 4_096];
const PEAK_REPEATS: usize = 9;

/// A model with random weights, and where it is.
pub struct Workbench {
    sizes: Sizes,
    seed: u64,
    device: Device,
    model: WorldModel,
}

impl Workbench {
    pub fn new(sizes: Sizes, seed: u64, device: Device) -> Result<Self, CliError> {
        Ok(Self {
            model: WorldModel::new(sizes.model(), seed, &device)?,
            sizes,
            seed,
            device,
        })
    }

    /// Giga floating-point operations a second of a large matrix product.
    pub fn peak(&self) -> Result<f64, CliError> {
        let side = PEAK_SIDES[usize::from(is_gpu(&self.device))];
        let shape = [side, side];
        let random = || Tensor::<2>::random(shape, Distribution::Default, &self.device);
        let (left, right) = (random(), random());
        let ms = self.clock(PEAK_REPEATS, || {
            let _product = left.clone().matmul(right.clone());
            Ok(())
        })?;
        Ok(2.0 * (side as f64).powi(3) / (ms * 1e6))
    }

    /// The median milliseconds of one run of `job`.
    pub fn milliseconds(&self, job: Job) -> Result<f64, CliError> {
        match job {
            Job::FirstOrder => self.first_order(),
            Job::GaussNewton => self.gauss_newton(),
            Job::Cem => self.cem(),
            Job::Train => self.train(),
            Job::Plan => self.plan(),
            Job::Replan => self.replan(),
        }
    }

    /// Iterations of a plan, the first of which does not count.
    fn first_order(&self) -> Result<f64, CliError> {
        let planner = Solver::new(
            "latco-first-order",
            FirstOrderConfig {
                horizon: self.sizes.horizon,
                plans: self.sizes.plans,
                iterations: self.sizes.repeats + 1,
                ..FirstOrderConfig::default()
            },
        )?;
        self.iterations(&planner)
    }

    fn cem(&self) -> Result<f64, CliError> {
        let planner = Solver::new(
            "cem",
            CemConfig {
                horizon: self.sizes.horizon,
                samples: self.sizes.samples,
                elites: (self.sizes.samples / 100).max(1),
                iterations: self.sizes.repeats + 1,
                ..CemConfig::default()
            },
        )?;
        self.iterations(&planner)
    }

    /// The median time between two iterations of `planner`.
    fn iterations(&self, planner: &dyn Planner) -> Result<f64, CliError> {
        let mut ends = Vec::new();
        let mut observer = |_: &Iteration| ends.push(Instant::now());
        let context =
            PlanContext::new(self.seed, &mut observer).with_resources(resources(&self.device));
        planner.plan_with(&self.model, &self.belief(), context)?;
        let times = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
        Ok(median(times))
    }

    /// Full steps from normal latents and actions with λ = ν = 1 and damping 10⁻³.
    fn gauss_newton(&self) -> Result<f64, CliError> {
        let (plans, horizon) = (self.sizes.plans, self.sizes.horizon);
        let latent = self.model.latent_size();
        let noise = &mut Noise::new(self.seed);
        let start = noise.normal([plans, latent], &self.device);
        let mut trajectories = Trajectories {
            latents: noise.normal([plans, horizon, latent], &self.device),
            actions: noise.normal([plans, horizon, self.sizes.action], &self.device),
        };
        let ones = Tensor::<2>::ones([plans, horizon], &self.device);
        let weights = Weights {
            dynamics: ones.clone(),
            actions: ones,
            defect_damping: Tensor::zeros([plans], &self.device),
            action_damping: Tensor::full([plans], 1e-3, &self.device),
            latent_damping: None,
        };
        let workers = resources(&self.device).workers;
        // As the planner does once a plan.
        let prepared = self.model.prepared();
        let model = prepared.as_deref().unwrap_or(&self.model);
        self.clock(self.sizes.repeats, || {
            let system =
                LeastSquares::linearise(model, start.clone(), &trajectories).with_workers(workers);
            let step = system.step(&weights, 0)?;
            trajectories.latents = trajectories.latents.clone() + system.latents(&step);
            trajectories.actions = trajectories.actions.clone() + step.actions;
            Ok(())
        })
    }

    fn plan(&self) -> Result<f64, CliError> {
        let planner = self.default_planner()?;
        let beliefs = self.beliefs();
        let requests: Vec<_> = self.requests(&beliefs).collect();
        self.clock(self.sizes.repeats, || {
            self.plan_all(planner.as_ref(), &requests)?;
            Ok(())
        })
    }

    /// Each plan starts from the one before, a step later along its rollout.
    fn replan(&self) -> Result<f64, CliError> {
        let planner = self.default_planner()?;
        let beliefs = self.beliefs();
        let requests: Vec<_> = self.requests(&beliefs).collect();
        let mut earlier = self.plan_all(planner.as_ref(), &requests)?;
        self.clock(self.sizes.repeats, || {
            let belief = |plan: &Plan| Belief::certain(first_latent(plan));
            let beliefs: Vec<_> = earlier.iter().map(belief).collect();
            let requests = self.requests(&beliefs).zip(&earlier);
            let requests = requests.map(|(request, plan)| request.with_warm_start(Some((plan, 1))));
            let requests: Vec<_> = requests.collect();
            let plans = self.plan_all(planner.as_ref(), &requests)?;
            earlier = plans;
            Ok(())
        })
    }

    fn requests<'b>(&self, beliefs: &'b [Belief]) -> impl Iterator<Item = PlanRequest<'b>> {
        (self.seed..)
            .zip(beliefs)
            .map(|(seed, belief)| PlanRequest::new(belief, seed))
    }

    fn plan_all(
        &self,
        planner: &dyn Planner,
        requests: &[PlanRequest<'_>],
    ) -> Result<Vec<Plan>, PlanError> {
        let resources = resources(&self.device);
        let plans = plan_many(planner, &self.model, requests, None, resources);
        plans.into_iter().collect()
    }

    fn default_planner(&self) -> Result<Box<dyn Planner>, CliError> {
        Ok(planner(DEFAULT_PLANNER, Some(self.sizes.horizon))?)
    }

    fn train(&self) -> Result<f64, CliError> {
        let Sizes {
            batch,
            length,
            image,
            action,
            ..
        } = self.sizes;
        let config = TrainerConfig {
            elbo: ElboConfig::paper(),
            ..TrainerConfig::default()
        };
        let config = trainer_on(&self.device, config);
        let mut trainer = Trainer::new(self.model.clone(), config, self.seed, &self.device)?;
        let frames = batch * length;
        let pixels: Vec<u8> = (0..frames * image * image * 3)
            .map(|index| (index * index % 251) as u8)
            .collect();
        let noise = &mut Noise::new(self.seed);
        let mut random = |count: usize| (0..count).map(|_| noise.uniform_scalar()).collect();
        let (actions, rewards) = (random(frames * action), random(frames));
        let sequences = Sequences {
            rows: batch,
            length,
            pixels: &pixels,
            actions,
            rewards,
            ..Sequences::default()
        };
        let batch = Batch::new(sequences, PixelLayout::new(image), trainer.device());
        self.clock(self.sizes.repeats, || {
            trainer.step(&batch);
            Ok(())
        })
    }

    /// The median milliseconds of `work`, run once more than `repeats`, until the device has done it.
    fn clock(
        &self,
        repeats: usize,
        mut work: impl FnMut() -> Result<(), PlanError>,
    ) -> Result<f64, CliError> {
        let mut times = Vec::with_capacity(repeats + 1);
        for _ in 0..=repeats {
            let started = Instant::now();
            work()?;
            self.device.sync().map_err(|error| PlanError::Device {
                what: "benchmark",
                reason: error.to_string(),
            })?;
            times.push(started.elapsed());
        }
        Ok(median(times.split_off(1)))
    }

    fn belief(&self) -> Belief {
        let shape = [self.model.latent_size()];
        Belief::certain(Noise::new(self.seed).normal(shape, &self.device))
    }

    fn beliefs(&self) -> Vec<Belief> {
        let noise = &mut Noise::new(self.seed);
        let shape = [self.model.latent_size()];
        let one = |_| Belief::certain(noise.normal(shape, &self.device));
        (0..self.sizes.beliefs).map(one).collect()
    }
}

fn first_latent(plan: &Plan) -> Tensor<1> {
    plan.rollout_latents.clone().narrow(0, 0, 1).squeeze_dim(0)
}

/// In milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    let middle = |count: usize| times.get(count / 2).map_or(f64::NAN, Duration::as_secs_f64);
    f64::midpoint(middle(times.len()), middle(times.len().saturating_sub(1))) * 1e3
}
