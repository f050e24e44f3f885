//! Tables that are written to Parquet files.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use latco_env::EpisodeFileProblem;
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, FloatType, Int64Type};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::columns::refused;

/// The rows of a column.
pub(super) enum Column {
    Reals(Vec<f32>),
    Integers(Vec<i64>),
    Flags(Vec<bool>),
    Texts(Vec<String>),
    /// Lists of one text each.
    TextLists(Vec<String>),
    /// Lists of so many numbers, one behind another.
    RealLists(Vec<f32>, usize),
    /// Encoded images, and what they are called.
    Pictures(Vec<(Vec<u8>, String)>),
}

/// Columns with their names.
pub(super) type Columns = Vec<(String, Column)>;

/// A file that takes tables, one below the other, all with the same columns.
pub(super) struct TableFile {
    writer: SerializedFileWriter<File>,
}

impl TableFile {
    /// A new file for tables such as `columns`.
    pub fn create(path: &Path, columns: &Columns) -> Result<Self, EpisodeFileProblem> {
        let file = File::create_new(path)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let schema = schema(columns).map_err(refused)?;
        let writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build()));
        Ok(Self {
            writer: writer.map_err(refused)?,
        })
    }

    /// Adds a group of rows.
    pub fn add(&mut self, columns: &Columns) -> Result<(), EpisodeFileProblem> {
        let group = self.writer.next_row_group().map_err(refused)?;
        write_group(group, columns).map_err(refused)
    }

    pub fn annotate(&mut self, key: &str, value: String) {
        let pair = KeyValue::new(key.to_owned(), value);
        self.writer.append_key_value_metadata(pair);
    }

    pub fn bytes_written(&self) -> usize {
        self.writer.bytes_written()
    }

    /// Writes what is left, to the disk.
    pub fn close(self) -> Result<(), EpisodeFileProblem> {
        let mut writer = self.writer;
        writer.finish().map_err(refused)?;
        Ok(writer.inner().sync_all()?)
    }
}

fn schema(columns: &Columns) -> Result<TypePtr> {
    let fields = columns.iter().map(|(name, column)| field(name, column));
    let schema = Type::group_type_builder("schema").with_fields(fields.collect::<Result<_>>()?);
    Ok(Arc::new(schema.build()?))
}

fn field(name: &str, column: &Column) -> Result<TypePtr> {
    match column {
        Column::Reals(_) => leaf(name, Physical::FLOAT),
        Column::Integers(_) => leaf(name, Physical::INT64),
        Column::Flags(_) => leaf(name, Physical::BOOLEAN),
        Column::Texts(_) => text(name),
        Column::TextLists(_) => list(name, text("element")?),
        Column::RealLists(..) => list(name, leaf("element", Physical::FLOAT)?),
        Column::Pictures(_) => {
            let parts = vec![leaf("bytes", Physical::BYTE_ARRAY)?, text("path")?];
            group(name, Repetition::REQUIRED, parts, None)
        }
    }
}

fn leaf(name: &str, physical: Physical) -> Result<TypePtr> {
    let leaf = Type::primitive_type_builder(name, physical);
    Ok(Arc::new(
        leaf.with_repetition(Repetition::REQUIRED).build()?,
    ))
}

fn text(name: &str) -> Result<TypePtr> {
    let text = Type::primitive_type_builder(name, Physical::BYTE_ARRAY);
    let text = text.with_repetition(Repetition::REQUIRED);
    Ok(Arc::new(
        text.with_logical_type(Some(LogicalType::String)).build()?,
    ))
}

fn list(name: &str, element: TypePtr) -> Result<TypePtr> {
    let elements = group("list", Repetition::REPEATED, vec![element], None)?;
    let kind = Some(LogicalType::List);
    group(name, Repetition::REQUIRED, vec![elements], kind)
}

fn group(
    name: &str,
    repetition: Repetition,
    fields: Vec<TypePtr>,
    kind: Option<LogicalType>,
) -> Result<TypePtr> {
    let group = Type::group_type_builder(name).with_repetition(repetition);
    let group = group.with_logical_type(kind).with_fields(fields);
    Ok(Arc::new(group.build()?))
}

fn write_group(mut group: SerializedRowGroupWriter<'_, File>, columns: &Columns) -> Result<()> {
    for (_, column) in columns {
        match column {
            Column::Reals(values) => write::<FloatType>(&mut group, values, None)?,
            Column::Integers(values) => write::<Int64Type>(&mut group, values, None)?,
            Column::Flags(values) => write::<BoolType>(&mut group, values, None)?,
            Column::Texts(texts) => write::<ByteArrayType>(&mut group, &bytes(texts), None)?,
            Column::TextLists(texts) => write::<ByteArrayType>(&mut group, &bytes(texts), Some(1))?,
            Column::RealLists(values, size) => write::<FloatType>(&mut group, values, Some(*size))?,
            Column::Pictures(pictures) => {
                let (encoded, names): (Vec<_>, Vec<_>) = pictures.iter().cloned().unzip();
                let encoded: Vec<_> = encoded.into_iter().map(ByteArray::from).collect();
                write::<ByteArrayType>(&mut group, &encoded, None)?;
                write::<ByteArrayType>(&mut group, &bytes(&names), None)?;
            }
        }
    }
    group.close().map(|_| ())
}

fn bytes(texts: &[String]) -> Vec<ByteArray> {
    texts
        .iter()
        .map(|text| ByteArray::from(text.as_str()))
        .collect()
}

/// A column, each row a value or a list of `size`.
fn write<T: parquet::data_type::DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    size: Option<usize>,
) -> Result<()> {
    let levels = size.map(|size| {
        let repetition: Vec<i16> = (0..values.len()).map(|i| i16::from(i % size > 0)).collect();
        (vec![1_i16; values.len()], repetition)
    });
    let (definition, repetition) = levels
        .as_ref()
        .map_or((None, None), |(definition, repetition)| {
            (Some(definition.as_slice()), Some(repetition.as_slice()))
        });
    if let Some(mut column) = group.next_column()? {
        let column_writer = column.typed::<T>();
        column_writer.write_batch(values, definition, repetition)?;
        column.close()?;
    }
    Ok(())
}
