//! What the tests of the problems share.

use std::{collections::BTreeMap, fs};

use burn::tensor::{Device, Tensor, TensorData};
use latco_problems::{Head, Problem, ProblemSettings};
use serde::Deserialize;

/// A problem at some latents and actions, as `reference/values.py` computes it.
#[derive(Deserialize)]
pub struct Case {
    problem: String,
    size: usize,
    horizon: usize,
    width: f64,
    pub latents: Vec<Vec<f32>>,
    pub actions: Vec<Vec<f32>>,
    pub next: Vec<Vec<f64>>,
    pub log_rewards: BTreeMap<String, Vec<f64>>,
}

impl Case {
    /// Every case of the reference.
    pub fn all() -> Vec<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/values.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// The problem with this head.
    pub fn problem(&self, head: Head) -> Problem {
        let settings = ProblemSettings::of(&self.problem)
            .and_then(|settings| settings.with_size(self.size))
            .and_then(|settings| settings.with_horizon(self.horizon))
            .and_then(|settings| settings.with_width(self.width));
        Problem::new(settings.unwrap().with_head(head))
    }
}

/// `rows` as a tensor `[rows, columns]`.
pub fn tensor(rows: &[Vec<f32>]) -> Tensor<2> {
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), shape), &Device::default())
}

/// The numbers of a tensor, row by row.
pub fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}
