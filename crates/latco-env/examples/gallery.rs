//! Draws a contact sheet of each task: one row an episode of the scripted policy.
//!
//! `cargo run --release -p latco-env --example gallery -- FOLDER [IMAGE_SIZE]`

use std::error::Error;
use std::path::PathBuf;

use latco_env::{
    EnvOptions, Episode, Recorded, catalogue, contact_sheet, expert_action, make, record_episode,
};

const EPISODES: u64 = 4;
const COLUMNS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("expected a folder to draw to")?);
    let mut options = EnvOptions::default();
    if let Some(size) = arguments.next() {
        options.image_size = size.parse()?;
    }
    std::fs::create_dir_all(&folder)?;
    for entry in catalogue() {
        let mut environment = make(entry.name, &options)?;
        let episodes = (0..EPISODES)
            .map(|seed| record_episode(environment.as_mut(), seed, expert_action))
            .collect::<Result<Vec<Episode>, _>>()?;
        let rows: Vec<_> = episodes.iter().map(|e| e as &dyn Recorded).collect();
        let sheet = contact_sheet(&rows, COLUMNS)?.ok_or("no episode")?;
        let path = folder.join(format!("{}.png", entry.name));
        sheet.save_png(&path)?;
        println!("{}: {} -> {}", entry.name, entry.about, path.display());
    }
    Ok(())
}
