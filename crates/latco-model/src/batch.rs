use burn::tensor::{Device, Tensor, TensorData};

use crate::images_to_tensor;

/// Sequences to train on, time-major so that each step is one slice.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[length · rows, 3, height, width]`, range `[−½, ½]`.
    pub images: Tensor<4>,
    /// The action that led to each image, `[length, rows, action]`.
    pub actions: Tensor<3>,
    /// The reward on reaching each image, `[length, rows]`.
    pub rewards: Tensor<2>,
}

impl Batch {
    /// Moves sequences to `device`.
    ///
    /// `pixels` is `[rows, length, size, size, 3]`, `actions` `[rows, length, action]` and
    /// `rewards` `[rows, length]`, all row-major.
    ///
    /// # Panics
    ///
    /// If a slice has another length than its shape says.
    pub fn from_sequences(
        pixels: &[u8],
        actions: Vec<f32>,
        rewards: Vec<f32>,
        [rows, length, size]: [usize; 3],
        device: &Device,
    ) -> Self {
        let action_size = actions.len() / (rows * length);
        let images = images_to_tensor(pixels, rows * length, size, device)
            .reshape([rows, length, 3 * size * size])
            .swap_dims(0, 1)
            .reshape([length * rows, 3, size, size]);
        let actions = TensorData::new(actions, [rows, length, action_size]);
        let rewards = TensorData::new(rewards, [rows, length]);
        Self {
            images,
            actions: Tensor::<3>::from_data(actions, device).swap_dims(0, 1),
            rewards: Tensor::<2>::from_data(rewards, device).swap_dims(0, 1),
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
        (0..shards)
            .map(|shard| Self {
                images: images.clone().narrow(1, shard * count, count).reshape([
                    length * count,
                    channels,
                    height,
                    width,
                ]),
                actions: self.actions.clone().narrow(1, shard * count, count),
                rewards: self.rewards.clone().narrow(1, shard * count, count),
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
