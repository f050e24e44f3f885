//! Sequences for training, drawn from episodes in memory or on disk.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use rand::Rng;

use crate::episode::{Episode, EpisodeSeries};
use crate::recorded::Recorded;

/// Episodes, the oldest dropped when the number of frames passes the capacity.
///
/// An episode's images may be in memory or be read when a sequence of it is drawn ([`Recorded`]).
#[derive(Clone, Debug)]
pub struct Replay {
    entries: VecDeque<Entry>,
    capacity: usize,
    frames: usize,
    /// Entries at the front that are never dropped.
    kept: usize,
    /// The reward above which a frame is rewarded.
    usual_reward: f32,
}

#[derive(Clone, Debug)]
struct Entry {
    episode: Arc<dyn Recorded>,
    /// The frames with a reward above the usual one, ascending.
    rewarded: Vec<usize>,
}

/// `B` sequences of `L` frames, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceBatch {
    /// `B`.
    pub batch: usize,
    /// `L`.
    pub length: usize,
    /// Height of the images in pixels.
    pub image_height: usize,
    /// Width of the images in pixels.
    pub image_width: usize,
    /// `A`, the entries of an action.
    pub action_size: usize,
    /// Images `[B, L, image_height, image_width, 3]`.
    pub images: Vec<u8>,
    /// Normalised actions `[B, L, A]`, in `[−1, 1]` within the bounds; entry `t` led to image `t`.
    pub actions: Vec<f32>,
    /// Rewards `[B, L]`.
    pub rewards: Vec<f32>,
    /// Continuation factors `[B, L]`.
    pub discounts: Vec<f32>,
    /// `[B, L]`: 1 for a recorded frame, 0 for one that fills up a sequence after the end of its
    /// episode, which repeats the last image with a zero action and no reward.
    pub mask: Vec<f32>,
    /// `[B]`: whether frame 0 of the sequence is the reset of its episode, whose action led from
    /// nowhere.
    pub is_first: Vec<bool>,
}

/// Why a replay cannot take or give data.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// A pushed episode has images or actions of another size than those before it.
    #[error(
        "an episode of {got_height}x{got_width} images and {got_actions} action entries among those of {height}x{width} and {actions}"
    )]
    Mismatch {
        /// Height of the images in the replay.
        height: usize,
        /// Width of the images in the replay.
        width: usize,
        /// Action entries in the replay.
        actions: usize,
        /// Height of the images given.
        got_height: usize,
        /// Width of the images given.
        got_width: usize,
        /// Action entries given.
        got_actions: usize,
    },
    /// A pushed episode has other cameras or other bounds of the actions than those before it.
    #[error("an episode with another {what} among those of {known}: {got}")]
    Other {
        /// What differs.
        what: &'static str,
        /// What the episodes in the replay have.
        known: String,
        /// What the episode has.
        got: String,
    },
    /// There is no episode.
    #[error("there is no episode to draw sequences from")]
    Empty,
    /// The images of an episode cannot be read, or not any more.
    #[error("the recordings have changed or cannot be read: {reason}")]
    Images {
        /// The file, and what is wrong with it.
        reason: String,
    },
    /// An argument is out of range.
    #[error("`{argument}` is {got}, expected {expected}")]
    Argument {
        /// The argument.
        argument: &'static str,
        /// Its value.
        got: String,
        /// What is accepted.
        expected: &'static str,
    },
}

impl Replay {
    /// An empty replay that keeps about `capacity` frames.
    ///
    /// # Errors
    /// [`ReplayError::Argument`] where `capacity` is zero.
    pub fn new(capacity: usize) -> Result<Self, ReplayError> {
        if capacity == 0 {
            return Err(out_of_range("capacity", capacity, "at least one frame"));
        }
        Ok(Self {
            entries: VecDeque::new(),
            capacity,
            frames: 0,
            kept: 0,
            usual_reward: 0.0,
        })
    }

    /// A replay of `recordings`, which are never dropped, and about `capacity` frames of what is added to
    /// them.
    ///
    /// # Errors
    /// Those of [`new`](Self::new) and [`push`](Self::push).
    pub fn beside(
        recordings: impl IntoIterator<Item = Arc<dyn Recorded>>,
        capacity: usize,
    ) -> Result<Self, ReplayError> {
        let mut replay = Self::new(capacity)?;
        replay.capacity = usize::MAX;
        replay.extend(recordings)?;
        replay.kept = replay.entries.len();
        replay.capacity = capacity.saturating_add(replay.frames);
        Ok(replay)
    }

    /// Adds an episode and drops the oldest ones while the frames exceed the capacity. The newest
    /// is always kept, however long.
    ///
    /// # Errors
    /// [`ReplayError::Mismatch`] where its images or actions have another size,
    /// [`ReplayError::Other`] where they mean something else.
    pub fn push(&mut self, episode: impl Into<Arc<Episode>>) -> Result<(), ReplayError> {
        self.extend([episode.into() as Arc<dyn Recorded>])
    }

    /// Adds episodes as [`push`](Self::push) adds one.
    ///
    /// # Errors
    /// Those of [`push`](Self::push); the episodes before the refused one are kept.
    pub fn extend(
        &mut self,
        episodes: impl IntoIterator<Item = Arc<dyn Recorded>>,
    ) -> Result<(), ReplayError> {
        let added = episodes
            .into_iter()
            .try_for_each(|episode| self.add(episode));
        self.usual_reward = usual_reward(&self.entries);
        for entry in &mut self.entries {
            entry.mark_rewarded(self.usual_reward);
        }
        added
    }

    fn add(&mut self, episode: Arc<dyn Recorded>) -> Result<(), ReplayError> {
        let entry = Entry::new(episode);
        if let Some(other) = self.entries.front() {
            check_alike(other.series(), entry.series())?;
        }
        self.frames += entry.series().len();
        self.entries.push_back(entry);
        while self.frames > self.capacity && self.entries.len() > self.kept + 1 {
            let Some(dropped) = self.entries.remove(self.kept) else {
                break;
            };
            self.frames -= dropped.series().len();
        }
        Ok(())
    }

    /// The number of frames.
    pub fn len_steps(&self) -> usize {
        self.frames
    }

    /// The episodes, oldest first.
    pub fn episodes(&self) -> impl ExactSizeIterator<Item = &Arc<dyn Recorded>> {
        self.entries.iter().map(|entry| &entry.episode)
    }

    /// The share of [rewarded](Self::sample_sequences) frames, 0 to 1.
    pub fn rewarded_frames(&self) -> f32 {
        let rewarded: usize = self.entries.iter().map(|entry| entry.rewarded.len()).sum();
        rewarded as f32 / self.frames.max(1) as f32
    }

    /// Draws `batch` sequences of `length` successive frames each. An episode of fewer frames is drawn
    /// as a whole and filled up ([`SequenceBatch::mask`]).
    ///
    /// The first `round(batch · rewarded_share)` rows contain a rewarded frame, one whose reward is
    /// above the usual: the median over all frames but the resets, or the least where nothing is above
    /// the median. The frame is drawn uniformly over all rewarded ones, then the start over those that
    /// keep it in sight. The other rows are uniform over all starts; so are all where no frame is
    /// rewarded.
    ///
    /// # Errors
    /// [`ReplayError::Empty`] where there is no episode; [`ReplayError::Argument`] where `batch` or
    /// `length` is zero or `rewarded_share` is not in `[0, 1]`.
    pub fn sample_sequences(
        &self,
        random: &mut impl Rng,
        batch: usize,
        length: usize,
        rewarded_share: f32,
    ) -> Result<SequenceBatch, ReplayError> {
        check_arguments(batch, length, rewarded_share)?;
        let starts = Weighted::new(&self.entries, |entry| entry.starts(length));
        let rewards = Weighted::new(&self.entries, |entry| entry.rewarded.len());
        if starts.total == 0 {
            return Err(ReplayError::Empty);
        }
        let rewarded_rows = match rewards.total {
            0 => 0,
            _ => (batch as f32 * rewarded_share).round() as usize,
        };
        let rows: Vec<Row> = (0..batch)
            .map(|row| {
                let (entry, start) = if row < rewarded_rows {
                    let (entry, nth) = rewards.draw(random);
                    let frame = entry.rewarded[nth];
                    (entry, entry.start_around(frame, length, random))
                } else {
                    starts.draw(random)
                };
                let end = entry.series().len().min(start + length);
                Row {
                    episode: entry.episode.as_ref(),
                    frames: start..end,
                }
            })
            .collect();
        let mut sequences = SequenceBatch::empty(self.entries[0].series(), batch, length);
        for (row, images) in rows.iter().zip(read_images(&rows)?) {
            sequences.push(row.episode.series(), row.frames.clone(), &images);
        }
        Ok(sequences)
    }
}

/// Where a sequence is in its episode.
struct Row<'a> {
    episode: &'a dyn Recorded,
    frames: Range<usize>,
}

impl<'a> Row<'a> {
    fn images(&self) -> Result<Cow<'a, [u8]>, ReplayError> {
        let read = self.episode.images(self.frames.clone());
        let images = read.map_err(|error| ReplayError::Images {
            reason: error.to_string(),
        })?;
        let expected = self.frames.len() * self.episode.series().frame_bytes();
        match images.len() == expected {
            true => Ok(images),
            false => Err(ReplayError::Images {
                reason: format!(
                    "{}: {} bytes of images, expected {expected}",
                    self.episode.path().display(),
                    images.len()
                ),
            }),
        }
    }
}

/// The images of every row; those on disk are read on as many threads as there are cores.
fn read_images<'a>(rows: &[Row<'a>]) -> Result<Vec<Cow<'a, [u8]>>, ReplayError> {
    if rows.iter().all(|row| row.episode.is_in_memory()) {
        return rows.iter().map(Row::images).collect();
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = rows.len().div_ceil(threads);
    thread::scope(|scope| {
        let shares = rows.chunks(share);
        let threads: Vec<_> = shares
            .map(|rows| scope.spawn(|| rows.iter().map(Row::images).collect::<Vec<_>>()))
            .collect();
        let read = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        read.collect()
    })
}

/// The median reward of all frames but the resets, or the least where nothing is above the median.
fn usual_reward(entries: &VecDeque<Entry>) -> f32 {
    let mut rewards: Vec<f32> = (entries.iter())
        .flat_map(|entry| &entry.series().rewards()[1..])
        .copied()
        .collect();
    if rewards.is_empty() {
        return 0.0;
    }
    let middle = rewards.len() / 2;
    let (below, &mut median, above) = rewards.select_nth_unstable_by(middle, f32::total_cmp);
    match above.iter().any(|&reward| reward > median) {
        true => median,
        false => below.iter().copied().fold(median, f32::min),
    }
}

impl Entry {
    fn new(episode: Arc<dyn Recorded>) -> Self {
        Self {
            episode,
            rewarded: Vec::new(),
        }
    }

    fn series(&self) -> &EpisodeSeries {
        self.episode.series()
    }

    /// Notes the frames whose reward is above `usual`; a reset has no reward of its own.
    fn mark_rewarded(&mut self, usual: f32) {
        let rewards = self.series().rewards().iter().enumerate().skip(1);
        let rewarded = rewards
            .filter(|&(_, &reward)| reward > usual)
            .map(|(frame, _)| frame)
            .collect();
        self.rewarded = rewarded;
    }

    /// The number of frames at which a sequence of `length` frames can start.
    fn starts(&self, length: usize) -> usize {
        (self.series().len() + 1).saturating_sub(length).max(1)
    }

    /// A start of a sequence of `length` frames that contains `frame`.
    fn start_around(&self, frame: usize, length: usize, random: &mut impl Rng) -> usize {
        let earliest = (frame + 1).saturating_sub(length);
        let latest = frame.min(self.starts(length) - 1);
        random.random_range(earliest..=latest)
    }
}

/// Entries, each with a number of things to draw from.
struct Weighted<'a> {
    entries: &'a VecDeque<Entry>,
    /// Running sums of the numbers.
    ends: Vec<usize>,
    total: usize,
}

impl<'a> Weighted<'a> {
    fn new(entries: &'a VecDeque<Entry>, weight: impl Fn(&Entry) -> usize) -> Self {
        let mut total = 0;
        let ends = entries
            .iter()
            .map(|entry| {
                total += weight(entry);
                total
            })
            .collect();
        Self {
            entries,
            ends,
            total,
        }
    }

    /// One thing, uniformly: its entry and its index there.
    fn draw(&self, random: &mut impl Rng) -> (&'a Entry, usize) {
        let ticket = random.random_range(0..self.total);
        let index = self.ends.partition_point(|&end| end <= ticket);
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        (&self.entries[index], ticket - begin)
    }
}

impl SequenceBatch {
    fn empty(like: &EpisodeSeries, batch: usize, length: usize) -> Self {
        let frames = batch * length;
        Self {
            batch,
            length,
            image_height: like.image_height(),
            image_width: like.image_width(),
            action_size: like.action_size(),
            images: Vec::with_capacity(frames * like.frame_bytes()),
            actions: Vec::with_capacity(frames * like.action_size()),
            rewards: Vec::with_capacity(frames),
            discounts: Vec::with_capacity(frames),
            mask: Vec::with_capacity(frames),
            is_first: Vec::with_capacity(batch),
        }
    }

    /// Adds some frames with their images, and fills the row up where the episode ends before.
    fn push(&mut self, series: &EpisodeSeries, frames: Range<usize>, images: &[u8]) {
        let missing = self.length - frames.len();
        let last_discount = series.discounts()[frames.end - 1];
        self.is_first.push(frames.start == 0);
        self.images.extend_from_slice(images);
        let last = &images[images.len() - series.frame_bytes()..];
        (0..missing).for_each(|_| self.images.extend_from_slice(last));
        self.push_recorded(series, frames);
        let no_actions = vec![0.0; missing * self.action_size];
        for (series, fill) in [
            (&mut self.actions, no_actions),
            (&mut self.rewards, vec![0.0; missing]),
            (&mut self.discounts, vec![last_discount; missing]),
            (&mut self.mask, vec![0.0; missing]),
        ] {
            series.extend(fill);
        }
    }

    fn push_recorded(&mut self, series: &EpisodeSeries, frames: Range<usize>) {
        let size = series.action_size();
        let actions = &series.actions()[frames.start * size..frames.end * size];
        self.actions
            .extend(series.action_space().normalised(actions));
        self.rewards.extend(&series.rewards()[frames.clone()]);
        self.discounts.extend(&series.discounts()[frames.clone()]);
        self.mask.extend(frames.map(|_| 1.0));
    }
}

fn check_arguments(batch: usize, length: usize, share: f32) -> Result<(), ReplayError> {
    if batch == 0 {
        return Err(out_of_range("batch", batch, "at least one sequence"));
    }
    if length == 0 {
        return Err(out_of_range("length", length, "at least one frame"));
    }
    if !(0.0..=1.0).contains(&share) {
        return Err(out_of_range("rewarded_share", share, "0 to 1"));
    }
    Ok(())
}

fn out_of_range(argument: &'static str, got: impl ToString, expected: &'static str) -> ReplayError {
    ReplayError::Argument {
        argument,
        got: got.to_string(),
        expected,
    }
}

fn check_alike(known: &EpisodeSeries, given: &EpisodeSeries) -> Result<(), ReplayError> {
    let sizes = |episode: &EpisodeSeries| {
        (
            episode.image_height(),
            episode.image_width(),
            episode.action_size(),
        )
    };
    let (height, width, actions) = sizes(known);
    let (got_height, got_width, got_actions) = sizes(given);
    if sizes(known) == sizes(given) {
        return check_meaning_alike(known, given);
    }
    Err(ReplayError::Mismatch {
        height,
        width,
        actions,
        got_height,
        got_width,
        got_actions,
    })
}

/// What the same sizes may still mean differently.
fn check_meaning_alike(known: &EpisodeSeries, given: &EpisodeSeries) -> Result<(), ReplayError> {
    let bounds = |episode: &EpisodeSeries| {
        let space = episode.action_space();
        format!("{:?} to {:?}", space.low(), space.high())
    };
    let other = |what, known: String, got: String| Err(ReplayError::Other { what, known, got });
    if known.cameras() != given.cameras() {
        let [known, got] = [known, given].map(|episode| episode.cameras().to_string());
        return other("number of cameras", known, got);
    }
    if known.action_space() != given.action_space() {
        return other("range of actions", bounds(known), bounds(given));
    }
    Ok(())
}
