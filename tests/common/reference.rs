//! Weights, inputs and double-precision results of an independent implementation.
//!
//! `tests/data/small.safetensors` is always read; the environment variable `LATCO_ORACLE` names a
//! folder with more such files.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use burn::{
    module::Param,
    nn::Linear,
    tensor::{Device, Tensor, TensorData},
};
use latco_model::{Activation, Dynamics, Gru, RewardHead, RewardKind, Rssm};
use latco_plan::{
    DiagonalGaussian, Differentiable, LatentModel, Linearisation, Objective, RewardLinearisation,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// One file.
pub struct Reference {
    /// The file's name.
    pub name: String,
    tensors: BTreeMap<String, Array>,
}

/// A tensor on the host.
struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Reference {
    /// The file that the tests carry, then every file of the folder in `LATCO_ORACLE`.
    pub fn all() -> Vec<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small.safetensors");
        let mut paths = vec![own];
        if let Some(folder) = env::var_os("LATCO_ORACLE") {
            paths.extend(files_in(Path::new(&folder)));
        }
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, Array::read(&view)))
            .collect();
        Self {
            name: path.display().to_string(),
            tensors,
        }
    }

    /// The values of a tensor, in row-major order.
    pub fn values(&self, name: &str) -> &[f64] {
        &self.array(name).values
    }

    /// A tensor in single precision.
    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let array = self.array(name);
        let values: Vec<f32> = array.values.iter().map(|&value| value as f32).collect();
        Tensor::from_data(TensorData::new(values, array.shape.clone()), device)
    }

    /// The model that the results are of.
    pub fn model(&self, device: &Device) -> ReferenceModel {
        let layer = |name: &str| Linear {
            weight: Param::from_tensor(self.tensor(&format!("weights.{name}.weight"), device)),
            bias: Some(Param::from_tensor(
                self.tensor(&format!("weights.{name}.bias"), device),
            )),
        };
        let rssm = Rssm {
            recurrent_input: layer("img1"),
            gru: Gru {
                input: layer("gru_x"),
                state: layer("gru_h"),
            },
            prior_hidden: layer("img2"),
            prior_output: layer("img3"),
            posterior_hidden: layer("obs1"),
            posterior_output: layer("obs2"),
            activation: Activation::Elu,
        };
        let reward = ["rew1", "rew2", "rew3"].map(layer).to_vec();
        ReferenceModel {
            dynamics: Dynamics::Rssm(rssm),
            reward: RewardHead::from_layers(reward, RewardKind::Gaussian, Activation::Elu),
            latent_size: self.array("step.latent").shape[1],
            action_size: self.array("step.action").shape[1],
        }
    }

    fn array(&self, name: &str) -> &Array {
        let found = self.tensors.get(name);
        found.unwrap_or_else(|| panic!("{} has no tensor `{name}`", self.name))
    }
}

impl Array {
    fn read(view: &TensorView<'_>) -> Self {
        let bytes = view.data();
        let values = match view.dtype() {
            Dtype::F32 => decode(bytes, |bytes| f64::from(f32::from_le_bytes(bytes))),
            Dtype::F64 => decode(bytes, f64::from_le_bytes),
            Dtype::I64 => decode(bytes, |bytes| i64::from_le_bytes(bytes) as f64),
            other => panic!("tensors of {other:?} are not expected"),
        };
        Self {
            shape: view.shape().to_vec(),
            values,
        }
    }
}

fn decode<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let (numbers, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty());
    numbers.iter().map(|&bytes| number(bytes)).collect()
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("LATCO_ORACLE={}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|ending| ending == "safetensors")
        })
        .collect();
    assert!(
        !files.is_empty(),
        "LATCO_ORACLE={} has no safetensors files",
        folder.display()
    );
    files.sort();
    files
}

/// Dynamics and reward head with the weights of a file.
pub struct ReferenceModel {
    /// The recurrent state-space model.
    pub dynamics: Dynamics,
    reward: RewardHead,
    latent_size: usize,
    action_size: usize,
}

impl LatentModel for ReferenceModel {
    fn latent_size(&self) -> usize {
        self.latent_size
    }

    fn action_size(&self) -> usize {
        self.action_size
    }

    fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        self.dynamics.prior(latents, actions)
    }

    fn transition_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        self.dynamics.prior_mean(latents, actions)
    }

    fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
        self.reward.expected(latents)
    }

    fn as_differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for ReferenceModel {
    fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation + '_> {
        self.dynamics.linearise(latents, actions)
    }

    fn linearise_moments(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation + '_> {
        self.dynamics.linearise_gaussian(latents, actions)
    }

    fn linearise_reward(&self, latents: Tensor<2>, objective: Objective) -> RewardLinearisation {
        self.reward.linearise(latents, objective)
    }
}
