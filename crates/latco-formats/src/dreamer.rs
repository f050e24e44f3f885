//! The `.npz` files of Dreamer's replay with `is_first`, `is_last` and `is_terminal`: `image`
//! `[N, height, width, 3]`, `action` `[N, A]`, `reward` `[N]`, one episode or several.
//!
//! Rewards are paid on reaching their image. DreamerV2's action led *to* its image, so that the one beside
//! `is_first` is zero; DreamerV3's leads *from* its image. Which it is, the actions beside `is_first` tell:
//! all zero, and there is another: V2; else V3. Where there is no `is_terminal`, an episode ends where its
//! `discount` is 0.

use latco_env::{EpisodeFileProblem, NpzArchive, Numbers, Recordings};

use crate::open::{Format, Options, Place};
use crate::rows::Leads;
use crate::table::{Columns, Names, Table, parts_by_first, recordings};

/// The reader.
pub(crate) struct Dreamer;

const NAMES: Names = Names {
    format: "Dreamer",
    keys: &[
        ("image", "image"),
        ("action", "action"),
        ("reward", "reward"),
        ("first", "is_first"),
        ("terminal", "is_terminal"),
        ("discount", "discount"),
    ],
};

impl Format for Dreamer {
    fn recognises(&self, place: &Place, options: &Options) -> bool {
        place.is_npz && NAMES.are_in(place, options, &["first"])
    }

    fn open(&self, place: &Place, options: &Options) -> Result<Recordings, EpisodeFileProblem> {
        let mut archive = NpzArchive::open(&place.path)?;
        let mut table = Table::open(&place.path, &mut archive, &NAMES, options)?;
        let rows = table.rows();
        let first = table.column("first", rows)?;
        let parts = parts_by_first(&first.values);
        let actions = table.column("action", rows)?;
        let terminals = match table.optional("terminal", rows)? {
            Some(terminals) => Some(terminals),
            None => table.optional("discount", rows)?.map(without_discount),
        };
        let columns = Columns {
            actions_lead: leads(&actions, &first.values),
            actions,
            rewards: Some(table.column("reward", rows)?),
            rewards_lead: Leads::To,
            terminals,
            terminals_lead: Leads::To,
        };
        let episodes = table.cut(&columns, &parts)?;
        Ok(recordings(&place.path, episodes))
    }
}

/// 1 where the discount is 0, else 0.
fn without_discount(discounts: Numbers) -> Numbers {
    let is_end = |discount: f32| f32::from(u8::from(discount == 0.0));
    Numbers {
        values: discounts.values.into_iter().map(is_end).collect(),
        ..discounts
    }
}

fn leads(actions: &Numbers, first: &[f32]) -> Leads {
    let size: usize = actions.shape.iter().skip(1).product();
    let is_zero = |row: usize| {
        let action = actions.values.iter().skip(row * size).take(size);
        action.copied().all(|entry| entry == 0.0)
    };
    let mut resets = (0..first.len()).filter(|&row| first[row] != 0.0).peekable();
    let acts = actions.values.iter().any(|&entry| entry != 0.0);
    match resets.peek().is_some() && resets.all(is_zero) && acts {
        true => Leads::To,
        false => Leads::From,
    }
}
