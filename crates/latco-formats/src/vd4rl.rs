//! The HDF5 files of V-D4RL: `observation` `[N, 3, height, width]`, `action` `[N, A]`, `reward` and
//! `discount` `[N]`, `step_type` `[N]`, which is 0 for the first image of an episode.
//!
//! Actions and rewards belong to the image that they led to. (V-D4RL's `.npz` files are episodes of
//! Dreamer, as this project's own.)

use latco_env::{EpisodeFileProblem, Recordings};

use crate::hdf5::Hdf5;
use crate::open::{Format, Options, Place};
use crate::rows::Leads;
use crate::table::{Columns, Names, Table, parts_by_first, recordings};

/// The reader.
pub(crate) struct VD4rl;

const NAMES: Names = Names {
    format: "V-D4RL",
    keys: &[
        ("image", "observation"),
        ("action", "action"),
        ("reward", "reward"),
        ("discount", "discount"),
        ("first", "step_type"),
    ],
};

impl Format for VD4rl {
    fn recognises(&self, place: &Place, options: &Options) -> bool {
        place.is_hdf5 && NAMES.are_in(place, options, &["first"])
    }

    fn open(&self, place: &Place, options: &Options) -> Result<Recordings, EpisodeFileProblem> {
        let mut file = Hdf5::open(&place.path)?;
        let mut table = Table::open(&place.path, &mut file, &NAMES, options)?;
        let rows = table.rows();
        let types = table.column("first", rows)?.values;
        let first: Vec<f32> = types.iter().map(|&kind| f32::from(kind == 0.0)).collect();
        let mut terminals = table.optional("discount", rows)?;
        if let Some(discounts) = &mut terminals {
            let values = discounts.values.iter_mut();
            values.for_each(|discount| *discount = f32::from(*discount == 0.0));
        }
        let columns = Columns {
            actions: table.column("action", rows)?,
            actions_lead: Leads::To,
            rewards: table.optional("reward", rows)?,
            rewards_lead: Leads::To,
            terminals,
            terminals_lead: Leads::To,
        };
        let episodes = table.cut(&columns, &parts_by_first(&first))?;
        Ok(recordings(&place.path, episodes))
    }
}
