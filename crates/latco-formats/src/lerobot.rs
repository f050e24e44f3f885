//! Data sets of LeRobot: `meta/info.json` and Parquet files below `data/`, whose rows have `action`,
//! `episode_index`, images as PNG or JPEG, and where recorded `next.reward`.
//!
//! Action and reward of a row belong to the step from its image to the next: those of an episode's last row
//! lead beyond what was seen, and are left out, and so is whether the episode was over there. Images in MP4
//! files are not read.

use std::path::Path;

use latco_env::{EpisodeFileError, Recordings};

use crate::error::at;
use crate::open::Options;

#[cfg(not(feature = "lerobot"))]
pub(crate) fn open(path: &Path, _options: &Options) -> Result<Recordings, EpisodeFileError> {
    use crate::error::FormatProblem;

    let problem = "a data set of LeRobot, which this build does not read: build with the feature \
                   lerobot (cargo install … --features lerobot)";
    Err(at(path, FormatProblem::Unsupported(problem.to_owned())))
}

#[cfg(feature = "lerobot")]
pub(crate) fn open(path: &Path, options: &Options) -> Result<Recordings, EpisodeFileError> {
    parquet_files::open(path, options).map_err(|(file, problem)| at(&file, problem))
}

#[cfg(feature = "lerobot")]
mod parquet_files {
    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::io;
    use std::ops::Range;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use latco_env::{EpisodeFileProblem, Image, Recorded, Recordings};
    use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
    use parquet::data_type::DataType;
    use parquet::errors::ParquetError;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use serde::Deserialize;

    use crate::error::FormatProblem;
    use crate::open::Options;
    use crate::rows::{ImageLayout, Leads, RowEpisode, RowSource, Steps};
    use crate::table::Names;

    const NAMES: Names = Names {
        format: "LeRobot",
        keys: &[
            ("image", "observation.image"),
            ("action", "action"),
            ("reward", "next.reward"),
            ("episode", "episode_index"),
        ],
    };

    /// The most numbers that are read of one column.
    const MOST_NUMBERS: usize = 64 << 20;

    /// Records that are decoded at once.
    const AT_ONCE: usize = 8192;

    /// A file, and what is wrong with it.
    type Failure = (PathBuf, EpisodeFileProblem);

    #[derive(Deserialize)]
    struct Info {
        features: BTreeMap<String, Feature>,
    }

    #[derive(Deserialize)]
    struct Feature {
        dtype: String,
    }

    pub(super) fn open(path: &Path, options: &Options) -> Result<Recordings, Failure> {
        let info = path.join("meta").join("info.json");
        let image = read_info(&info, options).map_err(|problem| (info, problem))?;
        let data = path.join("data");
        let mut files = Vec::new();
        find_files(&data, &mut files).map_err(|error| (data, error.into()))?;
        files.sort();
        let mut found = Recordings::default();
        for file in files {
            let episodes = guarded(|| read_file(&file, &image, options));
            let episodes = episodes.map_err(|problem| (file.clone(), problem))?;
            let episodes = episodes.into_iter();
            (found.episodes).extend(episodes.map(|e| Arc::new(e) as Arc<dyn Recorded>));
            found.files.push(file);
        }
        Ok(found)
    }

    /// The name of the images.
    fn read_info(path: &Path, options: &Options) -> Result<String, EpisodeFileProblem> {
        NAMES.check(options)?;
        let info: Info = serde_json::from_str(&fs::read_to_string(path)?)
            .map_err(|error| FormatProblem::Library(Box::new(error)))?;
        let of = |dtype: &str| -> Vec<&str> {
            let features = info.features.iter();
            features
                .filter(|(_, feature)| feature.dtype == dtype)
                .map(|(name, _)| name.as_str())
                .collect()
        };
        let (images, videos) = (of("image"), of("video"));
        let unsupported = |problem: String| FormatProblem::Unsupported(problem).into();
        match (options.map.get("image"), images.as_slice()) {
            (Some(name), _) if videos.contains(&name.as_str()) => Err(unsupported(format!(
                "`{name}` is a video, which is not read"
            ))),
            (Some(name), _) => Ok(name.clone()),
            (None, [name]) => Ok((*name).to_owned()),
            (None, []) => Err(unsupported(format!(
                "its images are videos ({}), which are not read: record them as images \
                 (use_videos=False), or turn them into a folder of frames",
                videos.join(", ")
            ))),
            (None, several) => Err(unsupported(format!(
                "several cameras, {}: --map image=NAME names one",
                several.join(", ")
            ))),
        }
    }

    fn find_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                find_files(&path, files)?;
            } else if path.extension().is_some_and(|ending| ending == "parquet") {
                files.push(path);
            }
        }
        Ok(())
    }

    /// The Parquet library may panic on a damaged file.
    fn guarded<T>(
        read: impl FnOnce() -> Result<T, EpisodeFileProblem>,
    ) -> Result<T, EpisodeFileProblem> {
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
            Err(FormatProblem::Unsupported("a damaged Parquet file".to_owned()).into())
        })
    }

    fn read_file(
        path: &Path,
        image: &str,
        options: &Options,
    ) -> Result<Vec<RowEpisode>, EpisodeFileProblem> {
        let source = ParquetImages::open(path, image)?;
        let reader = &source.reader()?;
        let column = |key: &'static str| {
            let name = NAMES.name(options, key);
            match leaf(reader, name, None) {
                Some(leaf) => Ok(numbers(reader, leaf)?),
                None => Err(EpisodeFileProblem::from(FormatProblem::Missing {
                    format: NAMES.format,
                    name: name.to_owned(),
                    key,
                    found: names(reader),
                })),
            }
        };
        let index = column("episode")?;
        let rows = index.len();
        let actions = column("action")?;
        let size = actions.len() / rows.max(1);
        let rewards = match leaf(reader, NAMES.name(options, "reward"), None) {
            Some(_) => Some(column("reward")?),
            None => None,
        };
        let columns = [
            ("action", actions.len(), size * rows),
            ("reward", rewards.as_ref().map_or(rows, Vec::len), rows),
        ];
        if let Some((key, got, expected)) = columns.iter().find(|(_, got, want)| got != want) {
            return Err(FormatProblem::Rows {
                name: NAMES.name(options, key).to_owned(),
                expected: *expected,
                got: *got,
            }
            .into());
        }
        let first = source.images(0..1)?;
        let layout = ImageLayout::of(image, &[rows, first[0].height(), first[0].width(), 3])?;
        let source: Arc<dyn RowSource> = Arc::new(source.sized(&first[0]));
        let mut episodes = Vec::new();
        let mut start = 0;
        for part in index.chunk_by(|one, other| one == other) {
            let end = start + part.len();
            let steps = Steps {
                frames: part.len(),
                actions: actions[start * size..end * size].to_vec(),
                action_size: size,
                actions_lead: Leads::From,
                rewards: rewards.as_ref().map(|values| values[start..end].to_vec()),
                rewards_lead: Leads::From,
                terminals: None,
                terminals_lead: Leads::From,
            };
            episodes.push(RowEpisode {
                path: path.to_path_buf(),
                series: steps.series(&layout)?,
                source: Arc::clone(&source),
                layout,
                start,
            });
            start = end;
        }
        Ok(episodes)
    }

    type Reader = SerializedFileReader<File>;

    /// The column of this name, or its part of the name `part`.
    fn leaf(reader: &Reader, name: &str, part: Option<&str>) -> Option<usize> {
        let schema = reader.metadata().file_metadata().schema_descr();
        schema.columns().iter().position(|column| {
            let parts = column.path().parts();
            parts.first().is_some_and(|root| root == name)
                && part.is_none_or(|part| parts.last().is_some_and(|last| last == part))
        })
    }

    fn names(reader: &Reader) -> String {
        let fields = reader.metadata().file_metadata().schema().get_fields();
        let names: Vec<_> = fields.iter().map(|field| field.name()).collect();
        names.join(", ")
    }

    /// All numbers of a column, one after another.
    fn numbers(reader: &Reader, leaf: usize) -> Result<Vec<f32>, EpisodeFileProblem> {
        let mut all = Vec::new();
        for group in 0..reader.num_row_groups() {
            let group = reader.get_row_group(group).map_err(refused)?;
            match group.get_column_reader(leaf).map_err(refused)? {
                ColumnReader::BoolColumnReader(column) => {
                    read(column, &mut all, |&value| f32::from(u8::from(value)))?;
                }
                ColumnReader::Int32ColumnReader(column) => {
                    read(column, &mut all, |&value| value as f32)?;
                }
                ColumnReader::Int64ColumnReader(column) => {
                    read(column, &mut all, |&value| value as f32)?;
                }
                ColumnReader::FloatColumnReader(column) => {
                    read(column, &mut all, |&value| value)?;
                }
                ColumnReader::DoubleColumnReader(column) => {
                    read(column, &mut all, |&value| value as f32)?;
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

    fn read<T: DataType>(
        mut column: ColumnReaderImpl<T>,
        all: &mut Vec<f32>,
        convert: impl Fn(&T::T) -> f32,
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

    /// The images of a file's rows.
    #[derive(Debug)]
    struct ParquetImages {
        path: PathBuf,
        name: String,
        leaf: usize,
        /// Rows up to the end of each row group.
        ends: Vec<usize>,
        /// Width and height of all images.
        size: (usize, usize),
    }

    impl ParquetImages {
        fn open(path: &Path, name: &str) -> Result<Self, EpisodeFileProblem> {
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
            Ok(Self {
                path: path.to_path_buf(),
                name: name.to_owned(),
                leaf,
                ends: ends.collect(),
                size: (0, 0),
            })
        }

        fn sized(self, image: &Image) -> Self {
            Self {
                size: (image.width(), image.height()),
                ..self
            }
        }

        fn reader(&self) -> Result<Reader, EpisodeFileProblem> {
            reader(&self.path)
        }

        fn images(&self, rows: Range<usize>) -> Result<Vec<Image>, EpisodeFileProblem> {
            let reader = self.reader()?;
            let mut images = Vec::new();
            let mut start = 0;
            for (group, &end) in self.ends.iter().enumerate() {
                let wanted = rows.start.max(start)..rows.end.min(end);
                if wanted.start < wanted.end {
                    self.read_group(
                        &reader,
                        group,
                        wanted.start - start,
                        wanted.len(),
                        &mut images,
                    )?;
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

    impl RowSource for ParquetImages {
        fn read(&self, rows: Range<usize>) -> Result<Vec<u8>, EpisodeFileProblem> {
            let images = guarded(|| self.images(rows))?;
            let mut bytes = Vec::new();
            for image in images {
                let got = (image.width(), image.height());
                if got != self.size {
                    return Err(FormatProblem::NoImages {
                        name: self.name.clone(),
                        shape: vec![got.1, got.0, 3],
                    }
                    .into());
                }
                bytes.extend(image.into_pixels());
            }
            Ok(bytes)
        }
    }

    fn reader(path: &Path) -> Result<Reader, EpisodeFileProblem> {
        SerializedFileReader::new(File::open(path)?).map_err(refused)
    }

    fn refused(error: ParquetError) -> EpisodeFileProblem {
        FormatProblem::Library(Box::new(error)).into()
    }
}
