//! Episodes as `.npz` files in Dreamer's layout.
//!
//! | array | shape | type written | types read |
//! |---|---|---|---|
//! | `image` | `[T, height, width, 3]` | uint8 | uint8, also grey: `[T, height, width, 1]`, `[T, height, width]` |
//! | `action` | `[T, action_size]` | float32 | floats of 16 to 64 and integers of 8 to 64 bits, either byte order |
//! | `reward` | `[T]` | float32 | the same, and bool |
//! | `discount` | `[T]` | float32 | the same; all 1 where missing |
//! | `sparse_reward` | `[T]` | float32 | the same; may be missing |
//! | `action_low`, `action_high` | `[action_size]` | float32, where not −1 and 1 | the same; −1 and 1 where missing |
//! | `cameras` | `[1]` | float32, where several | the same, how many pictures lie side by side; 1 where missing |

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, Cursor, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::action::ActionSpace;
use crate::archive::{ByteRows, NpzArchive};
use crate::atomic;
use crate::environment::EnvError;
use crate::episode::{Episode, EpisodeArrays, EpisodeError, EpisodeSeries};
use crate::image;
use crate::npy::{self, ArrayError};
use crate::recorded::Recorded;

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
        field: String,
    },
    /// A field's array cannot be read.
    #[error("field `{field}` {source}")]
    Array {
        /// The field.
        field: String,
        /// What is wrong with its array.
        source: ArrayError,
    },
    /// The bounds of the actions are none.
    #[error("fields `action_low` and `action_high`: {0}")]
    Bounds(#[source] EnvError),
    /// The fields do not make an episode.
    #[error("{0}")]
    Episode(#[from] EpisodeError),
    /// What the reader of another format found.
    #[error("{0}")]
    Format(#[source] Box<dyn Error + Send + Sync>),
}

impl Episode {
    /// Writes a compressed `.npz` file, replacing what was there; it appears whole or not at all.
    ///
    /// # Errors
    /// [`EpisodeFileError`] names the file.
    pub fn save(&self, path: &Path) -> Result<(), EpisodeFileError> {
        self.save_by(path, CompressionMethod::Deflated)
    }

    /// Writes an `.npz` file without compression: larger, but sequences are read from where they lie.
    ///
    /// # Errors
    /// [`EpisodeFileError`] names the file.
    pub fn save_stored(&self, path: &Path) -> Result<(), EpisodeFileError> {
        self.save_by(path, CompressionMethod::Stored)
    }

    fn save_by(&self, path: &Path, method: CompressionMethod) -> Result<(), EpisodeFileError> {
        self.to_npz(method)
            .and_then(|bytes| Ok(atomic::write(path, &bytes)?))
            .map_err(|problem| at(path, problem))
    }

    /// Reads an `.npz` file from anywhere that keeps Dreamer's layout.
    ///
    /// # Errors
    /// [`EpisodeFileError`] names the file and the field. Memory stays bounded by what the file
    /// really holds, whatever its headers claim.
    pub fn load(path: &Path) -> Result<Self, EpisodeFileError> {
        Self::read(&NpzEpisode::open(path)?)
    }

    /// The bytes of the compressed `.npz` file.
    pub(crate) fn to_packed_npz(&self) -> Result<Vec<u8>, EpisodeFileProblem> {
        self.to_npz(CompressionMethod::Deflated)
    }

    /// The bytes of the `.npz` file.
    fn to_npz(&self, method: CompressionMethod) -> Result<Vec<u8>, EpisodeFileProblem> {
        let frames = self.len();
        let images = [frames, self.image_height(), self.image_width(), 3];
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let mut add = |field: &str, bytes: Vec<u8>| -> Result<(), EpisodeFileProblem> {
            let options = SimpleFileOptions::default().compression_method(method);
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
}

/// An episode in an `.npz` file: the series in memory, the images read when they are asked for.
///
/// An archive without compression (`numpy.savez`) is read where the frames lie; a compressed one is
/// unpacked from its first frame on.
#[derive(Clone, Debug)]
pub struct NpzEpisode {
    path: PathBuf,
    series: EpisodeSeries,
    images: ByteRows,
}

impl NpzEpisode {
    /// Reads all but the images, of which the header alone is looked at.
    ///
    /// # Errors
    /// [`EpisodeFileError`] names the file and the field. Memory stays bounded by what the file
    /// really holds, whatever its headers claim.
    pub fn open(path: &Path) -> Result<Self, EpisodeFileError> {
        Self::open_renamed(path, |_| None).map_err(|problem| at(path, problem))
    }

    /// The same where some arrays have other names, which `renamed` tells.
    ///
    /// # Errors
    /// As [`open`](Self::open), without the file's name.
    pub fn open_renamed(
        path: &Path,
        renamed: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, EpisodeFileProblem> {
        let mut fields = Fields {
            archive: NpzArchive::open(path)?,
            renamed: &renamed,
        };
        let (series, images) = fields.read_series()?;
        Ok(Self {
            path: path.to_path_buf(),
            series,
            images,
        })
    }

    /// Whether a pixel is one byte in the file.
    fn is_grey(&self) -> bool {
        !matches!(self.images.shape(), [_, _, _, 3])
    }
}

impl Recorded for NpzEpisode {
    fn path(&self) -> &Path {
        &self.path
    }

    fn series(&self) -> &EpisodeSeries {
        &self.series
    }

    fn images(&self, frames: Range<usize>) -> Result<Cow<'_, [u8]>, EpisodeFileError> {
        let read = self.images.read(frames);
        let bytes = read.map_err(|problem| at(&self.path, problem))?;
        Ok(Cow::Owned(match self.is_grey() {
            true => image::colour(&bytes),
            false => bytes,
        }))
    }

    fn each_image(&self, visit: &mut dyn FnMut(&[u8])) -> Result<(), EpisodeFileError> {
        let read = match self.is_grey() {
            true => self.images.each(&mut |row| visit(&image::colour(row))),
            false => self.images.each(visit),
        };
        read.map_err(|problem| at(&self.path, problem))
    }
}

fn at(path: &Path, problem: EpisodeFileProblem) -> EpisodeFileError {
    EpisodeFileError {
        path: path.to_path_buf(),
        problem,
    }
}

/// The arrays of an episode, under their names or others.
struct Fields<'a> {
    archive: NpzArchive,
    renamed: &'a dyn Fn(&str) -> Option<String>,
}

impl Fields<'_> {
    fn name(&self, field: &str) -> String {
        (self.renamed)(field).unwrap_or_else(|| field.to_owned())
    }

    /// All but the elements of the images.
    fn read_series(&mut self) -> Result<(EpisodeSeries, ByteRows), EpisodeFileProblem> {
        let image = self.name("image");
        let images = self.archive.byte_rows(&image)?;
        let images = images.ok_or_else(|| missing(&image))?;
        let (frames, image_height, image_width) = image_sides(&image, images.shape())?;
        let (action_size, actions) = self.read_actions()?;
        let rewards = self.read_numbers("reward")?;
        let rewards = rewards.ok_or_else(|| missing(&self.name("reward")))?;
        let discounts = self.read_numbers("discount")?;
        let cameras = self.read_numbers("cameras")?;
        let cameras = cameras.and_then(|values| values.first().copied());
        let series = EpisodeSeries::from_arrays(EpisodeArrays {
            image_height,
            image_width,
            // What is no number of cameras becomes none at all, which is refused.
            cameras: cameras.unwrap_or(1.0) as usize,
            action_space: self.read_bounds(action_size)?,
            images: Vec::new(),
            actions,
            discounts: discounts.unwrap_or_else(|| vec![1.0; rewards.len()]),
            rewards,
            sparse_rewards: self.read_numbers("sparse_reward")?,
        })?;
        let bytes = |frames: usize| frames.saturating_mul(series.frame_bytes());
        match frames == series.len() {
            true => Ok((series, images)),
            false => Err(EpisodeError::Length {
                field: "image",
                expected: bytes(series.len()),
                got: bytes(frames),
            }
            .into()),
        }
    }

    fn read_actions(&mut self) -> Result<(usize, Vec<f32>), EpisodeFileProblem> {
        let name = self.name("action");
        let array = self.archive.numbers(&name)?.ok_or_else(|| missing(&name))?;
        match *array.shape {
            [_, size] => Ok((size, array.values)),
            _ => Err(wrong_shape(&name, "[T, action_size]", &array.shape)),
        }
    }

    /// The bounds of the actions; the unit box where the file does not tell.
    fn read_bounds(&mut self, size: usize) -> Result<ActionSpace, EpisodeFileProblem> {
        if size == 0 {
            return Err(EpisodeError::Empty { field: "action" }.into());
        }
        let bounds = ["action_low", "action_high"].map(|field| self.read_numbers(field));
        let (low, high) = match bounds {
            [Err(problem), _] | [_, Err(problem)] => return Err(problem),
            [Ok(None), Ok(None)] => return Ok(ActionSpace::unit(size)),
            [Ok(None), _] => return Err(missing(&self.name("action_low"))),
            [_, Ok(None)] => return Err(missing(&self.name("action_high"))),
            [Ok(Some(low)), Ok(Some(high))] => (low, high),
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

    fn read_numbers(&mut self, field: &str) -> Result<Option<Vec<f32>>, EpisodeFileProblem> {
        let name = self.name(field);
        match self.archive.numbers(&name)? {
            Some(array) if array.shape.len() != 1 => Err(wrong_shape(&name, "[T]", &array.shape)),
            array => Ok(array.map(|array| array.values)),
        }
    }
}

/// Frames, height and width of an array of images.
fn image_sides(field: &str, shape: &[usize]) -> Result<(usize, usize, usize), EpisodeFileProblem> {
    match *shape {
        [frames, height, width, 1 | 3] | [frames, height, width] => Ok((frames, height, width)),
        _ => Err(wrong_shape(field, "[T, height, width, 3]", shape)),
    }
}

fn missing(field: &str) -> EpisodeFileProblem {
    EpisodeFileProblem::Missing {
        field: field.to_owned(),
    }
}

fn wrong_shape(field: &str, expected: &'static str, shape: &[usize]) -> EpisodeFileProblem {
    EpisodeFileProblem::Array {
        field: field.to_owned(),
        source: ArrayError::Shape {
            expected,
            got: shape.to_vec(),
        },
    }
}
