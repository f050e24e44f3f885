//! Episodes as `.npz` files in Dreamer's layout.
//!
//! | array | shape | type written | types read |
//! |---|---|---|---|
//! | `image` | `[T, height, width, 3]` | uint8 | uint8, also grey: `[T, height, width, 1]`, `[T, height, width]` |
//! | `action` | `[T, action_size]` | float32 | floats and integers of 8 to 64 bits, either byte order |
//! | `reward` | `[T]` | float32 | the same, and bool |
//! | `discount` | `[T]` | float32 | the same; all 1 where missing |
//! | `sparse_reward` | `[T]` | float32 | the same; may be missing |
//! | `action_low`, `action_high` | `[action_size]` | float32, where not −1 and 1 | the same; −1 and 1 where missing |
//! | `cameras` | `[1]` | float32, where several | the same, how many pictures lie side by side; 1 where missing |

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::action::ActionSpace;
use crate::atomic;
use crate::environment::EnvError;
use crate::episode::{Episode, EpisodeArrays, EpisodeError};
use crate::image;
use crate::npy::{self, Array, ArrayError};

/// A file that is not a usable episode, or could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct EpisodeFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: EpisodeFileProblem,
}

/// What is wrong with an episode file.
#[derive(Debug, thiserror::Error)]
pub enum EpisodeFileProblem {
    /// It could not be opened or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no `.npz` archive, or a damaged one.
    #[error("not a usable npz archive: {0}")]
    Archive(#[from] ZipError),
    /// A field is missing.
    #[error("field `{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field's array cannot be read.
    #[error("field `{field}` {source}")]
    Array {
        /// The field.
        field: &'static str,
        /// What is wrong with its array.
        source: ArrayError,
    },
    /// The bounds of the actions are none.
    #[error("fields `action_low` and `action_high`: {0}")]
    Bounds(#[source] EnvError),
    /// The fields do not make an episode.
    #[error("{0}")]
    Episode(#[from] EpisodeError),
}

impl Episode {
    /// Writes a compressed `.npz` file, replacing what was there; it appears whole or not at all.
    ///
    /// # Errors
    /// [`EpisodeFileError`] names the file.
    pub fn save(&self, path: &Path) -> Result<(), EpisodeFileError> {
        self.to_npz()
            .and_then(|bytes| Ok(atomic::write(path, &bytes)?))
            .map_err(|problem| at(path, problem))
    }

    /// Reads an `.npz` file from anywhere that keeps Dreamer's layout.
    ///
    /// # Errors
    /// [`EpisodeFileError`] names the file and the field. Memory stays bounded by what the file
    /// really holds, whatever its headers claim.
    pub fn load(path: &Path) -> Result<Self, EpisodeFileError> {
        File::open(path)
            .map_err(EpisodeFileProblem::from)
            .and_then(|file| Self::from_npz(BufReader::new(file)))
            .map_err(|problem| at(path, problem))
    }

    /// The bytes of the `.npz` file.
    pub(crate) fn to_npz(&self) -> Result<Vec<u8>, EpisodeFileProblem> {
        let frames = self.len();
        let images = [frames, self.image_height(), self.image_width(), 3];
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let mut add = |field: &str, bytes: Vec<u8>| -> Result<(), EpisodeFileProblem> {
            let options =
                SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            archive.start_file(format!("{field}.npy"), options)?;
            Ok(archive.write_all(&bytes)?)
        };
        add("image", npy::bytes_to_npy(&images, self.images()))?;
        add(
            "action",
            npy::floats_to_npy(&[frames, self.action_size()], self.actions()),
        )?;
        add("reward", npy::floats_to_npy(&[frames], self.rewards()))?;
        add("discount", npy::floats_to_npy(&[frames], self.discounts()))?;
        if let Some(sparse_rewards) = self.sparse_rewards() {
            add(
                "sparse_reward",
                npy::floats_to_npy(&[frames], sparse_rewards),
            )?;
        }
        let space = self.action_space();
        if !space.is_unit() {
            let bounds = [("action_low", space.low()), ("action_high", space.high())];
            for (field, bound) in bounds {
                add(field, npy::floats_to_npy(&[space.size()], bound))?;
            }
        }
        if self.cameras() > 1 {
            add(
                "cameras",
                npy::floats_to_npy(&[1], &[self.cameras() as f32]),
            )?;
        }
        Ok(archive.finish()?.into_inner())
    }

    fn from_npz(file: impl Read + Seek) -> Result<Self, EpisodeFileProblem> {
        let mut archive = ZipArchive::new(file)?;
        let (image_height, image_width, images) = read_images(&mut archive)?;
        let (action_size, actions) = read_actions(&mut archive)?;
        let rewards = read_series(&mut archive, "reward")?
            .ok_or(EpisodeFileProblem::Missing { field: "reward" })?;
        let discounts =
            read_series(&mut archive, "discount")?.unwrap_or_else(|| vec![1.0; rewards.len()]);
        let sparse_rewards = read_series(&mut archive, "sparse_reward")?;
        let action_space = read_bounds(&mut archive, action_size)?;
        let cameras = read_series(&mut archive, "cameras")?;
        let cameras = cameras.and_then(|values| values.first().copied());
        Ok(Self::from_arrays(EpisodeArrays {
            image_height,
            image_width,
            // What is no number of cameras becomes none at all, which is refused.
            cameras: cameras.unwrap_or(1.0) as usize,
            action_space,
            images,
            actions,
            rewards,
            discounts,
            sparse_rewards,
        })?)
    }
}

fn at(path: &Path, problem: EpisodeFileProblem) -> EpisodeFileError {
    EpisodeFileError {
        path: path.to_path_buf(),
        problem,
    }
}

type Archive<R> = ZipArchive<R>;

fn read_images<R: Read + Seek>(
    archive: &mut Archive<R>,
) -> Result<(usize, usize, Vec<u8>), EpisodeFileProblem> {
    let field = "image";
    let array = read_array(archive, field)?.ok_or(EpisodeFileProblem::Missing { field })?;
    let (height, width, grey) = match array.shape.as_slice() {
        &[_, height, width, 3] => (height, width, false),
        &[_, height, width] | &[_, height, width, 1] => (height, width, true),
        _ => return Err(wrong_shape(field, "[T, height, width, 3]", array)),
    };
    let images = array
        .into_bytes()
        .map_err(|source| EpisodeFileProblem::Array { field, source })?;
    Ok((
        height,
        width,
        if grey { image::colour(&images) } else { images },
    ))
}

fn read_actions<R: Read + Seek>(
    archive: &mut Archive<R>,
) -> Result<(usize, Vec<f32>), EpisodeFileProblem> {
    let field = "action";
    let array = read_array(archive, field)?.ok_or(EpisodeFileProblem::Missing { field })?;
    let &[_, size] = array.shape.as_slice() else {
        return Err(wrong_shape(field, "[T, action_size]", array));
    };
    Ok((size, array.to_floats()))
}

/// The bounds of the actions; the unit box where the file does not tell.
fn read_bounds<R: Read + Seek>(
    archive: &mut Archive<R>,
    size: usize,
) -> Result<ActionSpace, EpisodeFileProblem> {
    if size == 0 {
        return Err(EpisodeError::Empty { field: "action" }.into());
    }
    let (Some(low), Some(high)) = (
        read_series(archive, "action_low")?,
        read_series(archive, "action_high")?,
    ) else {
        return Ok(ActionSpace::unit(size));
    };
    let space = ActionSpace::new(low, high).map_err(EpisodeFileProblem::Bounds)?;
    match space.size() == size {
        true => Ok(space),
        false => Err(EpisodeError::Length {
            field: "action_low",
            expected: size,
            got: space.size(),
        }
        .into()),
    }
}

fn read_series<R: Read + Seek>(
    archive: &mut Archive<R>,
    field: &'static str,
) -> Result<Option<Vec<f32>>, EpisodeFileProblem> {
    match read_array(archive, field)? {
        Some(array) if array.shape.len() != 1 => Err(wrong_shape(field, "[T]", array)),
        array => Ok(array.map(|array| array.to_floats())),
    }
}

fn wrong_shape(field: &'static str, expected: &'static str, array: Array) -> EpisodeFileProblem {
    EpisodeFileProblem::Array {
        field,
        source: ArrayError::Shape {
            expected,
            got: array.shape,
        },
    }
}

/// The array of this name. Entries are only looked up by name and only read, never unpacked to
/// paths.
fn read_array<R: Read + Seek>(
    archive: &mut Archive<R>,
    field: &'static str,
) -> Result<Option<Array>, EpisodeFileProblem> {
    let entry = match archive.by_name(&format!("{field}.npy")) {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let length = entry.size();
    Array::read(entry, length)
        .map(Some)
        .map_err(|source| EpisodeFileProblem::Array { field, source })
}
