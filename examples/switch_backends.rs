//! The same plan on every backend that this build has, differences and times.
//!
//! Random numbers come from one generator on the host, so that a seed starts the same search
//! everywhere; what differs is how each backend rounds, which iterations then amplify. Three
//! iterations show that the backends compute the same thing, a whole plan shows that the outcome
//! does not hinge on it.
//!
//! ```sh
//! cargo run --release --example switch_backends --features ndarray,wgpu
//! ```
//!
//! Prints a table for each; there is no picture, since there would be nothing to see in it.

mod common {
    pub mod short;
}

use std::error::Error;

use burn::tensor::Device;
use common::short::is_short;
use latco::plan::collocation::GaussNewtonConfig;
use latco::{
    Image, Plan, Planner, WorldModel,
    agent::{
        device::{DEVICES, device},
        image_tensor,
    },
    plan::solve::Solver,
};

/// Loads the model onto `device` and plans there; the second plan is timed, after whatever a
/// backend compiles for the first.
fn plan_on(device: &Device, iterations: usize) -> Result<Plan, Box<dyn Error>> {
    let model = WorldModel::load("assets/checkpoints/reach.safetensors".as_ref(), device)?;
    let image = Image::load_png("assets/images/reach.png".as_ref())?;
    let belief = model.first_belief(image_tensor(&model, &image, device)?);
    let planner = Solver::new(
        "gauss-newton",
        GaussNewtonConfig {
            iterations,
            ..GaussNewtonConfig::default()
        },
    )?;
    planner.plan(&model, &belief)?;
    Ok(planner.plan(&model, &belief)?)
}

fn actions(plan: &Plan) -> Result<Vec<f32>, Box<dyn Error>> {
    let steps = (0..plan.horizon()).map(|step| plan.action(step));
    Ok(steps.collect::<Result<Vec<_>, _>>()?.concat())
}

fn compare(iterations: usize) -> Result<(), Box<dyn Error>> {
    println!("at most {iterations} iterations");
    println!(
        "{:<8} {:>9} {:>8} {:>8} {:>14}",
        "device", "seconds", "virtual", "rollout", "largest |Δa|"
    );
    let mut first: Option<Vec<f32>> = None;
    for info in DEVICES {
        let plan = plan_on(&device(info.name)?, iterations)?;
        let found = actions(&plan)?;
        let reference = first.get_or_insert_with(|| found.clone());
        let pairs = found.iter().zip(reference.iter());
        let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!(
            "{:<8} {:>9.3} {:>8.2} {:>8.2} {largest:>14.1e}",
            info.name,
            plan.elapsed.as_secs_f64(),
            plan.virtual_.total(),
            plan.rollout.total()
        );
    }
    println!();
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    if DEVICES.len() == 1 {
        println!("one backend in this build: more with --features ndarray,wgpu\n");
    }
    compare(3)?;
    if !is_short() {
        compare(100)?;
    }
    Ok(())
}
