//! One plan from one raw image, with every step spelt out: image → belief → plan → pictures.
//!
//! ```sh
//! cargo run --release --example plan_from_image [-- YOUR.png]
//! ```
//!
//! Takes a 64×64 image of `reach` (the shipped one by default), plans with the shipped checkpoint,
//! prints the actions beside the reward that the plan promises and the reward that the model
//! confirms, and writes `out/plan_from_image.gif`: the planned latents, decoded to images.

mod common {
    pub mod film;
    pub mod output;
    pub mod short;
}

use std::error::Error;

use burn::tensor::Tensor;
use common::{film::save_gif, output::out, short::is_short};
use latco::plan::collocation::GaussNewtonConfig;
use latco::{
    Image, Planner, WorldModel,
    agent::{decoded_images, image_tensor},
    device,
    plan::solve::Solver,
};

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args()
        .skip(1)
        .find(|argument| argument != "--short");
    let path = given.unwrap_or_else(|| "assets/images/reach.png".to_owned());
    let device = device("auto")?;
    let model = WorldModel::load("assets/checkpoints/reach.safetensors".as_ref(), &device)?;
    let image = Image::load_png(path.as_ref())?;

    // Image → belief: the encoder infers where in latent space the image is.
    let belief = model.first_belief(image_tensor(&model, &image, &device)?);

    // Belief → plan: latents and actions that agree with each other and with what pays.
    let planner = Solver::new(
        "gauss-newton",
        GaussNewtonConfig {
            iterations: if is_short() { 5 } else { 100 },
            ..GaussNewtonConfig::default()
        },
    )?;
    let plan = planner.plan(&model, &belief)?;

    println!(
        "{:>4} {:>7} {:>7} {:>8} {:>8}",
        "step", "a[0]", "a[1]", "virtual", "rollout"
    );
    let rewards = plan.virtual_.rewards.iter().zip(&plan.rollout.rewards);
    for (step, (promised, backed)) in rewards.enumerate() {
        let action = plan.action(step)?;
        println!(
            "{step:>4} {:>7.3} {:>7.3} {promised:>8.3} {backed:>8.3}",
            action[0], action[1]
        );
    }
    println!(
        "promised {:.2}, backed by the rollout {:.2}: {}",
        plan.virtual_.total(),
        plan.rollout.total(),
        if plan.is_backed_by_rollout() {
            "trust it"
        } else {
            "do not rely on it"
        }
    );

    // Plan → pictures: the decoder shows what the model imagines.
    let latents = Tensor::cat(vec![belief.mean(), plan.latents.clone()], 0);
    let path = out("plan_from_image.gif")?;
    save_gif(&path, &decoded_images(&model, latents))?;
    println!("wrote {}", path.display());
    Ok(())
}
