//! The bytes of `training.state`.

use burn::tensor::Bytes;
use latco_env::ChaCha8Rng;
use latco_model::{Activation, RewardKind, TrainerState, WorldModelConfig};
use latco_plan::Noise;
use rand_core::SeedableRng;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Guards the bytes against damage.
const CHECKSUM: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// What the bytes begin with since version 0.2; before, they had no mark.
const MARK: &[u8] = b"latco.state.2\n";

/// What the marks of all versions begin with.
const MARKS: &[u8] = b"latco.state.";

/// Why bytes are no state that can be restored.
#[derive(Debug)]
pub(crate) enum StateError {
    /// A later version wrote them.
    Later,
    /// They are damaged: what is wrong with them.
    Damaged(String),
}

/// Where a run stands, apart from its weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub step: usize,
    pub episodes: usize,
    pub metrics_bytes: u64,
    pub seconds: f64,
    pub sampler: ChaCha8Rng,
}

impl Counters {
    pub fn new(seed: u64) -> Self {
        Self {
            step: 0,
            episodes: 0,
            metrics_bytes: 0,
            seconds: 0.0,
            sampler: ChaCha8Rng::seed_from_u64(seed),
        }
    }
}

/// Everything that a run goes on from.
pub(crate) struct SavedState {
    pub sizes: WorldModelConfig,
    pub counters: Counters,
    pub trainer: TrainerState,
}

/// The layout of the bytes; `S` tells the model's sizes.
#[derive(Serialize, Deserialize)]
struct Layout<S> {
    sizes: S,
    counters: Counters,
    noise: Noise,
    #[serde(with = "serde_bytes")]
    model: Vec<u8>,
    #[serde(with = "serde_bytes")]
    optimizer: Vec<u8>,
}

impl SavedState {
    /// The bytes, checksum included.
    ///
    /// # Errors
    ///
    /// Says what cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let layout = Layout {
            // As JSON, so that settings may be added.
            sizes: serde_json::to_string(&self.sizes).map_err(|error| error.to_string())?,
            counters: self.counters.clone(),
            noise: self.trainer.noise.clone(),
            model: self.trainer.model.to_vec(),
            optimizer: self.trainer.optimizer.to_vec(),
        };
        let body = postcard::to_stdvec_crc32(&layout, CHECKSUM.digest());
        let body = body.map_err(|error| error.to_string())?;
        Ok([MARK, &body].concat())
    }

    /// The state in the bytes of this version or of 0.1.
    ///
    /// # Errors
    ///
    /// Says what is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        match bytes.strip_prefix(MARK) {
            Some(body) => {
                let layout: Layout<String> = read(body)?;
                let sizes = serde_json::from_str(&layout.sizes)
                    .map_err(|error| StateError::Damaged(error.to_string()))?;
                Ok(Self::from_layout(layout, sizes))
            }
            None if bytes.starts_with(MARKS) => Err(StateError::Later),
            None => {
                let layout: Layout<EarlierSizes> = read(bytes)?;
                let sizes = layout.sizes.clone().into();
                Ok(Self::from_layout(layout, sizes))
            }
        }
    }

    fn from_layout<S>(layout: Layout<S>, sizes: WorldModelConfig) -> Self {
        Self {
            sizes,
            counters: layout.counters,
            trainer: TrainerState {
                model: Bytes::from_bytes_vec(layout.model),
                optimizer: Bytes::from_bytes_vec(layout.optimizer),
                noise: layout.noise,
            },
        }
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    postcard::from_bytes_crc32(bytes, CHECKSUM.digest())
        .map_err(|error| StateError::Damaged(error.to_string()))
}

/// The sizes of a model of version 0.1, in the order of their bytes.
#[derive(Clone, Serialize, Deserialize)]
struct EarlierSizes {
    image_size: usize,
    pooling: usize,
    action_size: usize,
    stochastic: usize,
    deterministic: usize,
    hidden: usize,
    reward_units: usize,
    depth: usize,
    reward: RewardKind,
    activation: Activation,
}

impl From<EarlierSizes> for WorldModelConfig {
    fn from(sizes: EarlierSizes) -> Self {
        Self {
            image_size: sizes.image_size,
            pooling: sizes.pooling,
            stochastic: sizes.stochastic,
            deterministic: sizes.deterministic,
            hidden: sizes.hidden,
            reward_units: sizes.reward_units,
            depth: sizes.depth,
            reward: sizes.reward,
            activation: sizes.activation,
            ..Self::small(sizes.action_size)
        }
    }
}
