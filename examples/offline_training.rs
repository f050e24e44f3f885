//! Learns from recordings alone, as from your own robot's: no environment is stepped in training.
//!
//! ```sh
//! cargo run --release --example offline_training [-- FOLDER]
//! ```
//!
//! FOLDER has episodes in Dreamer's `.npz` layout (`image` `[T, H, W, 3]` as bytes, `action`,
//! `reward`, `discount`), which `latco inspect` checks. Without one, the scripted expert of `reach`,
//! disturbed by noise, records some. Everything is kept in `out/offline_training/`, and a second start
//! goes on with the recordings of the first; writes `out/offline_training.png`: recorded images in the
//! upper row, what the model makes of them after seeing the first five in the lower one.

mod common {
    pub mod output;
    pub mod picture;
    pub mod short;
    pub mod strip;
}

use std::{error::Error, path::Path};

use common::{output::out, short::is_short, strip::prediction_strip};
use latco::{
    agent::{Progress, RunConfig, RunFolder, ScriptedPolicy, Source, TrainingRun, run_episode},
    device,
    env::{EnvOptions, Episode, EpisodeFolder, ImageShape, make},
};

/// Demonstrations of `reach` with noise, so that the model sees more than perfect motions.
fn recordings(count: u64) -> Result<Vec<Episode>, Box<dyn Error>> {
    let mut environment = make("reach", &EnvOptions::default())?;
    let mut expert = ScriptedPolicy::disturbed(0.5);
    let record = |seed| Ok(run_episode(environment.as_mut(), &mut expert, seed)?.episode);
    (0..count).map(record).collect()
}

fn loaded(folder: &Path) -> Result<Vec<Episode>, Box<dyn Error>> {
    let found = EpisodeFolder::open(folder)?.load_all()?;
    for skipped in &found.skipped {
        eprintln!("left out: {skipped}");
    }
    Ok(found
        .episodes
        .into_iter()
        .map(|(_, episode)| episode)
        .collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args()
        .skip(1)
        .find(|argument| argument != "--short");
    let episodes = match given {
        Some(folder) => loaded(folder.as_ref())?,
        None => recordings(if is_short() { 2 } else { 100 })?,
    };
    let first = episodes.first().ok_or("there are no recordings")?;

    // A run that names no environment learns from the episodes in its own folder.
    let mut config = RunConfig::offline(first.action_size());
    config.steps = if is_short() { 3 } else { 600 };
    config.replay.batch = if is_short() { 4 } else { config.replay.batch };
    config.fit_size(ImageShape::new(first.image_height(), first.image_width()));
    let name = if is_short() {
        "offline_training_short"
    } else {
        "offline_training"
    };
    let device = device("auto")?;
    let folder = RunFolder::new(out(name)?);
    if is_short() && folder.root().exists() {
        std::fs::remove_dir_all(folder.root())?;
    }
    let mut run = if folder.config().exists() {
        println!(
            "going on with {} and its recordings; remove it to learn from others",
            folder.root().display()
        );
        TrainingRun::resume(Source::Recordings, folder.clone(), &device)?
    } else {
        let kept = EpisodeFolder::create(&folder.episodes())?;
        for episode in &episodes {
            kept.save(episode)?;
        }
        TrainingRun::new(Source::Recordings, config, folder.clone(), &device)?
    };
    println!("learning from {} recordings", run.episodes());
    while !run.is_finished() {
        if let Progress::Step { step, train } = run.advance()?
            && step % 50 == 0
        {
            println!(
                "step {step:>5}: loss {:>7.2}, image {:>6.2}, reward {:>6.4}, kl {:>5.2}",
                train.loss, train.image, train.reward, train.kl
            );
        }
    }
    run.save()?;
    println!("wrote {}", folder.checkpoint().display());

    let path = out("offline_training.png")?;
    prediction_strip(&folder.checkpoint(), first, &device)?.save_png(&path)?;
    println!("wrote {}", path.display());
    Ok(())
}
