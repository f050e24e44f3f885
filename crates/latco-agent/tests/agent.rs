//! How an agent uses its model and planner.

#[path = "../../../tests/common"]
mod common {
    pub mod worlds;
}

use std::sync::{Arc, Mutex};

use burn::tensor::{Device, Tensor, TensorData};
use common::worlds::tiny_config;
use latco_agent::{Agent, AgentConfig, AgentError, PlanSummary, image_tensor};
use latco_env::Image;
use latco_model::WorldModel;
use latco_plan::{
    Belief, LatentModel, Noise, Plan, PlanContext, PlanError, Planner, RandomActionsConfig,
    shooting::CemConfig, solve::Solver, trust,
};

const HORIZON: usize = 4;

fn model() -> WorldModel {
    WorldModel::new(tiny_config(6), 1, &Device::default()).unwrap()
}

fn planner() -> Box<dyn Planner> {
    let config = CemConfig {
        horizon: HORIZON,
        samples: 20,
        elites: 4,
        iterations: 2,
        ..CemConfig::default()
    };
    Box::new(Solver::new("cem", config).unwrap())
}

fn try_agent(config: AgentConfig) -> Result<Agent, AgentError> {
    Agent::new(model(), planner(), config, &Device::default())
}

fn agent(replan_every: usize, exploration: f64) -> Agent {
    let config = AgentConfig {
        replan_every,
        exploration,
        ..AgentConfig::default()
    };
    try_agent(config).unwrap()
}

/// Pictures that differ from each other.
fn image(index: usize) -> Image {
    let size = tiny_config(6).image_size;
    let pixels = (0..3 * size * size).map(|place| (place * (index + 3) % 256) as u8);
    Image::new(size, size, pixels.collect()).unwrap()
}

/// The actions for pictures 0, 1, ….
fn actions(agent: &mut Agent, count: usize) -> Vec<Vec<f32>> {
    (0..count)
        .map(|index| agent.act(&image(index)).unwrap())
        .collect()
}

fn values(latent: Tensor<2>) -> Vec<f32> {
    latent.try_into_vec_as::<f32>().unwrap()
}

#[test]
fn the_belief_is_filtered_through_every_image() {
    let device = Device::default();
    let model = model();
    let mut agent = agent(2, 0.3);
    let mut expected: Option<Tensor<2>> = None;
    let mut last_action = Vec::new();
    for index in 0..5 {
        let seen = image_tensor(&model, &image(index), &device).unwrap();
        let mean = match expected {
            None => model.first_belief(seen).mean(),
            Some(before) => {
                let action = TensorData::new(last_action, [1, model.config().action_size]);
                let action = Tensor::<2>::from_data(action, &device);
                model.observe(before, action, seen).mean
            }
        };
        last_action = agent.act(&image(index)).unwrap();
        let found = values(agent.belief().unwrap().mean());
        assert_eq!(found, values(mean.clone()), "image {index}");
        expected = Some(mean);
    }
}

#[test]
fn a_plan_is_executed_for_so_many_steps() {
    for replan_every in 1..=HORIZON {
        let mut agent = agent(replan_every, 0.0);
        for step in 0..2 * HORIZON {
            let action = agent.act(&image(step)).unwrap();
            let of_plan = step % replan_every;
            assert_eq!(agent.has_just_planned(), of_plan == 0, "step {step}");
            assert_eq!(agent.plan().unwrap().action(of_plan).unwrap(), action);
        }
    }
}

#[test]
fn the_seed_determines_the_actions() {
    let mut first = agent(2, 0.3);
    let mut second = agent(2, 0.3);
    first.reset(5);
    second.reset(5);
    let expected = actions(&mut first, 6);
    assert_eq!(actions(&mut second, 6), expected);
    first.reset(5);
    assert_eq!(actions(&mut first, 6), expected);
    first.reset(6);
    assert_ne!(actions(&mut first, 6), expected);
}

/// The second plan of an episode is another than the first of the next, whose seed is one more.
#[test]
fn plans_of_neighbouring_episodes_draw_numbers_of_their_own() {
    let planner = Solver::new("random", RandomActionsConfig { horizon: HORIZON }).unwrap();
    let config = AgentConfig {
        replan_every: 1,
        ..AgentConfig::default()
    };
    let device = Device::default();
    let mut agent = Agent::new(model(), Box::new(planner), config, &device).unwrap();
    let mut of_episode = |seed| {
        agent.reset(seed);
        actions(&mut agent, 3)
    };
    let [first, next] = [of_episode(5), of_episode(6)];
    for action in &first[1..] {
        assert!(!next.contains(action));
    }
}

/// Notes how many steps of the plan before were executed when a plan is made.
struct Watched(Box<dyn Planner>, Arc<Mutex<Vec<Option<usize>>>>);

impl Planner for Watched {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn horizon(&self) -> usize {
        self.0.horizon()
    }

    fn plan_with(
        &self,
        model: &dyn LatentModel,
        belief: &Belief,
        context: PlanContext<'_>,
    ) -> Result<Plan, PlanError> {
        let executed = context.warm_start.map(|(_, executed)| executed);
        self.1.lock().unwrap().push(executed);
        self.0.plan_with(model, belief, context)
    }
}

#[test]
fn an_action_that_is_not_executed_is_no_step_of_the_plan() {
    let executed = Arc::default();
    let watched = Watched(planner(), Arc::clone(&executed));
    let config = AgentConfig {
        replan_every: HORIZON,
        ..AgentConfig::default()
    };
    let mut agent = Agent::new(model(), Box::new(watched), config, &Device::default()).unwrap();
    agent.act(&image(0)).unwrap();
    agent.act(&image(1)).unwrap();
    agent.forget_observations();
    agent.act(&image(2)).unwrap();
    agent.forget_choice();
    agent.act(&image(2)).unwrap();
    assert_eq!(*executed.lock().unwrap(), [None, Some(2), Some(0)]);
}

#[test]
fn exploration_is_added_within_the_bounds() {
    let mut agent = agent(HORIZON, 3.0);
    let explored = actions(&mut agent, HORIZON).concat();
    let plan = agent.plan().unwrap();
    let planned: Vec<_> = (0..HORIZON)
        .map(|step| plan.action(step).unwrap())
        .collect();
    assert_ne!(explored, planned.concat());
    assert!(explored.iter().all(|action| (-1.0..=1.0).contains(action)));
}

#[test]
fn an_image_of_another_size_is_refused_and_forgotten() {
    let mut agent = agent(2, 0.0);
    let expected = actions(&mut agent, 3);
    agent.reset(0);
    for (step, expected) in expected.iter().enumerate() {
        let wrong = Image::new(64, 48, vec![0; 64 * 48 * 3]).unwrap();
        let error = agent.act(&wrong).unwrap_err();
        assert!(matches!(error, AgentError::ImageSize { .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.contains("64×48") && message.contains("32×32"),
            "{message}"
        );
        assert_eq!(&agent.act(&image(step)).unwrap(), expected);
    }
}

/// A plan is examined by other latents than those that the numbers it was found by would draw.
#[test]
fn a_plan_is_examined_by_numbers_of_its_own() {
    let mut agent = agent(2, 0.0);
    agent.reset(7);
    agent.act(&image(0)).unwrap();
    let (plan, belief) = (agent.plan().unwrap(), agent.belief().unwrap());
    let examined = PlanSummary::examined(&agent, plan, 7).unwrap();
    let sampled = |seed: u64| {
        let (actions, noise) = (plan.actions.clone(), &mut Noise::new(seed));
        trust::sampled_return(agent.model(), belief.mean(), actions, noise).unwrap()
    };
    assert_eq!(sampled(7), sampled(7));
    assert_ne!(examined.sampled_return, Some(sampled(7)));
}

#[test]
fn settings_out_of_range_are_named() {
    for (name, config) in [
        (
            "replan_every",
            AgentConfig {
                replan_every: 0,
                ..AgentConfig::default()
            },
        ),
        (
            "replan_every",
            AgentConfig {
                replan_every: HORIZON + 1,
                ..AgentConfig::default()
            },
        ),
        (
            "exploration",
            AgentConfig {
                replan_every: 1,
                exploration: f64::NAN,
                ..AgentConfig::default()
            },
        ),
    ] {
        let error = try_agent(config).err().unwrap();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn an_agent_may_move_to_another_thread() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let here = actions(&mut agent(2, 0.0), 4);
    let mut moved = sent(agent(2, 0.0));
    let there = std::thread::spawn(move || actions(&mut moved, 4));
    assert_eq!(there.join().unwrap(), here);
}
