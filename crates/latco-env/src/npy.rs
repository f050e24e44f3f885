//! Arrays in numpy's `.npy` format, read with suspicion.
//!
//! An array is a header of text that claims an element type and a shape, and then the elements.
//! The reader believes no claim: the header's length is bounded, the size that follows from type
//! and shape must equal the bytes that the container says are left, and the buffer grows only
//! with bytes that are really there.

use std::io::{self, Read};

/// Longest header that is read: numpy itself writes 118 to about 250 bytes for plain arrays.
const LONGEST_HEADER: usize = 4096;
/// Largest array that is read, in bytes.
const LARGEST_ARRAY: u64 = 1 << 30;
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Why an array cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArrayError {
    /// The bytes could not be read, unpacked, or end too early.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The header is not one that numpy writes.
    #[error("is not a numpy array: {0}")]
    Header(&'static str),
    /// The elements are of another type.
    #[error("has elements of type `{got}`, expected {expected}")]
    DataType {
        /// Types that are accepted.
        expected: &'static str,
        /// The type in the header.
        got: String,
    },
    /// The elements are stored column by column.
    #[error("is stored in Fortran order, expected C order (numpy.ascontiguousarray)")]
    FortranOrder,
    /// The shape is another.
    #[error("has shape {got:?}, expected {expected}")]
    Shape {
        /// The shape in words.
        expected: &'static str,
        /// The shape in the header.
        got: Vec<usize>,
    },
    /// The claimed size is not the size that is there, or over the limit of 1 GiB.
    #[error("claims a shape of {shape:?} but holds {bytes} bytes of elements (limit 1 GiB)")]
    Size {
        /// The shape in the header.
        shape: Vec<usize>,
        /// Bytes of elements.
        bytes: u64,
    },
}

/// An element type that episodes use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataType {
    Bool,
    UnsignedByte,
    Int32,
    Int64,
    Float32,
    Float64,
}

impl DataType {
    fn parse(description: &str) -> Option<Self> {
        match description {
            "|b1" => Some(Self::Bool),
            "|u1" => Some(Self::UnsignedByte),
            "<i4" => Some(Self::Int32),
            "<i8" => Some(Self::Int64),
            "<f4" => Some(Self::Float32),
            "<f8" => Some(Self::Float64),
            _ => None,
        }
    }

    fn size(self) -> usize {
        match self {
            Self::Bool | Self::UnsignedByte => 1,
            Self::Int32 | Self::Float32 => 4,
            Self::Int64 | Self::Float64 => 8,
        }
    }
}

/// An array as read: its shape and its elements, not yet converted.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    data_type: DataType,
    bytes: Vec<u8>,
}

impl Array {
    /// Reads an array of which the container says that it is `length` bytes long.
    pub(crate) fn read(mut reader: impl Read, length: u64) -> Result<Self, ArrayError> {
        let header = Header::read(&mut reader)?;
        let there = length.saturating_sub(header.length);
        let claimed = header.claimed_bytes();
        if claimed != Some(there) || there > LARGEST_ARRAY {
            return Err(ArrayError::Size {
                shape: header.shape,
                bytes: there,
            });
        }
        let mut bytes = Vec::new();
        reader.take(there).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != there {
            return Err(ArrayError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Self {
            shape: header.shape,
            data_type: header.data_type,
            bytes,
        })
    }

    /// The elements of an array of bytes.
    pub(crate) fn into_bytes(self) -> Result<Vec<u8>, ArrayError> {
        match self.data_type {
            DataType::UnsignedByte => Ok(self.bytes),
            other => Err(ArrayError::DataType {
                expected: "uint8",
                got: format!("{other:?}").to_lowercase(),
            }),
        }
    }

    /// The elements as single precision numbers, whatever their type.
    pub(crate) fn to_floats(&self) -> Vec<f32> {
        match self.data_type {
            DataType::Bool | DataType::UnsignedByte => {
                self.bytes.iter().map(|&byte| f32::from(byte)).collect()
            }
            DataType::Int32 => self.convert(|bytes| i32::from_le_bytes(bytes) as f32),
            DataType::Int64 => self.convert(|bytes| i64::from_le_bytes(bytes) as f32),
            DataType::Float32 => self.convert(f32::from_le_bytes),
            DataType::Float64 => self.convert(|bytes| f64::from_le_bytes(bytes) as f32),
        }
    }

    fn convert<const SIZE: usize>(&self, element: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
        let (elements, _) = self.bytes.as_chunks::<SIZE>();
        elements.iter().map(|&bytes| element(bytes)).collect()
    }
}

struct Header {
    data_type: DataType,
    shape: Vec<usize>,
    /// Bytes from the magic string to the first element.
    length: u64,
}

impl Header {
    fn read(reader: &mut impl Read) -> Result<Self, ArrayError> {
        let mut start = [0; 8];
        reader.read_exact(&mut start)?;
        if &start[..6] != MAGIC {
            return Err(ArrayError::Header("the magic string is missing"));
        }
        let (text_length, before_text) = text_length(reader, start[6])?;
        if text_length > LONGEST_HEADER {
            return Err(ArrayError::Header("the header is too long"));
        }
        let mut text = vec![0; text_length];
        reader.read_exact(&mut text)?;
        let text = str::from_utf8(&text).map_err(|_| ArrayError::Header("it is not text"))?;
        Self::parse(text, (before_text + text_length) as u64)
    }

    fn parse(text: &str, length: u64) -> Result<Self, ArrayError> {
        if entry(text, "fortran_order")?.starts_with("True") {
            return Err(ArrayError::FortranOrder);
        }
        let description = between(entry(text, "descr")?, '\'', '\'')
            .ok_or(ArrayError::Header("the element type is not a plain one"))?;
        let data_type = DataType::parse(description).ok_or_else(|| ArrayError::DataType {
            expected: "uint8, bool, int32, int64, float32 or float64 (little-endian)",
            got: description.to_owned(),
        })?;
        let shape = between(entry(text, "shape")?, '(', ')')
            .ok_or(ArrayError::Header("the shape is not a tuple"))?
            .split(',')
            .map(str::trim)
            .filter(|side| !side.is_empty())
            .map(|side| {
                side.parse()
                    .map_err(|_| ArrayError::Header("a side of the shape is no count"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            data_type,
            shape,
            length,
        })
    }

    /// Bytes that elements of this type and shape take, where that can be counted.
    fn claimed_bytes(&self) -> Option<u64> {
        self.shape
            .iter()
            .try_fold(self.data_type.size() as u64, |size, &side| {
                size.checked_mul(side as u64)
            })
    }
}

/// The length of the header's text, and the number of bytes before it.
fn text_length(reader: &mut impl Read, version: u8) -> Result<(usize, usize), ArrayError> {
    match version {
        1 => {
            let mut length = [0; 2];
            reader.read_exact(&mut length)?;
            Ok((usize::from(u16::from_le_bytes(length)), 10))
        }
        2 | 3 => {
            let mut length = [0; 4];
            reader.read_exact(&mut length)?;
            Ok((u32::from_le_bytes(length) as usize, 12))
        }
        _ => Err(ArrayError::Header("the format version is unknown")),
    }
}

/// What follows a key of the header's Python dictionary.
fn entry<'a>(text: &'a str, key: &'static str) -> Result<&'a str, ArrayError> {
    text.split_once(&format!("'{key}':"))
        .map(|(_, rest)| rest.trim_start())
        .ok_or(ArrayError::Header(
            "a key of descr, fortran_order, shape is missing",
        ))
}

/// What stands between two delimiters at the start of `text`.
fn between(text: &str, open: char, close: char) -> Option<&str> {
    text.strip_prefix(open)?
        .split_once(close)
        .map(|(inside, _)| inside)
}

/// An array of bytes in the `.npy` format, version 1.0.
pub(crate) fn bytes_to_npy(shape: &[usize], elements: &[u8]) -> Vec<u8> {
    let mut file = header("|u1", shape);
    file.extend_from_slice(elements);
    file
}

/// An array of single precision numbers in the `.npy` format, version 1.0.
pub(crate) fn floats_to_npy(shape: &[usize], elements: &[f32]) -> Vec<u8> {
    let mut file = header("<f4", shape);
    file.extend(elements.iter().flat_map(|element| element.to_le_bytes()));
    file
}

fn header(description: &str, shape: &[usize]) -> Vec<u8> {
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let sides = sides.trim_end();
    let text =
        format!("{{'descr': '{description}', 'fortran_order': False, 'shape': ({sides}), }}");
    // Magic, version and length take 10 bytes; spaces and a newline pad to a multiple of 64.
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let mut header = MAGIC.to_vec();
    header.extend([1, 0]);
    header.extend((length as u16).to_le_bytes());
    header.extend(format!("{text:<width$}\n", width = length - 1).bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_header(text: &str) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend([1, 0]);
        file.extend((text.len() as u16).to_le_bytes());
        file.extend(text.bytes());
        file
    }

    fn read(file: &[u8]) -> Result<Array, ArrayError> {
        Array::read(file, file.len() as u64)
    }

    #[test]
    fn round_trip() {
        let file = floats_to_npy(&[2, 3], &[0.0, 1.0, -2.0, 3.5, 4.0, 5.0]);
        assert_eq!((file.len() - 24) % 64, 0);
        let array = read(&file).unwrap();
        assert_eq!(array.shape, [2, 3]);
        assert_eq!(array.to_floats(), [0.0, 1.0, -2.0, 3.5, 4.0, 5.0]);
        let bytes = read(&bytes_to_npy(&[4], &[1, 2, 3, 4])).unwrap();
        assert_eq!(bytes.into_bytes().unwrap(), [1, 2, 3, 4]);
    }

    #[test]
    fn double_precision_and_integers_become_single_precision() {
        let mut file = with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }");
        file.extend(2.5_f64.to_le_bytes());
        assert_eq!(read(&file).unwrap().to_floats(), [2.5]);
        let mut file = with_header("{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }");
        file.extend((-3_i64).to_le_bytes());
        assert_eq!(read(&file).unwrap().to_floats(), [-3.0]);
    }

    #[test]
    fn lies_are_typed_errors() {
        let terabytes = "{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999,), }";
        assert!(matches!(
            read(&with_header(terabytes)),
            Err(ArrayError::Size { .. })
        ));
        let overflow =
            "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9), }";
        assert!(matches!(
            read(&with_header(overflow)),
            Err(ArrayError::Size { .. })
        ));
        let fortran = "{'descr': '<f4', 'fortran_order': True, 'shape': (0,), }";
        assert!(matches!(
            read(&with_header(fortran)),
            Err(ArrayError::FortranOrder)
        ));
        let complex = "{'descr': '<c8', 'fortran_order': False, 'shape': (0,), }";
        assert!(matches!(
            read(&with_header(complex)),
            Err(ArrayError::DataType { .. })
        ));
        for text in [
            "",
            "{}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (0,)}",
        ] {
            assert!(matches!(
                read(&with_header(text)),
                Err(ArrayError::Header(_))
            ));
        }
        let negative = "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }";
        assert!(matches!(
            read(&with_header(negative)),
            Err(ArrayError::Header(_))
        ));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let file = floats_to_npy(&[3], &[1.0, 2.0, 3.0]);
        for length in 0..file.len() {
            assert!(read(&file[..length]).is_err());
            // The container claims the whole but holds less.
            assert!(Array::read(&file[..length], file.len() as u64).is_err());
        }
    }
}
