//! What a batch of sequences costs, from memory and from disk.
//!
//! ```sh
//! cargo run --release -p latco-formats --example batches -- RECORDINGS [FRAMES IN MEMORY]
//! ```
//!
//! Prints the time to open the recordings and to draw 16 sequences of 30 frames, and the peak memory.

use std::{env, error::Error, fs, path::PathBuf, sync::Arc, time::Instant};

use latco_env::{ChaCha8Rng, Episode, Recorded, Replay, rand::SeedableRng};
use latco_formats::{Options, open};

const BATCHES: usize = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("expected a file or folder")?);
    let mut room: usize = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let started = Instant::now();
    let found = open(&path, &Options::default())?;
    let episodes: Vec<Arc<dyn Recorded>> = found
        .episodes
        .into_iter()
        .map(|episode| match room.checked_sub(episode.series().len()) {
            Some(left) => {
                room = left;
                Ok(Arc::new(Episode::read(episode.as_ref())?) as Arc<dyn Recorded>)
            }
            None => Ok(episode),
        })
        .collect::<Result<_, Box<dyn Error>>>()?;
    let in_memory = episodes.iter().filter(|episode| episode.is_in_memory());
    let (in_memory, all) = (in_memory.count(), episodes.len());
    let mut replay = Replay::new(usize::MAX)?;
    replay.extend(episodes)?;
    println!(
        "{all} episodes, {} frames, {in_memory} episodes in memory, opened in {:.2?}",
        replay.len_steps(),
        started.elapsed()
    );
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut times = Vec::new();
    for _ in 0..BATCHES {
        let started = Instant::now();
        replay.sample_sequences(&mut random, 16, 30, 0.25)?;
        times.push(started.elapsed());
    }
    times.sort();
    println!(
        "a batch: median {:.2?}, longest {:.2?}",
        times[BATCHES / 2],
        times[BATCHES - 1]
    );
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{}", peak.unwrap_or("peak memory unknown"));
    Ok(())
}
