//! What a problem is made of, and the tensor operations that several of them share.

use std::sync::OnceLock;

use burn::tensor::{Tensor, TensorData};

/// Exact dynamics with a start and a goal; the reward's head is no part of it.
pub(crate) trait Dynamics: Send + Sync {
    /// The first latent `z_0`, `[latent]`.
    fn start(&self) -> Vec<f32>;

    /// The size of an action.
    fn action_size(&self) -> usize;

    /// The latents `[rows, latent]` a step after `actions` `[rows, action]` at `latents`
    /// `[rows, latent]`.
    fn step(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2>;

    /// The squared distances d² of `latents` `[rows, latent]` to each part of the goal,
    /// `[rows, parts]`.
    fn squared_distances(&self, latents: Tensor<2>) -> Tensor<2>;
}

/// Column `index` of `rows` `[rows, columns]`, `[rows, 1]`.
pub(crate) fn column(rows: &Tensor<2>, index: usize) -> Tensor<2> {
    columns(rows, index, 1)
}

/// The `count` columns of `rows` from `first` on, `[rows, count]`.
pub(crate) fn columns(rows: &Tensor<2>, first: usize, count: usize) -> Tensor<2> {
    rows.clone().narrow(1, first, count)
}

/// `2 (1 − cos φ)`, the squared distance of the points at angles φ and 0 of the unit circle.
pub(crate) fn squared_chord(angles: Tensor<2>) -> Tensor<2> {
    angles.cos() * -2.0 + 2.0
}

/// A row of constants that stays on the device where it was first asked for.
pub(crate) struct Constants {
    values: Vec<f32>,
    kept: OnceLock<Tensor<2>>,
}

impl Constants {
    /// A row of `values`, on no device yet.
    pub(crate) fn new(values: Vec<f32>) -> Self {
        Self {
            values,
            kept: OnceLock::new(),
        }
    }

    /// The row `[1, values]` on the device of `inputs`, a constant to autodiff.
    pub(crate) fn beside(&self, inputs: &Tensor<2>) -> Tensor<2> {
        let device = inputs.device().inner();
        let upload = || {
            let shape = [1, self.values.len()];
            Tensor::from_data(TensorData::new(self.values.clone(), shape), &device)
        };
        let kept = self.kept.get_or_init(upload);
        if kept.device() == device {
            kept.clone()
        } else {
            upload()
        }
    }
}
