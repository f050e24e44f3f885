//! OGBench's `.npz` files: `observations` `[N, height, width, 3]`, `actions` `[N, A]`, `terminals` `[N]`,
//! episode after episode.
//!
//! Action `t` leads *from* observation `t`; the row with `terminals` is the last state of its episode, and
//! its action counts for nothing. An end is a time limit, no terminal state. There are no rewards: all
//! are zero, unless an array of them is named, of which entry `t` is paid for action `t`.

use latco_env::{EpisodeFileProblem, NpzArchive, Recordings};

use crate::open::{Format, Options, Place};
use crate::rows::Leads;
use crate::table::{Columns, Names, Table, parts_by_last, recordings};

/// The reader.
pub(crate) struct OgBench;

const NAMES: Names = Names {
    format: "OGBench",
    keys: &[
        ("image", "observations"),
        ("action", "actions"),
        ("reward", "rewards"),
        ("last", "terminals"),
    ],
};

impl Format for OgBench {
    fn recognises(&self, place: &Place, options: &Options) -> bool {
        // No other format of such files has a `last` to be told.
        let told = options.map.get("last");
        let is_told = told.is_some_and(|name| place.has(&[name.as_str()]));
        place.is_npz && (is_told || place.has(&["observations", "actions", "terminals"]))
    }

    fn open(&self, place: &Place, options: &Options) -> Result<Recordings, EpisodeFileProblem> {
        let mut archive = NpzArchive::open(&place.path)?;
        let mut table = Table::open(&place.path, &mut archive, &NAMES, options)?;
        let rows = table.rows();
        let last = table.column("last", rows)?;
        let columns = Columns {
            actions: table.column("action", rows)?,
            actions_lead: Leads::From,
            rewards: table.optional("reward", rows)?,
            rewards_lead: Leads::From,
            terminals: None,
            terminals_lead: Leads::To,
        };
        let episodes = table.cut(&columns, &parts_by_last(&last.values))?;
        Ok(recordings(&place.path, episodes))
    }
}
