//! The HDF5 files of stable-worldmodel: `pixels` `[N, height, width, 3]` or `[N, 3, height, width]`,
//! `action` `[N, A]`, `ep_len` and `ep_offset` `[episodes]`, and where recorded `reward` and `terminated`
//! `[N]`.
//!
//! Action `t` leads *from* image `t`, and is not a number in the last row of an episode; rewards and ends
//! belong to the image of their row. A reward that is not a number, as that of a reset, is zero.

use latco_env::{EpisodeFileProblem, Recordings};

use crate::error::FormatProblem;
use crate::hdf5::Hdf5;
use crate::open::{Format, Options, Place};
use crate::rows::Leads;
use crate::table::{Columns, Names, Table, missing, recordings};

/// The reader.
pub(crate) struct StableWorldModel;

const NAMES: Names = Names {
    format: "stable-worldmodel",
    keys: &[
        ("image", "pixels"),
        ("action", "action"),
        ("reward", "reward"),
        ("terminal", "terminated"),
        ("length", "ep_len"),
        ("offset", "ep_offset"),
    ],
};

impl Format for StableWorldModel {
    fn recognises(&self, place: &Place, options: &Options) -> bool {
        place.is_hdf5 && NAMES.are_in(place, options, &["length", "offset"])
    }

    fn open(&self, place: &Place, options: &Options) -> Result<Recordings, EpisodeFileProblem> {
        let mut file = Hdf5::open(&place.path)?;
        let counts = |key| {
            let counts = file.counts(NAMES.name(options, key))?;
            counts.ok_or_else(|| missing(&file, &NAMES, options, key))
        };
        let (offsets, lengths) = (counts("offset")?, counts("length")?);
        if lengths.len() != offsets.len() {
            return Err(FormatProblem::Rows {
                name: NAMES.name(options, "length").to_owned(),
                expected: offsets.len(),
                got: lengths.len(),
            }
            .into());
        }
        let parts: Vec<_> = (offsets.iter().zip(&lengths))
            .map(|(&offset, &length)| offset..offset.saturating_add(length))
            .collect();
        let mut table = Table::open(&place.path, &mut file, &NAMES, options)?;
        let rows = table.rows();
        let mut rewards = table.optional("reward", rows)?;
        if let Some(rewards) = &mut rewards {
            let unpaid = rewards.values.iter_mut().filter(|reward| reward.is_nan());
            unpaid.for_each(|reward| *reward = 0.0);
        }
        let columns = Columns {
            actions: table.column("action", rows)?,
            actions_lead: Leads::From,
            rewards,
            rewards_lead: Leads::To,
            terminals: table.optional("terminal", rows)?,
            terminals_lead: Leads::To,
        };
        let episodes = table.cut(&columns, &parts)?;
        Ok(recordings(&place.path, episodes))
    }
}
