//! A model of your own in an [`Agent`]: belief, warm start and deadline in a loop of your own.
//!
//! A crane's trolley carries a swinging load along its beam. The model is written down, not learnt, and
//! observes positions and speeds instead of images; the true crane is heavier and shaken by wind, so
//! that only a plan made anew at every step, from what is observed, brings the load to rest over the
//! ship.
//!
//! ```sh
//! cargo run --release --example own_agent
//! ```
//!
//! Prints where trolley and load are, how long plans took, and whether one missed its deadline.

use std::{error::Error, time::Duration};

use latco::{
    Agent, AgentConfig, Belief, LatentModel,
    agent::{AgentError, BeliefFilter},
    burn::tensor::{Device, Tensor},
    device,
    env::ActionSpace,
    plan::{DiagonalGaussian, Noise, catalogue::planner},
};

const SECONDS: f64 = 0.1;
/// The largest force on the trolley, in kilonewtons.
const FORCE: f32 = 3.0;

/// Latents are `[position, speed, angle, turning]`, in metres, radians and seconds.
struct Crane(Device);

impl LatentModel for Crane {
    fn latent_size(&self) -> usize {
        4
    }
    fn action_size(&self) -> usize {
        1
    }
    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let part = |index| latents.clone().narrow(1, index, 1);
        let (x, v, angle, turning) = (part(0), part(1), part(2), part(3));
        // One tonne of trolley on a rope of ten metres.
        let acceleration = actions * f64::from(FORCE) - v.clone() * 0.2;
        let pull = angle.clone().sin() * 9.81 + acceleration.clone() * angle.clone().cos();
        let turning = turning.clone() + (pull * -0.1 - turning * 0.05) * SECONDS;
        let v = v + acceleration * SECONDS;
        let (x, angle) = (x + v.clone() * SECONDS, angle + turning.clone() * SECONDS);
        let mean = Tensor::cat(vec![x, v, angle, turning], 1);
        let std = mean.full_like(0.01);
        DiagonalGaussian::new(mean, std)
    }
    /// Paid where the load rests over the ship, ten metres away.
    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        let part = |index| latents.clone().narrow(1, index, 1);
        let place = (part(0) - 10.0).square() + part(1).square();
        let swing = (part(2).square() + part(3).square()) * 64.0;
        ((place + swing) * -0.5).exp().squeeze_dim(1)
    }
}

impl BeliefFilter for Crane {
    type Observation = [f32];

    fn filter(&self, _: Option<(&Belief, &[f32])>, state: &[f32]) -> Result<Belief, AgentError> {
        let state: [f32; 4] = state.try_into().map_err(AgentError::observation)?;
        Ok(Belief::certain(Tensor::from_floats(state, &self.0)))
    }
    fn action_space(&self) -> ActionSpace {
        ActionSpace::new(vec![-FORCE], vec![FORCE]).expect("finite bounds")
    }
}

/// The true crane: a fifth heavier, with wind on the load.
fn advance(state: &mut [f32; 4], force: f32, wind: f32) {
    let [x, v, angle, turning] = state;
    let acceleration = force / 1.2 - 0.2 * *v;
    let pull = 9.81 * angle.sin() + acceleration * angle.cos();
    *turning += (-0.1 * pull - 0.05 * *turning + wind) * SECONDS as f32;
    *v += acceleration * SECONDS as f32;
    *x += *v * SECONDS as f32;
    *angle += *turning * SECONDS as f32;
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = device("auto")?;
    let settings = AgentConfig {
        replan_every: 1,
        deadline: Some(Duration::from_millis(80)),
        ..AgentConfig::default()
    };
    let planner = planner("latco", Some(60))?;
    let mut agent = Agent::new(Crane(device.clone()), planner, settings, &device)?;
    let (mut state, mut wind) = ([0.0; 4], Noise::new(3));
    let (mut seconds, mut late) = (Vec::new(), 0);
    println!("  time   trolley      load");
    for step in 0..120 {
        let force = agent.act(&state)?[0];
        if let Some(plan) = agent.plan() {
            seconds.push(plan.elapsed.as_secs_f64());
            late += usize::from(plan.late.is_some());
        }
        advance(&mut state, force, 0.02 * wind.standard_normal());
        if step % 10 == 9 {
            let load = state[0] + 10.0 * state[2].sin();
            println!(
                "{:>4.1} s  {:>6.2} m  {load:>6.2} m",
                (step + 1) as f64 * SECONDS,
                state[0]
            );
        }
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "median {:.0} ms a plan, {late} deadlines missed",
        1e3 * seconds[60]
    );
    Ok(())
}
