//! Images in Parquet files, encoded as PNG or JPEG.

use std::ops::Range;
use std::path::{Path, PathBuf};

use latco_env::{EpisodeFileProblem, Image};
use parquet::column::reader::ColumnReader;
use parquet::file::reader::FileReader;

use super::columns::{Reader, guarded, leaf, names, reader, refused};
use super::data_set::NAMES;
use crate::error::FormatProblem;
use crate::rows::{ImageLayout, RowSource};

/// The images of a file's rows.
#[derive(Debug)]
pub(super) struct Pictures {
    path: PathBuf,
    name: String,
    leaf: usize,
    /// Rows up to the end of each row group.
    ends: Vec<usize>,
    /// Width and height of all images.
    size: (usize, usize),
}

impl Pictures {
    /// The column `name` of a file.
    pub fn open(path: &Path, name: &str) -> Result<Self, EpisodeFileProblem> {
        let reader = reader(path)?;
        let Some(leaf) = leaf(&reader, name, Some("bytes")) else {
            return Err(FormatProblem::Missing {
                format: NAMES.format,
                name: name.to_owned(),
                key: "image",
                found: names(&reader),
            }
            .into());
        };
        let groups = reader.metadata().row_groups().iter();
        let ends = groups.scan(0_usize, |end, group| {
            *end = end.saturating_add(usize::try_from(group.num_rows()).unwrap_or(0));
            Some(*end)
        });
        let mut pictures = Self {
            path: path.to_path_buf(),
            name: name.to_owned(),
            leaf,
            ends: ends.collect(),
            size: (0, 0),
        };
        if let [first] = pictures.images(0..1)?.as_slice() {
            pictures.size = (first.width(), first.height());
        }
        Ok(pictures)
    }

    pub fn layout(&self) -> Result<ImageLayout, FormatProblem> {
        let rows = self.ends.last().copied().unwrap_or(0);
        ImageLayout::of(&self.name, &[rows, self.size.1, self.size.0, 3])
    }

    fn images(&self, rows: Range<usize>) -> Result<Vec<Image>, EpisodeFileProblem> {
        let reader = reader(&self.path)?;
        let mut images = Vec::new();
        let mut start = 0;
        for (group, &end) in self.ends.iter().enumerate() {
            let wanted = rows.start.max(start)..rows.end.min(end);
            if wanted.start < wanted.end {
                let skipped = wanted.start - start;
                self.read_group(&reader, group, skipped, wanted.len(), &mut images)?;
            }
            start = end;
        }
        match images.len() == rows.len() {
            true => Ok(images),
            false => Err(FormatProblem::Rows {
                name: self.name.clone(),
                expected: rows.len(),
                got: images.len(),
            }
            .into()),
        }
    }

    fn read_group(
        &self,
        reader: &Reader,
        group: usize,
        skipped: usize,
        count: usize,
        images: &mut Vec<Image>,
    ) -> Result<(), EpisodeFileProblem> {
        let group = reader.get_row_group(group).map_err(refused)?;
        let column = group.get_column_reader(self.leaf).map_err(refused)?;
        let ColumnReader::ByteArrayColumnReader(mut column) = column else {
            return Err(FormatProblem::Elements {
                name: self.name.clone(),
                expected: "encoded images",
                got: "of another type".to_owned(),
            }
            .into());
        };
        column.skip_records(skipped).map_err(refused)?;
        let mut left = count;
        while left > 0 {
            let (mut definitions, mut values) = (Vec::new(), Vec::new());
            let (records, ..) = column
                .read_records(left, Some(&mut definitions), None, &mut values)
                .map_err(refused)?;
            for value in &values {
                let image = Image::from_encoded(value.data());
                images.push(image.map_err(|error| FormatProblem::Library(Box::new(error)))?);
            }
            if records == 0 {
                return Ok(());
            }
            left -= records;
        }
        Ok(())
    }
}

impl RowSource for Pictures {
    fn read(&self, rows: Range<usize>) -> Result<Vec<u8>, EpisodeFileProblem> {
        let images = guarded(|| self.images(rows))?;
        let mut bytes = Vec::new();
        for image in images {
            let got = (image.width(), image.height());
            if got != self.size {
                let problem = format!(
                    "`{}` has an image of {}x{} pixels, its first has {}x{}",
                    self.name, got.0, got.1, self.size.0, self.size.1
                );
                return Err(FormatProblem::Unsupported(problem).into());
            }
            bytes.extend(image.into_pixels());
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lerobot::table::{Column, TableFile};

    #[test]
    fn an_image_of_another_size_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.parquet");
        let png = |width: usize| {
            let image = Image::new(width, 2, vec![7; width * 6]).unwrap();
            (image.to_png().unwrap(), String::new())
        };
        let columns = vec![("front".to_owned(), Column::Pictures(vec![png(3), png(4)]))];
        let mut file = TableFile::create(&path, &columns).unwrap();
        file.add(&columns).unwrap();
        file.close().unwrap();
        let pictures = Pictures::open(&path, "front").unwrap();
        assert_eq!(pictures.read(0..1).unwrap(), [7; 18]);
        let message = pictures.read(0..2).unwrap_err().to_string();
        assert!(
            message.contains("4x2 pixels, its first has 3x2"),
            "{message}"
        );
    }
}
