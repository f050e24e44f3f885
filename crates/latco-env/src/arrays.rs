//! All arrays of an `.npz` file, such as the weights of a model.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use crate::npy::{Array, ArrayError};

/// The most bytes of elements that are read from one file.
const LARGEST_TOTAL: u64 = 1 << 30;

/// An array of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatArray {
    /// Its name, without `.npy`.
    pub name: String,
    /// Its sides.
    pub shape: Vec<usize>,
    /// Its elements in row-major order, whatever their type in the file.
    pub values: Vec<f32>,
}

/// Why the arrays of a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArraysError {
    /// It could not be opened.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no `.npz` archive, or a damaged one.
    #[error("not a usable npz archive: {0}")]
    Archive(#[from] ZipError),
    /// An array cannot be read.
    #[error("array `{name}` {source}")]
    Array {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: ArrayError,
    },
    /// The arrays are larger than any model.
    #[error("the arrays take more than 1 GiB")]
    Large,
}

/// Reads all arrays of an `.npz` file in the order in which `numpy.savez` wrote them. Arrays of
/// Python objects, which are pickles, are refused.
///
/// # Errors
/// If the file is missing or damaged, or an array is not one of numbers. Memory stays bounded by
/// what the file really holds, and by 1 GiB.
pub fn read_arrays(path: &Path) -> Result<Vec<FloatArray>, ArraysError> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
    let mut left = LARGEST_TOTAL;
    let mut arrays = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index)?;
        let length = entry.size();
        left = left.checked_sub(length).ok_or(ArraysError::Large)?;
        let name = entry.name()?.trim_end_matches(".npy").to_owned();
        match Array::read(entry, length) {
            Ok(array) => arrays.push(FloatArray {
                name,
                shape: array.shape.clone(),
                values: array.to_floats(),
            }),
            Err(source) => return Err(ArraysError::Array { name, source }),
        }
    }
    Ok(arrays)
}
