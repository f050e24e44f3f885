//! Arrays by their names, cut into episodes.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use latco_env::{EpisodeFileProblem, EpisodeSeries, NpzArchive, Numbers, Recorded, Recordings};

use crate::error::FormatProblem;
use crate::open::{Options, Place};
use crate::rows::{ImageLayout, Leads, NpzRows, RowEpisode, RowSource, Steps};

/// An open file of named arrays.
pub(crate) trait Arrays {
    /// The names there are.
    fn names(&self) -> Result<BTreeSet<String>, EpisodeFileProblem>;

    /// The array of this name, if there is one.
    fn numbers(&mut self, name: &str) -> Result<Option<Numbers>, EpisodeFileProblem>;

    /// The shape and the rows of the array of bytes of this name, if there is one.
    fn rows(&mut self, name: &str) -> Result<Option<Rows>, EpisodeFileProblem>;
}

/// The shape of an array of bytes, and the array.
pub(crate) type Rows = (Vec<usize>, Arc<dyn RowSource>);

impl Arrays for NpzArchive {
    fn names(&self) -> Result<BTreeSet<String>, EpisodeFileProblem> {
        Ok(NpzArchive::names(self).collect())
    }

    fn numbers(&mut self, name: &str) -> Result<Option<Numbers>, EpisodeFileProblem> {
        NpzArchive::numbers(self, name)
    }

    fn rows(&mut self, name: &str) -> Result<Option<Rows>, EpisodeFileProblem> {
        let array = self.byte_rows(name)?;
        Ok(array.map(|array| {
            let source: Arc<dyn RowSource> = Arc::new(NpzRows::new(array.clone()));
            (array.shape().to_vec(), source)
        }))
    }
}

/// What a format calls its arrays.
pub(crate) struct Names {
    /// The format.
    pub format: &'static str,
    /// The key in a mapping, and the format's own name.
    pub keys: &'static [(&'static str, &'static str)],
}

impl Names {
    /// The name of the array that `key` stands for.
    pub fn name<'a>(&self, options: &'a Options, key: &str) -> &'a str {
        options.map.get(key).map_or(self.own(key), String::as_str)
    }

    /// The format's own name of it.
    fn own(&self, key: &str) -> &'static str {
        let own = self.keys.iter().find(|(known, _)| *known == key);
        own.map_or("", |(_, name)| name)
    }

    /// Whether a file has the arrays of all these keys, by the names that are told or the format's own.
    pub fn are_in(&self, place: &Place, options: &Options, keys: &[&str]) -> bool {
        let names = |key| [self.name(options, key), self.own(key)];
        keys.iter()
            .all(|&key| names(key).iter().any(|&name| place.has(&[name])))
    }

    /// Refuses a mapping of something else.
    pub fn check(&self, options: &Options) -> Result<(), FormatProblem> {
        let known = |key: &&String| self.keys.iter().any(|(known, _)| known == *key);
        match options.map.keys().find(|key| !known(key)) {
            None => Ok(()),
            Some(key) => Err(FormatProblem::Key {
                key: key.clone(),
                expected: list(self.keys.iter().map(|(key, _)| *key)),
            }),
        }
    }
}

/// Names in a sentence.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 20;
    let names: Vec<_> = names.take(MOST).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

/// The arrays of one file, or of one part of it.
pub(crate) struct Table<'a> {
    path: PathBuf,
    arrays: &'a mut dyn Arrays,
    names: &'static Names,
    options: &'a Options,
    layout: ImageLayout,
    source: Arc<dyn RowSource>,
}

/// What belongs to the rows of images.
pub(crate) struct Columns {
    pub actions: Numbers,
    pub actions_lead: Leads,
    /// All zero where there are none.
    pub rewards: Option<Numbers>,
    pub rewards_lead: Leads,
    /// Other than zero where an episode ended in a terminal state.
    pub terminals: Option<Numbers>,
    pub terminals_lead: Leads,
}

/// Refuses episodes that overlap: each is a copy of its rows, and a small file can name many.
fn check_apart(parts: &[Range<usize>], rows: usize) -> Result<(), FormatProblem> {
    let mut sorted: Vec<_> = parts.iter().filter(|part| !part.is_empty()).collect();
    sorted.sort_unstable_by_key(|part| (part.start, part.end));
    match sorted.windows(2).find(|pair| pair[0].end > pair[1].start) {
        Some(pair) => Err(FormatProblem::Unsupported(format!(
            "episodes are said to have the rows {:?} and {:?} of {rows}: expected episodes that do not overlap",
            pair[0], pair[1]
        ))),
        None => Ok(()),
    }
}

impl<'a> Table<'a> {
    /// Finds the images.
    pub fn open(
        path: &Path,
        arrays: &'a mut dyn Arrays,
        names: &'static Names,
        options: &'a Options,
    ) -> Result<Self, EpisodeFileProblem> {
        names.check(options)?;
        let image = names.name(options, "image");
        let Some((shape, source)) = arrays.rows(image)? else {
            return Err(missing(arrays, names, options, "image"));
        };
        Ok(Self {
            path: path.to_path_buf(),
            layout: ImageLayout::of(image, &shape)?,
            arrays,
            names,
            options,
            source,
        })
    }

    /// The number of images.
    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    /// The array that `key` stands for, of so many rows.
    pub fn column(&mut self, key: &str, rows: usize) -> Result<Numbers, EpisodeFileProblem> {
        match self.optional(key, rows)? {
            Some(numbers) => Ok(numbers),
            None => Err(missing(self.arrays, self.names, self.options, key)),
        }
    }

    /// The same where it may be missing, unless its name was told.
    pub fn optional(
        &mut self,
        key: &str,
        rows: usize,
    ) -> Result<Option<Numbers>, EpisodeFileProblem> {
        let name = self.names.name(self.options, key);
        let Some(numbers) = self.arrays.numbers(name)? else {
            return match self.options.map.contains_key(key) {
                true => Err(missing(self.arrays, self.names, self.options, key)),
                false => Ok(None),
            };
        };
        let width: usize = numbers.shape.iter().skip(1).product();
        match numbers.shape.first() {
            Some(&got) if got == rows && (width == 1 || key == "action") => Ok(Some(numbers)),
            Some(&got) if got == rows => Err(FormatProblem::Unsupported(format!(
                "`{name}` is {:?}, expected one number a row",
                numbers.shape
            ))
            .into()),
            got => Err(FormatProblem::Rows {
                name: name.to_owned(),
                expected: rows,
                got: got.copied().unwrap_or(0),
            }
            .into()),
        }
    }

    /// The episodes in these rows.
    pub fn cut(
        &self,
        columns: &Columns,
        parts: &[Range<usize>],
    ) -> Result<Vec<RowEpisode>, EpisodeFileProblem> {
        let rows = self.rows();
        check_apart(parts, rows)?;
        let size: usize = columns.actions.shape.iter().skip(1).product();
        let mut episodes = Vec::with_capacity(parts.len());
        for (episode, part) in parts.iter().enumerate() {
            if part.is_empty() || part.end > rows {
                return Err(FormatProblem::Episode {
                    episode,
                    start: part.start,
                    end: part.end,
                    rows,
                }
                .into());
            }
            let piece = |numbers: &'_ Numbers, width: usize| -> Vec<f32> {
                let end = (part.end * width).min(numbers.values.len());
                numbers.values[(part.start * width).min(end)..end].to_vec()
            };
            let steps = Steps {
                frames: part.len(),
                actions: piece(&columns.actions, size),
                action_size: size,
                actions_lead: columns.actions_lead,
                rewards: columns.rewards.as_ref().map(|numbers| piece(numbers, 1)),
                rewards_lead: columns.rewards_lead,
                terminals: columns.terminals.as_ref().map(|numbers| piece(numbers, 1)),
                terminals_lead: columns.terminals_lead,
            };
            episodes.push(self.episode(steps.series(&self.layout)?, part.start));
        }
        Ok(episodes)
    }

    fn episode(&self, series: EpisodeSeries, start: usize) -> RowEpisode {
        RowEpisode {
            path: self.path.clone(),
            series,
            source: Arc::clone(&self.source),
            layout: self.layout,
            start,
        }
    }
}

/// The error for an array that is not there, with the names of those that are.
pub(crate) fn missing(
    arrays: &dyn Arrays,
    names: &'static Names,
    options: &Options,
    key: &str,
) -> EpisodeFileProblem {
    let found = match arrays.names() {
        Ok(found) => list(found.iter().map(String::as_str)),
        Err(problem) => return problem,
    };
    let own = names.keys.iter().find(|(known, _)| *known == key);
    FormatProblem::Missing {
        format: names.format,
        name: names.name(options, key).to_owned(),
        key: own.map_or("", |(key, _)| key),
        found,
    }
    .into()
}

/// Parts that end where `last` is other than zero, and with the last row.
pub(crate) fn parts_by_last(last: &[f32]) -> Vec<Range<usize>> {
    let ends = (1..=last.len()).filter(|&end| end == last.len() || last[end - 1] != 0.0);
    let mut start = 0;
    ends.map(|end| std::mem::replace(&mut start, end)..end)
        .collect()
}

/// Parts that begin with the first row, and where `first` is other than zero.
pub(crate) fn parts_by_first(first: &[f32]) -> Vec<Range<usize>> {
    let starts: Vec<usize> = (0..first.len())
        .filter(|&row| row == 0 || first[row] != 0.0)
        .collect();
    let ends = starts.iter().skip(1).copied().chain([first.len()]);
    (starts.iter().zip(ends))
        .map(|(&start, end)| start..end)
        .collect()
}

/// All that a file holds.
pub(crate) fn recordings(path: &Path, episodes: Vec<RowEpisode>) -> Recordings {
    let episodes = episodes.into_iter();
    Recordings {
        episodes: episodes
            .map(|episode| Arc::new(episode) as Arc<dyn Recorded>)
            .collect(),
        files: vec![path.to_path_buf()],
        ..Recordings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_at_ends_and_starts() {
        assert_eq!(parts_by_last(&[0.0, 1.0, 0.0, 0.0, 1.0]), [0..2, 2..5]);
        assert_eq!(parts_by_last(&[0.0, 1.0, 0.0]), [0..2, 2..3]);
        assert_eq!(parts_by_first(&[1.0, 0.0, 1.0, 0.0, 0.0]), [0..2, 2..5]);
        assert_eq!(parts_by_first(&[0.0, 0.0, 1.0]), [0..2, 2..3]);
        assert!(parts_by_last(&[]).is_empty() && parts_by_first(&[]).is_empty());
    }

    #[test]
    fn episodes_that_overlap_are_refused() {
        assert!(check_apart(&[5..8, 0..5], 8).is_ok());
        let message = check_apart(&[0..8, 0..8], 8).unwrap_err().to_string();
        assert!(message.contains("0..8 and 0..8 of 8"), "{message}");
        assert!(check_apart(&[0..4, 8..12, 0..4], 16).is_err());
        let most = 0..usize::MAX;
        assert!(check_apart(&[most.clone(), most], 8).is_err());
    }
}
