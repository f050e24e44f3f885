//! The arrays of an `.npz` file, whole or in part.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Take};
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use zip::read::ZipFile;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::npy::{Array, ArrayError, Header, LARGEST_ARRAY};
use crate::npz::EpisodeFileProblem;

/// An open `.npz` file. Entries are only looked up by name and only read, never unpacked to paths.
pub struct NpzArchive {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
}

/// A whole array of numbers in single precision, whatever their type in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// Its sides.
    pub shape: Vec<usize>,
    /// Its elements in row-major order.
    pub values: Vec<f32>,
}

/// An array of bytes `[rows, …]` that stays in its file until some rows are asked for.
#[derive(Clone, Debug)]
pub struct ByteRows {
    path: PathBuf,
    name: String,
    shape: Vec<usize>,
    /// Bytes of a row.
    size: usize,
    /// Whether the first index is the fastest: no row lies in one piece then.
    fortran_order: bool,
    /// Bytes before the first element.
    header: u64,
    method: CompressionMethod,
    /// Where the entry's data begin in the file, and how many bytes they are there.
    place: (u64, u64),
    checksum: u32,
}

impl NpzArchive {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, or is no `.npz` archive.
    pub fn open(path: &Path) -> Result<Self, EpisodeFileProblem> {
        Ok(Self {
            path: path.to_path_buf(),
            zip: ZipArchive::new(BufReader::new(File::open(path)?))?,
        })
    }

    /// The names of the arrays, without `.npy`.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let names = self.zip.file_names().flatten();
        names.filter_map(|name| name.strip_suffix(".npy").map(str::to_owned))
    }

    /// The array of this name, if there is one.
    ///
    /// # Errors
    /// If it is no array of numbers, damaged, or has more than [`MOST_NUMBERS`](crate::MOST_NUMBERS). Memory stays
    /// bounded by what the file really holds, whatever its headers claim.
    pub fn numbers(&mut self, name: &str) -> Result<Option<Numbers>, EpisodeFileProblem> {
        let array = self.array(name)?;
        Ok(array.map(|array| Numbers {
            values: array.to_floats(),
            shape: array.shape,
        }))
    }

    /// Where the array of bytes of this name is, if there is one.
    ///
    /// # Errors
    /// If it has other elements than bytes, or its header does not tell the truth.
    pub fn byte_rows(&mut self, name: &str) -> Result<Option<ByteRows>, EpisodeFileProblem> {
        let path = self.path.clone();
        let Some(mut entry) = self.entry(name)? else {
            return Ok(None);
        };
        let length = entry.size();
        let (method, checksum) = (entry.compression(), entry.crc32());
        let start = entry.data_start().ok_or(ZipError::FileNotFound)?;
        let place = (start, entry.compressed_size());
        let header = Header::read_bytes(&mut entry, length).map_err(in_array(name))?;
        Ok(Some(ByteRows {
            path,
            name: name.to_owned(),
            // The header's size is that of the entry; of no rows, each may be of any size.
            size: header
                .shape
                .iter()
                .skip(1)
                .copied()
                .fold(1, usize::saturating_mul),
            shape: header.shape,
            fortran_order: header.fortran_order,
            header: header.length,
            method,
            place,
            checksum,
        }))
    }

    fn array(&mut self, name: &str) -> Result<Option<Array>, EpisodeFileProblem> {
        let Some(entry) = self.entry(name)? else {
            return Ok(None);
        };
        let length = entry.size();
        let array = Array::read_numbers(entry, length).map(Some);
        array.map_err(in_array(name))
    }

    fn entry(&mut self, name: &str) -> Result<Option<Entry<'_>>, EpisodeFileProblem> {
        match self.zip.by_name(&format!("{name}.npy")) {
            Ok(entry) => Ok(Some(entry)),
            Err(ZipError::FileNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

type Entry<'a> = ZipFile<'a, BufReader<File>>;

impl ByteRows {
    /// Its sides, rows first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether rows are read without those that lie before them: where nothing is compressed.
    pub fn is_random_access(&self) -> bool {
        self.method == CompressionMethod::Stored && !self.fortran_order
    }

    /// The bytes of some rows.
    ///
    /// # Errors
    /// If they are not there, or more than 1 GiB.
    pub fn read(&self, rows: Range<usize>) -> Result<Vec<u8>, EpisodeFileProblem> {
        let mut cursor = self.cursor()?;
        cursor.skip(rows.start)?;
        cursor.read(rows.len())
    }

    /// Hands every row to `visit`, one after another, and compares the checksum.
    ///
    /// # Errors
    /// If a row is not there, or the checksum is another.
    pub fn each(&self, visit: &mut dyn FnMut(&[u8])) -> Result<(), EpisodeFileProblem> {
        let mut cursor = self.cursor()?;
        for _ in 0..self.shape[0] {
            visit(&cursor.read(1)?);
        }
        Ok(())
    }

    /// A reader that stands before the first row.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn cursor(&self) -> Result<RowCursor, EpisodeFileProblem> {
        let (start, length) = self.place;
        let source = if self.fortran_order {
            let array = NpzArchive::open(&self.path)?.array(&self.name)?;
            let array = array.ok_or_else(|| EpisodeFileProblem::Missing {
                field: self.name.clone(),
            })?;
            let bytes = array.into_bytes().map_err(in_array(&self.name))?;
            Source::Memory(Cursor::new(bytes))
        } else {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(start))?;
            match self.method {
                CompressionMethod::Stored => Source::Stored(file),
                CompressionMethod::Deflated => {
                    let data = BufReader::with_capacity(BUFFER, file.take(length));
                    Source::Deflated(Box::new(DeflateDecoder::new(data)))
                }
                _ => return Err(ZipError::UnsupportedArchive("another compression").into()),
            }
        };
        let checksum = (!self.fortran_order).then(Crc::new);
        let mut cursor = RowCursor {
            array: self.clone(),
            source,
            row: 0,
            checksum,
        };
        if !self.fortran_order {
            cursor.bytes(self.header)?;
        }
        Ok(cursor)
    }
}

/// What is unpacked at once.
const BUFFER: usize = 1 << 16;

/// Reads the rows of an array one after another.
#[derive(Debug)]
pub struct RowCursor {
    array: ByteRows,
    source: Source,
    /// The next row.
    row: usize,
    /// Of all bytes up to the next row; none where some were passed over.
    checksum: Option<Crc>,
}

#[derive(Debug)]
enum Source {
    Stored(File),
    Deflated(Box<DeflateDecoder<BufReader<Take<File>>>>),
    Memory(Cursor<Vec<u8>>),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stored(file) => file.read(buffer),
            Self::Deflated(decoder) => decoder.read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
        }
    }
}

impl RowCursor {
    /// The next row to be read.
    pub fn row(&self) -> usize {
        self.row
    }

    /// Goes past some rows.
    ///
    /// # Errors
    /// If they are not there.
    pub fn skip(&mut self, rows: usize) -> Result<(), EpisodeFileProblem> {
        let mut left = rows as u64 * self.array.size as u64;
        let offset =
            i64::try_from(left).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        match &mut self.source {
            _ if rows == 0 => {}
            Source::Stored(file) => {
                file.seek(SeekFrom::Current(offset))?;
                self.checksum = None;
            }
            Source::Memory(bytes) => {
                bytes.seek(SeekFrom::Current(offset))?;
            }
            Source::Deflated(_) => {
                while left > 0 {
                    let piece = left.min(BUFFER as u64);
                    self.bytes(piece)?;
                    left -= piece;
                }
            }
        }
        self.row += rows;
        self.compare()
    }

    /// The bytes of the next rows.
    ///
    /// # Errors
    /// If they are not there, are more than 1 GiB, or the checksum after the last is another.
    pub fn read(&mut self, rows: usize) -> Result<Vec<u8>, EpisodeFileProblem> {
        let length = rows as u64 * self.array.size as u64;
        if length > LARGEST_ARRAY || rows > self.array.shape[0].saturating_sub(self.row) {
            let shape = [&[rows], &self.array.shape[1..]].concat();
            return Err(in_array(&self.array.name)(ArrayError::Size {
                shape,
                bytes: length,
            }));
        }
        let bytes = self.bytes(length)?;
        self.row += rows;
        self.compare()?;
        Ok(bytes)
    }

    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, EpisodeFileProblem> {
        let mut bytes = Vec::new();
        // The buffer grows with what is there, not with what is claimed.
        (&mut self.source).take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            let ends = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(in_array(&self.array.name)(ends.into()));
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(&bytes);
        }
        Ok(bytes)
    }

    /// Behind the last row, compares the checksum where all bytes were seen.
    fn compare(&self) -> Result<(), EpisodeFileProblem> {
        let expected = self.array.checksum;
        match &self.checksum {
            Some(found) if self.row == self.array.shape[0] && found.sum() != expected => {
                let damaged = io::Error::new(io::ErrorKind::InvalidData, "the checksum is wrong");
                Err(in_array(&self.array.name)(damaged.into()))
            }
            _ => Ok(()),
        }
    }
}

/// What is wrong with an array of this name.
fn in_array(name: &str) -> impl FnOnce(ArrayError) -> EpisodeFileProblem {
    let field = name.to_owned();
    move |source| EpisodeFileProblem::Array { field, source }
}
