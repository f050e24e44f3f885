//! Arrays in HDF5 files, by `hdf5-pure`.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use hdf5_pure::{DType, Dataset, Error, File, Group};
use latco_env::{EpisodeFileProblem, MOST_NUMBERS, Numbers};

use crate::error::FormatProblem;
use crate::rows::RowSource;
use crate::table::{Arrays, Rows};

/// The most bytes that are read at once.
const LARGEST_READ: u64 = 1 << 30;

/// The largest piece that is unpacked at once.
const LARGEST_CHUNK: u64 = 256 << 20;

/// Filters that are not undone, by their registered numbers.
const UNKNOWN_FILTERS: [(u16, &str); 7] = [
    (4, "SZIP"),
    (307, "bzip2"),
    (32001, "Blosc"),
    (32004, "LZ4"),
    (32008, "bitshuffle"),
    (32015, "Zstandard"),
    (32026, "Blosc2"),
];

/// How many times larger than its file an array can be: deflate packs zeros 1032 to one.
const MOST_PACKED: u64 = 1100;

/// A group of arrays in a file, its root to begin with.
#[derive(Clone)]
pub(crate) struct Hdf5 {
    group: Group,
    file_bytes: u64,
}

impl Hdf5 {
    /// Opens a file, of which little more than what is asked for is read.
    pub fn open(path: &Path) -> Result<Self, EpisodeFileProblem> {
        let file_bytes = std::fs::metadata(path)?.len();
        let file = File::open_streaming(path).map_err(refused)?;
        Ok(Self {
            group: file.root(),
            file_bytes,
        })
    }

    /// A group within.
    pub fn group(&self, name: &str) -> Result<Self, EpisodeFileProblem> {
        Ok(Self {
            group: self.group.group(name).map_err(refused)?,
            file_bytes: self.file_bytes,
        })
    }

    /// The groups and the arrays.
    pub fn members(&self) -> Result<(Vec<String>, Vec<String>), EpisodeFileProblem> {
        let groups = self.group.groups().map_err(refused)?;
        Ok((groups, self.group.datasets().map_err(refused)?))
    }

    /// The array of counts of this name, if there is one; what is no count is 0.
    pub fn counts(&self, name: &str) -> Result<Option<Vec<usize>>, EpisodeFileProblem> {
        let Some(dataset) = self.dataset(name)? else {
            return Ok(None);
        };
        self.check_size(name, &dataset)?;
        let counts = dataset.read_i64().map_err(refused)?.into_iter();
        Ok(Some(
            counts
                .map(|count| usize::try_from(count).unwrap_or(0))
                .collect(),
        ))
    }

    /// The array at a path of names, if there is one.
    fn dataset(&self, path: &str) -> Result<Option<Dataset>, EpisodeFileProblem> {
        let mut group = self.group.clone();
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let among = |names: Vec<String>| names.iter().any(|known| known == name);
            let last = names.peek().is_none();
            if last && among(group.datasets().map_err(refused)?) {
                return group.dataset(name).map(Some).map_err(refused);
            }
            if last || !among(group.groups().map_err(refused)?) {
                return Ok(None);
            }
            group = group.group(name).map_err(refused)?;
        }
        Ok(None)
    }

    /// Refuses an array that claims more than its file can hold, or more than is read at once.
    fn check_size(&self, name: &str, dataset: &Dataset) -> Result<(), EpisodeFileProblem> {
        let shape = dataset.shape().map_err(refused)?;
        let claimed = self.claimed(dataset, &shape)?;
        let most = self.file_bytes.saturating_mul(MOST_PACKED);
        self.check_bytes(name, claimed, most)?;
        check_at_once(name, claimed, LARGEST_READ)?;
        let count = shape.iter().copied().fold(1, u64::saturating_mul);
        if count > MOST_NUMBERS {
            return Err(FormatProblem::Unsupported(format!(
                "`{name}` has shape {shape:?}, expected at most {MOST_NUMBERS} numbers"
            ))
            .into());
        }
        self.check_chunks(name, dataset)
    }

    /// Refuses pieces that are larger than is unpacked at once, or reach beyond the file.
    fn check_chunks(&self, name: &str, dataset: &Dataset) -> Result<(), EpisodeFileProblem> {
        if !dataset.is_chunked() {
            return Ok(());
        }
        let filters = dataset.filters();
        if let Some((number, filter)) =
            (UNKNOWN_FILTERS.iter()).find(|(id, _)| filters.contains(id))
        {
            return Err(FormatProblem::Unsupported(format!(
                "`{name}` is packed by {filter} (filter {number}), expected deflate, LZF or nothing: \
                 `h5repack -f GZIP=4 IN OUT` writes it so, with h5py `create_dataset(compression=\"gzip\")`"
            ))
            .into());
        }
        let shape = dataset.chunk_shape().map_err(refused)?;
        let unpacked = self.claimed(dataset, &shape.unwrap_or_default())?;
        check_at_once(name, unpacked, LARGEST_CHUNK)?;
        for chunk in dataset.chunks().map_err(refused)? {
            let end = chunk.address.saturating_add(chunk.storage_size);
            self.check_bytes(name, end, self.file_bytes)?;
        }
        Ok(())
    }

    fn claimed(&self, dataset: &Dataset, shape: &[u64]) -> Result<u64, EpisodeFileProblem> {
        let element = dataset.element_size().map_err(refused)?;
        let bytes = (shape.iter()).fold(element, |bytes, &side| bytes.saturating_mul(side));
        Ok(bytes)
    }

    fn check_bytes(&self, name: &str, claimed: u64, most: u64) -> Result<(), EpisodeFileProblem> {
        match claimed <= most {
            true => Ok(()),
            false => Err(FormatProblem::Size {
                name: name.to_owned(),
                claimed,
                file: self.file_bytes,
            }
            .into()),
        }
    }
}

impl Arrays for Hdf5 {
    fn names(&self) -> Result<BTreeSet<String>, EpisodeFileProblem> {
        let (groups, datasets) = self.members()?;
        let groups = groups.into_iter().map(|group| format!("{group}/…"));
        Ok(datasets.into_iter().chain(groups).collect())
    }

    fn numbers(&mut self, name: &str) -> Result<Option<Numbers>, EpisodeFileProblem> {
        let Some(dataset) = self.dataset(name)? else {
            return Ok(None);
        };
        self.check_size(name, &dataset)?;
        let shape = sides(&dataset.shape().map_err(refused)?);
        let values: Vec<f32> = match dataset.dtype().map_err(refused)? {
            // numpy's bool is an enumeration of a byte.
            DType::Enum(_) if dataset.element_size().map_err(refused)? == 1 => {
                let bytes = dataset.read_raw().map_err(refused)?;
                bytes.into_iter().map(f32::from).collect()
            }
            _ => {
                let values = dataset.read_f64().map_err(refused)?;
                values.into_iter().map(|value| value as f32).collect()
            }
        };
        // Of types that it does not know, such as half precision, the library gives nothing.
        match values.len() == shape.iter().product::<usize>() {
            true => Ok(Some(Numbers { shape, values })),
            false => Err(FormatProblem::Elements {
                name: name.to_owned(),
                expected: "integers, or floats of 32 or 64 bits",
                got: dataset.dtype().map_err(refused)?.to_string(),
            }
            .into()),
        }
    }

    fn rows(&mut self, name: &str) -> Result<Option<Rows>, EpisodeFileProblem> {
        let Some(dataset) = self.dataset(name)? else {
            return Ok(None);
        };
        let shape = dataset.shape().map_err(refused)?;
        match dataset.dtype().map_err(refused)? {
            DType::U8 if !shape.is_empty() => {}
            other => {
                return Err(FormatProblem::Elements {
                    name: name.to_owned(),
                    expected: "uint8",
                    got: other.to_string(),
                }
                .into());
            }
        }
        let most = self.file_bytes.saturating_mul(MOST_PACKED);
        self.check_bytes(name, self.claimed(&dataset, &shape)?, most)?;
        self.check_chunks(name, &dataset)?;
        let shape = sides(&shape);
        let rows = Hdf5Rows {
            name: name.to_owned(),
            row_bytes: shape.iter().skip(1).product(),
            dataset,
        };
        Ok(Some((shape, Arc::new(rows))))
    }
}

/// Rows of an array of bytes.
struct Hdf5Rows {
    name: String,
    row_bytes: usize,
    dataset: Dataset,
}

impl fmt::Debug for Hdf5Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hdf5Rows").field(&self.name).finish()
    }
}

impl RowSource for Hdf5Rows {
    fn read(&self, rows: Range<usize>) -> Result<Vec<u8>, EpisodeFileProblem> {
        let expected = rows.len().saturating_mul(self.row_bytes);
        check_at_once(&self.name, expected as u64, LARGEST_READ)?;
        let (start, count) = (rows.start as u64, rows.len() as u64);
        let bytes = self.dataset.read_raw_rows(start, count).map_err(refused)?;
        match bytes.len() == expected {
            true => Ok(bytes),
            false => Err(FormatProblem::Rows {
                name: self.name.clone(),
                expected: rows.len(),
                got: bytes.len() / self.row_bytes.max(1),
            }
            .into()),
        }
    }
}

/// Refuses what is larger than is read or unpacked at once, be it in the file or only claimed.
fn check_at_once(name: &str, bytes: u64, most: u64) -> Result<(), EpisodeFileProblem> {
    match bytes <= most {
        true => Ok(()),
        false => Err(FormatProblem::Unsupported(format!(
            "`{name}` claims {bytes} bytes at once, expected at most {most}"
        ))
        .into()),
    }
}

fn sides(shape: &[u64]) -> Vec<usize> {
    let side = |&side: &u64| usize::try_from(side).unwrap_or(usize::MAX);
    shape.iter().map(side).collect()
}

fn refused(error: Error) -> EpisodeFileProblem {
    FormatProblem::Library(Box::new(error)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_at_once_is_not_called_larger_than_its_file() {
        assert!(check_at_once("pixels", LARGEST_READ, LARGEST_READ).is_ok());
        let file = Hdf5::open("tests/data/swm_plain.h5".as_ref()).unwrap();
        let rows = Hdf5Rows {
            name: "pixels".to_owned(),
            row_bytes: 25 << 20,
            dataset: file.dataset("pixels").unwrap().unwrap(),
        };
        let message = rows.read(0..64).unwrap_err().to_string();
        assert!(
            message.contains("1677721600 bytes at once") && !message.contains("file"),
            "{message}"
        );
    }
}
