//! Recordings of Minari (Gymnasium): an HDF5 file with a group `episode_N` for each episode, which holds
//! `observations` `[T + 1, height, width, 3]`, `actions` `[T, A]`, `rewards`, `terminations` and
//! `truncations` `[T]`. The folder of a data set is taken too, by its `data/main_data.hdf5`.
//!
//! Action, reward and ends of step `t` belong to the image that the step led to. Where the observations
//! are a dictionary, `image` is named by its path: `observations/pixels`.

use latco_env::{EpisodeFileProblem, Recordings};

use crate::error::FormatProblem;
use crate::hdf5::Hdf5;
use crate::open::{Format, Options, Place};
use crate::rows::{Leads, RowEpisode};
use crate::table::{Columns, Names, Table, recordings};

/// The reader.
pub(crate) struct Minari;

const NAMES: Names = Names {
    format: "Minari",
    keys: &[
        ("image", "observations"),
        ("action", "actions"),
        ("reward", "rewards"),
        ("terminal", "terminations"),
    ],
};

impl Format for Minari {
    fn recognises(&self, place: &Place, _options: &Options) -> bool {
        place.is_hdf5 && place.groups.iter().any(|name| number(name).is_some())
    }

    fn open(&self, place: &Place, options: &Options) -> Result<Recordings, EpisodeFileProblem> {
        let mut groups: Vec<(u64, &String)> = (place.groups.iter())
            .filter_map(|name| Some((number(name)?, name)))
            .collect();
        groups.sort();
        let file = Hdf5::open(&place.path)?;
        let mut episodes = Vec::with_capacity(groups.len());
        for (_, name) in groups {
            let read = file
                .group(name)
                .and_then(|group| episode(group, place, options));
            episodes.extend(read.map_err(|problem| FormatProblem::Group {
                group: name.clone(),
                problem: Box::new(problem),
            })?);
        }
        Ok(recordings(&place.path, episodes))
    }
}

/// What a group holds.
fn episode(
    mut group: Hdf5,
    place: &Place,
    options: &Options,
) -> Result<Vec<RowEpisode>, EpisodeFileProblem> {
    let mut table = Table::open(&place.path, &mut group, &NAMES, options)?;
    let frames = table.rows();
    let steps = frames.saturating_sub(1);
    let columns = Columns {
        actions: table.column("action", steps)?,
        actions_lead: Leads::From,
        rewards: Some(table.column("reward", steps)?),
        rewards_lead: Leads::From,
        terminals: table.optional("terminal", steps)?,
        terminals_lead: Leads::From,
    };
    let whole = std::iter::once(0..frames).collect::<Vec<_>>();
    table.cut(&columns, &whole)
}

/// The number of the episode in the name of its group.
fn number(group: &str) -> Option<u64> {
    group.strip_prefix("episode_")?.parse().ok()
}
