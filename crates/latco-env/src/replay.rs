//! Sequences for training, drawn from episodes in memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use rand::Rng;

use crate::episode::Episode;

/// Episodes in memory, the oldest dropped when the number of frames passes the capacity.
#[derive(Clone, Debug)]
pub struct Replay {
    entries: VecDeque<Entry>,
    capacity: usize,
    frames: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    episode: Arc<Episode>,
    /// The frames with a reward other than zero, ascending.
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
    /// Actions `[B, L, A]`; entry `t` led to image `t`.
    pub actions: Vec<f32>,
    /// Rewards `[B, L]`.
    pub rewards: Vec<f32>,
    /// Continuation factors `[B, L]`.
    pub discounts: Vec<f32>,
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
    /// No episode is long enough.
    #[error("no episode has {length} frames: the longest of {episodes} has {longest}")]
    TooShort {
        /// The length asked for.
        length: usize,
        /// Episodes in the replay.
        episodes: usize,
        /// Frames of the longest.
        longest: usize,
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
        })
    }

    /// Adds an episode and drops the oldest ones while the frames exceed the capacity. The newest
    /// is always kept, however long.
    ///
    /// # Errors
    /// [`ReplayError::Mismatch`] where its images or actions have another size.
    pub fn push(&mut self, episode: impl Into<Arc<Episode>>) -> Result<(), ReplayError> {
        let entry = Entry::new(episode.into());
        if let Some(other) = self.entries.front() {
            check_alike(&other.episode, &entry.episode)?;
        }
        self.frames += entry.episode.len();
        self.entries.push_back(entry);
        while self.frames > self.capacity && self.entries.len() > 1 {
            let dropped = self.entries.pop_front().expect("more than one entry");
            self.frames -= dropped.episode.len();
        }
        Ok(())
    }

    /// The number of frames.
    pub fn len_steps(&self) -> usize {
        self.frames
    }

    /// The episodes, oldest first.
    pub fn episodes(&self) -> impl ExactSizeIterator<Item = &Arc<Episode>> {
        self.entries.iter().map(|entry| &entry.episode)
    }

    /// The share of frames with a reward other than zero, 0 to 1.
    pub fn rewarded_frames(&self) -> f32 {
        let rewarded: usize = self.entries.iter().map(|entry| entry.rewarded.len()).sum();
        rewarded as f32 / self.frames.max(1) as f32
    }

    /// Draws `batch` sequences of `length` successive frames each.
    ///
    /// The first `round(batch · rewarded_share)` rows contain a rewarded frame (one with a reward
    /// other than zero): the frame is drawn uniformly over all rewarded ones, then the start over
    /// those that keep it in sight. The others are uniform over all starts. Where no frame is
    /// rewarded, all rows are uniform.
    ///
    /// # Errors
    /// [`ReplayError::TooShort`] where no episode has `length` frames;
    /// [`ReplayError::Argument`] where `batch` or `length` is zero or `rewarded_share` is not in
    /// `[0, 1]`.
    pub fn sample_sequences(
        &self,
        random: &mut impl Rng,
        batch: usize,
        length: usize,
        rewarded_share: f32,
    ) -> Result<SequenceBatch, ReplayError> {
        check_arguments(batch, length, rewarded_share)?;
        let starts = Weighted::new(&self.entries, |entry| entry.starts(length));
        let rewards = Weighted::new(&self.entries, |entry| entry.reachable_rewards(length));
        if starts.total == 0 {
            return Err(self.too_short(length));
        }
        let rewarded_rows = match rewards.total {
            0 => 0,
            _ => (batch as f32 * rewarded_share).round() as usize,
        };
        let mut sequences = SequenceBatch::empty(&self.entries[0].episode, batch, length);
        for row in 0..batch {
            let (entry, start) = if row < rewarded_rows {
                let (entry, nth) = rewards.draw(random);
                (
                    entry,
                    entry.start_around(entry.rewarded[nth], length, random),
                )
            } else {
                starts.draw(random)
            };
            sequences.push(&entry.episode, start..start + length);
        }
        Ok(sequences)
    }

    fn too_short(&self, length: usize) -> ReplayError {
        let lengths = self.entries.iter().map(|entry| entry.episode.len());
        ReplayError::TooShort {
            length,
            episodes: self.entries.len(),
            longest: lengths.max().unwrap_or(0),
        }
    }
}

impl Entry {
    fn new(episode: Arc<Episode>) -> Self {
        let rewards = episode.rewards().iter().enumerate();
        let rewarded = rewards
            .filter(|&(_, &reward)| reward != 0.0)
            .map(|(frame, _)| frame)
            .collect();
        Self { episode, rewarded }
    }

    /// The number of frames at which a sequence of `length` frames can start.
    fn starts(&self, length: usize) -> usize {
        (self.episode.len() + 1).saturating_sub(length)
    }

    /// The number of rewarded frames that a sequence of `length` frames can contain.
    fn reachable_rewards(&self, length: usize) -> usize {
        if self.starts(length) == 0 {
            return 0;
        }
        self.rewarded.len()
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
    fn empty(like: &Episode, batch: usize, length: usize) -> Self {
        let frames = batch * length;
        let frame_size = like.image_height() * like.image_width() * 3;
        Self {
            batch,
            length,
            image_height: like.image_height(),
            image_width: like.image_width(),
            action_size: like.action_size(),
            images: Vec::with_capacity(frames * frame_size),
            actions: Vec::with_capacity(frames * like.action_size()),
            rewards: Vec::with_capacity(frames),
            discounts: Vec::with_capacity(frames),
            is_first: Vec::with_capacity(batch),
        }
    }

    fn push(&mut self, episode: &Episode, range: Range<usize>) {
        let size = episode.action_size();
        self.is_first.push(range.start == 0);
        self.images.extend_from_slice(episode.frames(range.clone()));
        self.actions
            .extend_from_slice(&episode.actions()[range.start * size..range.end * size]);
        self.rewards
            .extend_from_slice(&episode.rewards()[range.clone()]);
        self.discounts
            .extend_from_slice(&episode.discounts()[range]);
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

fn check_alike(known: &Episode, given: &Episode) -> Result<(), ReplayError> {
    let sizes = |episode: &Episode| {
        (
            episode.image_height(),
            episode.image_width(),
            episode.action_size(),
        )
    };
    let (height, width, actions) = sizes(known);
    let (got_height, got_width, got_actions) = sizes(given);
    if sizes(known) == sizes(given) {
        return Ok(());
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
