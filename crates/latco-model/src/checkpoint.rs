use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use burn::{
    store::{
        FloatCastAdapter, HalfPrecisionAdapter, ModuleSnapshot, RecordError, SafetensorsStore,
        burn_pack::{self, AtomicFile},
    },
    tensor::{DType, Device},
};
use half::f16;
use latco_plan::ConfigError;
use safetensors::tensor::Dtype;
use thiserror::Error;

use crate::{WorldModel, WorldModelConfig, quantised};

/// The metadata key under which a checkpoint carries its [`WorldModelConfig`] as JSON.
const CONFIG_KEY: &str = "latco.world_model";

/// How weights are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Eight bits a weight, with a scale for each row of a matrix: for a page to load.
    Int8,
    /// 16 bits a weight, for shipping.
    Half,
    /// 32 bits a weight.
    Full,
}

/// Why a checkpoint could not be read or written.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The file cannot be opened.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not safetensors, or damaged.
    #[error("{} is not a safetensors file: {reason}", path.display())]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file's metadata hold no model sizes.
    #[error("{} is not a latco checkpoint: its metadata lack a readable `latco.world_model` ({reason})", path.display())]
    NoConfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The sizes in the metadata are not allowed.
    #[error("{} describes an impossible model: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Which size, and what is allowed.
        source: ConfigError,
    },
    /// Tensors are missing or of another shape than the sizes say.
    #[error("{} does not fit its own sizes: {reason}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What is missing or differs.
        reason: String,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The weights cannot be put into bytes.
    #[error("the weights cannot be written as safetensors: {reason}")]
    Encode {
        /// The reason.
        reason: String,
    },
    /// A training state cannot be packed or unpacked.
    #[error("the training state is damaged: {0}")]
    State(#[from] RecordError),
}

impl WorldModel {
    /// Writes the weights as safetensors, sizes in the metadata, by way of a temporary file.
    /// The same model gives the same bytes. `docs/checkpoints.md` lists the tensors.
    ///
    /// # Errors
    ///
    /// If a weight cannot be read back from the device, or the file cannot be written.
    pub fn save(&self, path: &Path, precision: Precision) -> Result<(), CheckpointError> {
        let bytes = self.to_bytes(precision)?;
        write(path, &bytes).map_err(|error| CheckpointError::Write {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    /// The bytes that [`save`](Self::save) writes, for those who write them elsewhere or otherwise.
    ///
    /// # Errors
    ///
    /// If a weight cannot be read back from the device, or fewer bits cannot hold it: it is not finite, or above
    /// 65,504 at half precision.
    pub fn to_bytes(&self, precision: Precision) -> Result<Vec<u8>, CheckpointError> {
        let encode = |reason| CheckpointError::Encode { reason };
        let full = self.stored(Precision::Full).map_err(encode)?;
        match precision {
            Precision::Full => Ok(full),
            Precision::Int8 => quantised::quantise(&full).map_err(encode),
            Precision::Half => {
                quantised::check_below(f16::MAX.to_f32(), &full).map_err(encode)?;
                self.stored(precision).map_err(encode)
            }
        }
    }

    /// The bytes in full or half precision.
    fn stored(&self, precision: Precision) -> Result<Vec<u8>, String> {
        let config = serde_json::to_string(self.config()).map_err(|error| error.to_string())?;
        // One entry alone: safetensors writes several in the random order of a hash map.
        let store = SafetensorsStore::from_bytes(None)
            .skip_enum_variants(true)
            .clear_metadata()
            .metadata(CONFIG_KEY, config);
        let mut store = match precision {
            Precision::Half => store.with_to_adapter(HalfPrecisionAdapter::new()),
            Precision::Full | Precision::Int8 => store,
        };
        self.save_into(&mut store)
            .map_err(|error| error.to_string())?;
        store.get_bytes().map_err(|error| error.to_string())
    }

    /// Reads a checkpoint that [`save`](Self::save) wrote, in whichever precision.
    ///
    /// # Errors
    ///
    /// If the file is missing, damaged, not a checkpoint, or does not fit its own sizes.
    pub fn load(path: &Path, device: &Device) -> Result<Self, CheckpointError> {
        let bytes = fs::read(path).map_err(|source| CheckpointError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(bytes, path, device)
    }

    /// Reads the bytes of a checkpoint that came from elsewhere than a file; errors call it `name`.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn from_bytes(
        bytes: Vec<u8>,
        name: impl AsRef<Path>,
        device: &Device,
    ) -> Result<Self, CheckpointError> {
        let path = name.as_ref();
        let (config, is_quantised) = read_header(path, &bytes)?;
        config
            .validate()
            .map_err(|source| CheckpointError::Config {
                path: path.to_owned(),
                source,
            })?;
        check_extent(path, &config, bytes.len())?;
        let mismatch = |reason: String| CheckpointError::Tensors {
            path: path.to_owned(),
            reason,
        };
        let bytes = match is_quantised {
            true => quantised::restore(&bytes).map_err(mismatch)?,
            false => bytes,
        };
        let mut model = Self::new(config, 0, device).map_err(|source| CheckpointError::Config {
            path: path.to_owned(),
            source,
        })?;
        // Whatever floats the file has: backends refuse products of two kinds of them.
        let mut store = SafetensorsStore::from_bytes(Some(bytes))
            .skip_enum_variants(true)
            .allow_partial(true)
            .with_from_adapter(FloatCastAdapter::to(DType::F32));
        let result = model
            .load_from(&mut store)
            .map_err(|error| mismatch(error.to_string()))?;
        if let Some(error) = result.errors.first() {
            return Err(mismatch(error.to_string()));
        }
        if let Some((name, _)) = result.missing.first() {
            return Err(mismatch(format!("tensor `{name}` is missing")));
        }
        if let Some(name) = result.unused.first() {
            return Err(mismatch(format!("unexpected tensor `{name}`")));
        }
        Ok(model)
    }
}

/// Refuses sizes whose weights a file of so many bytes cannot hold, before memory is taken for
/// them. Tensors that are merely missing are left to be named.
fn check_extent(
    path: &Path,
    config: &WorldModelConfig,
    bytes: usize,
) -> Result<(), CheckpointError> {
    let weights = config.weights();
    if weights / 8 <= bytes {
        return Ok(());
    }
    Err(CheckpointError::Tensors {
        path: path.to_owned(),
        reason: format!("they ask for {weights} weights, the file has {bytes} bytes"),
    })
}

/// The sizes that a file's header tells of, and whether its weights have eight bits.
fn read_header(path: &Path, bytes: &[u8]) -> Result<(WorldModelConfig, bool), CheckpointError> {
    let (_, metadata) = safetensors::SafeTensors::read_metadata(bytes).map_err(|error| {
        CheckpointError::NotSafetensors {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    })?;
    let no_config = |reason: String| CheckpointError::NoConfig {
        path: path.to_owned(),
        reason,
    };
    let config = metadata
        .metadata()
        .as_ref()
        .and_then(|entries| entries.get(CONFIG_KEY))
        .ok_or_else(|| no_config("no such entry".to_owned()))?;
    let config = serde_json::from_str(config).map_err(|error| no_config(error.to_string()))?;
    let dtypes: Vec<Dtype> = (metadata.tensors().values())
        .map(|tensor| tensor.dtype)
        .collect();
    Ok((config, quantised::is_quantised(&dtypes)))
}

/// Writes `bytes` by way of a temporary file beside `path`, whose name no other file has.
fn write(path: &Path, bytes: &[u8]) -> Result<(), burn_pack::Error> {
    let (temporary, mut file) = AtomicFile::create(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|error| burn_pack::Error::IoError(error.to_string()))?;
    drop(file);
    temporary.commit()
}
