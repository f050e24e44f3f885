use burn::tensor::{Device, Tensor, TensorData};

use crate::{PixelLayout, images_to_tensor};

/// Sequences of `length` steps, `rows` of them, on the host and row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequences<'a> {
    /// The number of sequences.
    pub rows: usize,
    /// Steps of each.
    pub length: usize,
    /// Images `[rows, length, size, cameras · size, 3]`.
    pub pixels: &'a [u8],
    /// The normalised action that led to each image, `[rows, length, action]`.
    pub actions: Vec<f32>,
    /// The reward on reaching each image, `[rows, length]`.
    pub rewards: Vec<f32>,
    /// Whether the episode goes on after each image, `[rows, length]`: 1, or 0 at a terminal state;
    /// empty where it always does.
    pub discounts: Vec<f32>,
    /// 1 for a recorded step, 0 for one that fills up a sequence after its episode's end,
    /// `[rows, length]`; empty where all are recorded.
    pub mask: Vec<f32>,
    /// Whether a sequence begins with the reset of its episode, whose reward counts for nothing,
    /// `[rows]`; empty where none does.
    pub is_first: Vec<bool>,
}

/// Sequences to train on, time-major so that each step is one slice.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[length · rows, channels, size, size]`, range `[−½, ½]`.
    pub images: Tensor<4>,
    /// The action that led to each image, `[length, rows, action]`.
    pub actions: Tensor<3>,
    /// The reward on reaching each image, `[length, rows]`.
    pub rewards: Tensor<2>,
    /// Continuation factors `[length, rows]`; `None` where all are one.
    pub discounts: Option<Tensor<2>>,
    /// 1 for a recorded step, else 0, `[length, rows]`; `None` where all are recorded.
    pub mask: Option<Tensor<2>>,
    /// 1 for a step whose reward counts, which is recorded and no reset, else 0, `[length, rows]`; `None`
    /// where all do.
    pub reward_mask: Option<Tensor<2>>,
}

impl Batch {
    /// Moves sequences to `device`.
    ///
    /// # Panics
    ///
    /// If a list has another length than its shape says.
    pub fn new(sequences: Sequences<'_>, layout: PixelLayout, device: &Device) -> Self {
        let Sequences { rows, length, .. } = sequences;
        let action_size = sequences.actions.len() / (rows * length);
        let pixels = time_major(sequences.pixels, [rows, length], layout.bytes());
        let images = images_to_tensor(&pixels, length * rows, layout, device);
        let actions = TensorData::new(sequences.actions, [rows, length, action_size]);
        let series = |values: Vec<f32>| {
            let values = TensorData::new(values, [rows, length]);
            Tensor::<2>::from_data(values, device).swap_dims(0, 1)
        };
        let unless_one = |values: Vec<f32>| {
            let all_one = values.iter().all(|&value| value == 1.0);
            (!all_one).then(|| series(values))
        };
        let is_first = sequences.is_first;
        let paid = (is_first.contains(&true))
            .then(|| without_resets(&sequences.mask, &is_first, [rows, length]));
        let mask = unless_one(sequences.mask);
        Self {
            images,
            actions: Tensor::<3>::from_data(actions, device).swap_dims(0, 1),
            rewards: series(sequences.rewards),
            discounts: unless_one(sequences.discounts),
            reward_mask: match paid {
                Some(paid) => unless_one(paid),
                None => mask.clone(),
            },
            mask,
        }
    }

    /// Cuts the batch into `shards` of equally many sequences; leaves it whole where the number of
    /// sequences does not allow that.
    pub fn split(&self, shards: usize) -> Vec<Self> {
        let (length, rows) = (self.length(), self.rows());
        if shards <= 1 || !rows.is_multiple_of(shards) {
            return vec![self.clone()];
        }
        let [_, channels, height, width] = self.images.dims();
        let pixels = channels * height * width;
        let images = self.images.clone().reshape([length, rows, pixels]);
        let count = rows / shards;
        let part = |series: &Tensor<2>, shard| series.clone().narrow(1, shard * count, count);
        let optional = |series: &Option<Tensor<2>>, shard| series.as_ref().map(|s| part(s, shard));
        (0..shards)
            .map(|shard| Self {
                images: images.clone().narrow(1, shard * count, count).reshape([
                    length * count,
                    channels,
                    height,
                    width,
                ]),
                actions: self.actions.clone().narrow(1, shard * count, count),
                rewards: part(&self.rewards, shard),
                discounts: optional(&self.discounts, shard),
                mask: optional(&self.mask, shard),
                reward_mask: optional(&self.reward_mask, shard),
            })
            .collect()
    }

    /// Steps of each sequence.
    pub fn length(&self) -> usize {
        self.actions.dims()[0]
    }

    /// The number of sequences.
    pub fn rows(&self) -> usize {
        self.actions.dims()[1]
    }
}

/// The `mask` `[rows, length]`, empty where all steps are recorded, with 0 at the resets.
fn without_resets(mask: &[f32], is_first: &[bool], [rows, length]: [usize; 2]) -> Vec<f32> {
    assert_eq!(is_first.len(), rows, "beginnings of {rows} sequences");
    let mut paid = match mask {
        [] => vec![1.0; rows * length],
        mask => mask.to_vec(),
    };
    for (steps, &is_first) in paid.chunks_mut(length).zip(is_first) {
        if is_first {
            steps[0] = 0.0;
        }
    }
    paid
}

/// The images `[rows, length]` of so many `bytes` each as `[length, rows]`: bytes are moved sooner than the
/// numbers that become of them.
fn time_major(pixels: &[u8], [rows, length]: [usize; 2], bytes: usize) -> Vec<u8> {
    assert_eq!(
        pixels.len(),
        rows * length * bytes,
        "bytes of {rows} sequences"
    );
    let mut moved = Vec::with_capacity(pixels.len());
    for step in 0..length {
        for row in 0..rows {
            let first = (row * length + step) * bytes;
            moved.extend_from_slice(&pixels[first..first + bytes]);
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 2;
    const LENGTH: usize = 3;

    fn batch(is_first: &[bool], mask: &[f32]) -> Batch {
        let layout = PixelLayout::new(2);
        let pixels = vec![0; ROWS * LENGTH * layout.bytes()];
        let sequences = Sequences {
            rows: ROWS,
            length: LENGTH,
            pixels: &pixels,
            actions: vec![0.0; ROWS * LENGTH],
            rewards: vec![0.0; ROWS * LENGTH],
            mask: mask.to_vec(),
            is_first: is_first.to_vec(),
            ..Sequences::default()
        };
        Batch::new(sequences, layout, &Device::default())
    }

    fn values(mask: &Option<Tensor<2>>) -> Option<Vec<f32>> {
        let mask = mask.clone()?;
        Some(mask.into_data_as::<f32>().iter().collect())
    }

    /// Time-major: the first two values are those of frame 0.
    #[test]
    fn rewards_of_resets_and_of_filled_up_steps_are_masked() {
        let whole = batch(&[false, true], &[]);
        let expected = vec![1.0, 0.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(values(&whole.mask), None);
        assert_eq!(values(&whole.reward_mask), Some(expected));
        let filled_up = [1.0, 1.0, 0.0, 1.0, 1.0, 1.0];
        let short = batch(&[true, false], &filled_up);
        let recorded = vec![1.0, 1.0, 1.0, 1.0, 0.0, 1.0];
        let paid = vec![0.0, 1.0, 1.0, 1.0, 0.0, 1.0];
        assert_eq!(values(&short.mask), Some(recorded.clone()));
        assert_eq!(values(&short.reward_mask), Some(paid));
        assert_eq!(values(&batch(&[], &filled_up).reward_mask), Some(recorded));
        assert_eq!(values(&batch(&[false; ROWS], &[]).reward_mask), None);
        let [first, second] = &short.split(ROWS)[..] else {
            panic!("a part for each sequence");
        };
        assert_eq!(values(&first.reward_mask), Some(vec![0.0, 1.0, 0.0]));
        assert_eq!(values(&second.reward_mask), Some(vec![1.0; LENGTH]));
    }
}
