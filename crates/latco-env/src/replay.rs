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
    /// The reward above which a frame is rewarded.
    usual_reward: f32,
}

#[derive(Clone, Debug)]
struct Entry {
    episode: Arc<Episode>,
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
            usual_reward: 0.0,
        })
    }

    /// Adds an episode and drops the oldest ones while the frames exceed the capacity. The newest
    /// is always kept, however long.
    ///
    /// # Errors
    /// [`ReplayError::Mismatch`] where its images or actions have another size,
    /// [`ReplayError::Other`] where they mean something else.
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
        self.usual_reward = usual_reward(&self.entries);
        for entry in &mut self.entries {
            entry.mark_rewarded(self.usual_reward);
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
            sequences.push(&entry.episode, start);
        }
        Ok(sequences)
    }
}

/// The median reward of all frames but the resets, or the least where nothing is above the median.
fn usual_reward(entries: &VecDeque<Entry>) -> f32 {
    let mut rewards: Vec<f32> = (entries.iter())
        .flat_map(|entry| &entry.episode.rewards()[1..])
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
    fn new(episode: Arc<Episode>) -> Self {
        Self {
            episode,
            rewarded: Vec::new(),
        }
    }

    /// Notes the frames whose reward is above `usual`; a reset has no reward of its own.
    fn mark_rewarded(&mut self, usual: f32) {
        let rewards = self.episode.rewards().iter().enumerate().skip(1);
        self.rewarded = rewards
            .filter(|&(_, &reward)| reward > usual)
            .map(|(frame, _)| frame)
            .collect();
    }

    /// The number of frames at which a sequence of `length` frames can start.
    fn starts(&self, length: usize) -> usize {
        (self.episode.len() + 1).saturating_sub(length).max(1)
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
            mask: Vec::with_capacity(frames),
            is_first: Vec::with_capacity(batch),
        }
    }

    /// Adds the frames from `start` on, and fills the row up where the episode ends before.
    fn push(&mut self, episode: &Episode, start: usize) {
        let end = episode.len().min(start + self.length);
        let missing = start + self.length - end;
        self.is_first.push(start == 0);
        self.push_recorded(episode, start..end);
        let last = episode.frames(end - 1..end);
        (0..missing).for_each(|_| self.images.extend_from_slice(last));
        let no_actions = vec![0.0; missing * self.action_size];
        for (series, fill) in [
            (&mut self.actions, no_actions),
            (&mut self.rewards, vec![0.0; missing]),
            (
                &mut self.discounts,
                vec![episode.discounts()[end - 1]; missing],
            ),
            (&mut self.mask, vec![0.0; missing]),
        ] {
            series.extend(fill);
        }
    }

    fn push_recorded(&mut self, episode: &Episode, range: Range<usize>) {
        let size = episode.action_size();
        let actions = &episode.actions()[range.start * size..range.end * size];
        let space = episode.action_space();
        self.images.extend_from_slice(episode.frames(range.clone()));
        self.actions.extend(space.normalised(actions));
        self.rewards.extend(&episode.rewards()[range.clone()]);
        self.discounts.extend(&episode.discounts()[range.clone()]);
        self.mask.extend(range.map(|_| 1.0));
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
fn check_meaning_alike(known: &Episode, given: &Episode) -> Result<(), ReplayError> {
    let bounds = |episode: &Episode| {
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
