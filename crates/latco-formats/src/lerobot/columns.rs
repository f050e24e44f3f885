//! Columns of Parquet files.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use latco_env::EpisodeFileProblem;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::error::FormatProblem;

/// The most numbers that are read of one column.
const MOST_NUMBERS: usize = 64 << 20;

/// Records that are decoded at once.
const AT_ONCE: usize = 8192;

pub(super) type Reader = SerializedFileReader<File>;

pub(super) fn reader(path: &Path) -> Result<Reader, EpisodeFileProblem> {
    SerializedFileReader::new(File::open(path)?).map_err(refused)
}

pub(super) fn refused(error: ParquetError) -> EpisodeFileProblem {
    FormatProblem::Library(Box::new(error)).into()
}

/// The libraries may panic on a damaged file.
pub(super) fn guarded<T>(
    read: impl FnOnce() -> Result<T, EpisodeFileProblem>,
) -> Result<T, EpisodeFileProblem> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(FormatProblem::Unsupported("a damaged file".to_owned()).into()))
}

/// The column of this name, or its part of the name `part`.
pub(super) fn leaf(reader: &Reader, name: &str, part: Option<&str>) -> Option<usize> {
    let schema = reader.metadata().file_metadata().schema_descr();
    schema.columns().iter().position(|column| {
        let parts = column.path().parts();
        parts.first().is_some_and(|root| root == name)
            && part.is_none_or(|part| parts.last().is_some_and(|last| last == part))
    })
}

/// The names of all columns.
pub(super) fn names(reader: &Reader) -> String {
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let names: Vec<_> = fields.iter().map(|field| field.name()).collect();
    names.join(", ")
}

/// All numbers of a column, one after another.
pub(super) fn numbers<N>(
    reader: &Reader,
    leaf: usize,
    number: fn(f64) -> N,
) -> Result<Vec<N>, EpisodeFileProblem> {
    let mut all = Vec::new();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(refused)?;
        match group.get_column_reader(leaf).map_err(refused)? {
            ColumnReader::BoolColumnReader(column) => {
                read(column, &mut all, |&value| {
                    number(f64::from(u8::from(value)))
                })?;
            }
            ColumnReader::Int32ColumnReader(column) => {
                read(column, &mut all, |&value| number(f64::from(value)))?;
            }
            ColumnReader::Int64ColumnReader(column) => {
                read(column, &mut all, |&value| number(value as f64))?;
            }
            ColumnReader::FloatColumnReader(column) => {
                read(column, &mut all, |&value| number(f64::from(value)))?;
            }
            ColumnReader::DoubleColumnReader(column) => {
                read(column, &mut all, |&value| number(value))?;
            }
            _ => {
                return Err(FormatProblem::Unsupported(
                    "a column of numbers holds something else".to_owned(),
                )
                .into());
            }
        }
    }
    Ok(all)
}

fn read<T: DataType, N>(
    mut column: ColumnReaderImpl<T>,
    all: &mut Vec<N>,
    convert: impl Fn(&T::T) -> N,
) -> Result<(), EpisodeFileProblem> {
    let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        definitions.clear();
        repetitions.clear();
        values.clear();
        let read = column.read_records(
            AT_ONCE,
            Some(&mut definitions),
            Some(&mut repetitions),
            &mut values,
        );
        let (records, ..) = read.map_err(refused)?;
        if records == 0 {
            return Ok(());
        }
        all.extend(values.iter().map(&convert));
        if all.len() > MOST_NUMBERS {
            let problem = format!("a column of more than {MOST_NUMBERS} numbers");
            return Err(FormatProblem::Unsupported(problem).into());
        }
    }
}
