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
pub(crate) const LARGEST_ARRAY: u64 = 1 << 30;
/// Most numbers that are read beside images: each takes four bytes in memory, of which a byte of zeros may be a
/// thousandth in a file.
pub const MOST_NUMBERS: u64 = 64 << 20;
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
    /// The shape is another.
    #[error("has shape {got:?}, expected {expected}")]
    Shape {
        /// The shape in words.
        expected: &'static str,
        /// The shape in the header.
        got: Vec<usize>,
    },
    /// There are more numbers than any recording has.
    #[error("has shape {shape:?}, expected at most {MOST_NUMBERS} numbers")]
    Numbers {
        /// The shape in the header.
        shape: Vec<usize>,
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

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
}

/// The type of an element: numpy's plain numbers of at most eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataType {
    kind: Kind,
    /// Bytes of an element.
    size: usize,
    big_endian: bool,
}

impl DataType {
    /// Reads numpy's description, such as `<f4`.
    fn parse(description: &str) -> Option<Self> {
        let (order, number) = description.split_at_checked(1)?;
        let (kind, size) = match number {
            "b1" => (Kind::Bool, 1),
            "u1" => (Kind::Unsigned, 1),
            "u2" => (Kind::Unsigned, 2),
            "u4" => (Kind::Unsigned, 4),
            "u8" => (Kind::Unsigned, 8),
            "i1" => (Kind::Signed, 1),
            "i2" => (Kind::Signed, 2),
            "i4" => (Kind::Signed, 4),
            "i8" => (Kind::Signed, 8),
            "f2" => (Kind::Float, 2),
            "f4" => (Kind::Float, 4),
            "f8" => (Kind::Float, 8),
            _ => return None,
        };
        let big_endian = match order {
            "<" | "|" => false,
            ">" => true,
            _ => return None,
        };
        Some(Self {
            kind,
            size,
            big_endian,
        })
    }

    /// Refuses elements that are no unsigned bytes.
    fn check_bytes(self) -> Result<(), ArrayError> {
        match (self.kind, self.size) {
            (Kind::Unsigned, 1) => Ok(()),
            (kind, size) => Err(ArrayError::DataType {
                expected: "uint8",
                got: format!("{kind:?} of {} bits", 8 * size).to_lowercase(),
            }),
        }
    }

    /// An element of these bytes, the first of lowest weight, in single precision.
    fn float(self, bytes: &[u8]) -> f32 {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        // Shifting up and down again extends the sign.
        let unused = 64 - 8 * self.size as u32;
        match (self.kind, self.size) {
            (Kind::Bool | Kind::Unsigned, _) => bits as f32,
            (Kind::Signed, _) => ((bits << unused) as i64 >> unused) as f32,
            (Kind::Float, 2) => half::f16::from_bits(bits as u16).to_f32(),
            (Kind::Float, 4) => f32::from_bits(bits as u32),
            (Kind::Float, _) => f64::from_bits(bits) as f32,
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
        let header = Header::read_of(&mut reader, length)?;
        Self::read_elements(header, reader, length)
    }

    /// The same of numbers that belong to the rows of a recording.
    pub(crate) fn read_numbers(mut reader: impl Read, length: u64) -> Result<Self, ArrayError> {
        let header = Header::read_of(&mut reader, length)?;
        if header.claimed_bytes() > Some(MOST_NUMBERS * header.data_type.size as u64) {
            return Err(ArrayError::Numbers {
                shape: header.shape,
            });
        }
        Self::read_elements(header, reader, length)
    }

    fn read_elements(
        header: Header,
        mut reader: impl Read,
        length: u64,
    ) -> Result<Self, ArrayError> {
        let there = length.saturating_sub(header.length);
        if there > LARGEST_ARRAY {
            return Err(header.refused(there));
        }
        let mut bytes = Vec::new();
        (&mut reader).take(there).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != there {
            return Err(ArrayError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        // The container compares its checksum where its end is read.
        if reader.read(&mut [0])? > 0 {
            return Err(header.refused(length));
        }
        if header.fortran_order {
            bytes = row_by_row(&bytes, &header.shape, header.data_type.size);
        }
        Ok(Self {
            shape: header.shape,
            data_type: header.data_type,
            bytes,
        })
    }

    /// The elements of an array of bytes.
    pub(crate) fn into_bytes(self) -> Result<Vec<u8>, ArrayError> {
        self.data_type.check_bytes()?;
        Ok(self.bytes)
    }

    /// The elements as single precision numbers, whatever their type.
    pub(crate) fn to_floats(&self) -> Vec<f32> {
        let data_type = self.data_type;
        let elements = self.bytes.chunks_exact(data_type.size);
        match data_type.big_endian {
            false => elements.map(|bytes| data_type.float(bytes)).collect(),
            true => elements
                .map(|bytes| {
                    let mut bytes = bytes.to_vec();
                    bytes.reverse();
                    data_type.float(&bytes)
                })
                .collect(),
        }
    }
}

/// The elements of `size` bytes of an array stored column by column (Fortran's order), the last index
/// fastest instead of the first.
fn row_by_row(columns: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    // How far apart in `columns` two elements are that differ by one in each index.
    let strides: Vec<usize> = shape
        .iter()
        .scan(1, |stride, &side| {
            Some(std::mem::replace(stride, *stride * side))
        })
        .collect();
    let mut rows = Vec::with_capacity(columns.len());
    let mut index = vec![0; shape.len()];
    for _ in 0..columns.len() / size {
        let place: usize = index
            .iter()
            .zip(&strides)
            .map(|(i, stride)| i * stride)
            .sum();
        rows.extend_from_slice(&columns[place * size..(place + 1) * size]);
        for (i, &side) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < side {
                break;
            }
            *i = 0;
        }
    }
    rows
}

/// What an array says of itself.
pub(crate) struct Header {
    data_type: DataType,
    /// Whether the first index is the fastest.
    pub(crate) fortran_order: bool,
    pub(crate) shape: Vec<usize>,
    /// Bytes from the magic string to the first element.
    pub(crate) length: u64,
}

impl Header {
    /// The header of an array of which the container says that it is `length` bytes long, and whose
    /// elements are as many bytes as are left.
    fn read_of(reader: &mut impl Read, length: u64) -> Result<Self, ArrayError> {
        let header = Self::read(reader)?;
        let there = length.saturating_sub(header.length);
        match header.claimed_bytes() == Some(there) {
            true => Ok(header),
            false => Err(header.refused(there)),
        }
    }

    /// The same of an array of bytes with rows.
    pub(crate) fn read_bytes(reader: &mut impl Read, length: u64) -> Result<Self, ArrayError> {
        let header = Self::read_of(reader, length)?;
        header.data_type.check_bytes()?;
        match header.shape.is_empty() {
            true => Err(header.refused(1)),
            false => Ok(header),
        }
    }

    fn refused(self, bytes: u64) -> ArrayError {
        ArrayError::Size {
            shape: self.shape,
            bytes,
        }
    }

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
        let fortran_order = entry(text, "fortran_order")?.starts_with("True");
        let description = between(entry(text, "descr")?, '\'', '\'')
            .ok_or(ArrayError::Header("the element type is not a plain one"))?;
        let data_type = DataType::parse(description).ok_or_else(|| ArrayError::DataType {
            expected: "bool, or integers or floats of at most 64 bits",
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
            fortran_order,
            shape,
            length,
        })
    }

    /// Bytes that elements of this type and shape take, where that can be counted.
    fn claimed_bytes(&self) -> Option<u64> {
        self.shape
            .iter()
            .try_fold(self.data_type.size as u64, |size, &side| {
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

    /// An array of three elements of these bytes.
    fn three(description: &str, bytes: &[u8]) -> Vec<f32> {
        let text = format!("{{'descr': '{description}', 'fortran_order': False, 'shape': (3,), }}");
        let mut file = with_header(&text);
        file.extend(bytes);
        read(&file).unwrap().to_floats()
    }

    #[test]
    fn every_type_of_number_becomes_single_precision() {
        assert_eq!(three("|b1", &[0, 1, 1]), [0.0, 1.0, 1.0]);
        assert_eq!(three("|u1", &[0, 7, 255]), [0.0, 7.0, 255.0]);
        assert_eq!(three("|i1", &[0, 7, 255]), [0.0, 7.0, -1.0]);
        macro_rules! numbers {
            ($kind:literal, $type:ty, $values:expr) => {
                let values: [$type; 3] = $values;
                let expected = values.map(|value| value as f32);
                let little: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                assert_eq!(three(concat!("<", $kind), &little), expected);
                let big: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
                assert_eq!(three(concat!(">", $kind), &big), expected);
            };
        }
        numbers!("u2", u16, [0, 300, u16::MAX]);
        numbers!("u4", u32, [0, 300, u32::MAX]);
        numbers!("u8", u64, [0, 300, u64::MAX]);
        numbers!("i2", i16, [i16::MIN, -1, 300]);
        numbers!("i4", i32, [i32::MIN, -1, 300]);
        numbers!("i8", i64, [i64::MIN, -1, 300]);
        numbers!("f4", f32, [-2.5, 1e-3, 7e8]);
        numbers!("f8", f64, [-2.5, 1e-3, 7e8]);
        let halves = [-2.5_f32, 0.125, 100.0];
        let bits = halves.map(|half| half::f16::from_f32(half).to_bits());
        let little: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        assert_eq!(three("<f2", &little), halves);
    }

    #[test]
    fn columns_become_rows() {
        let text = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 2), }";
        let mut file = with_header(text);
        // Element (i, j, k) is 100 i + 10 j + k; i runs fastest.
        let element = |place: usize| (100 * (place % 2) + 10 * (place / 2 % 3) + place / 6) as u8;
        file.extend((0..12).map(element));
        let rows = read(&file).unwrap().into_bytes().unwrap();
        assert_eq!(rows, [0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121]);
        let empty = "{'descr': '<f4', 'fortran_order': True, 'shape': (0, 3), }";
        assert!(read(&with_header(empty)).unwrap().to_floats().is_empty());
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

    /// A byte of zeros may be a thousandth in an archive, and takes four in memory.
    #[test]
    fn more_numbers_than_a_recording_has_are_refused_unread() {
        let refused = |count: u64| {
            let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({count},), }}");
            let file = with_header(&text);
            let length = file.len() as u64 + count;
            Array::read_numbers(file.as_slice(), length).unwrap_err()
        };
        assert!(matches!(
            refused(MOST_NUMBERS + 1),
            ArrayError::Numbers { .. }
        ));
        assert!(matches!(refused(MOST_NUMBERS), ArrayError::Io(_)));
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
