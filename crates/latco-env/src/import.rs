//! Episodes from folders of PNG or JPEG frames with a table of actions and rewards.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::action::ActionSpace;
use crate::episode::{Episode, EpisodeArrays, EpisodeError, EpisodeSeries};
use crate::folder::is_hidden;
use crate::image::{Image, ImageError};
use crate::npz::{EpisodeFileError, EpisodeFileProblem};
use crate::recorded::Recorded;

/// Why a folder could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file or the folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder has no frame.
    #[error("{path} has no PNG or JPEG frames")]
    NoFrames {
        /// The folder.
        path: PathBuf,
    },
    /// The folder has no table, or several.
    #[error("{path} has {got} tables, expected exactly one .csv or .json file")]
    Tables {
        /// The folder.
        path: PathBuf,
        /// Tables found.
        got: usize,
    },
    /// The table is no CSV.
    #[error("{path}: {source}")]
    Csv {
        /// The table.
        path: PathBuf,
        /// What the reader said.
        source: csv::Error,
    },
    /// The table is no JSON of the layout that [`import_folder`] describes.
    #[error("{path}: {source}")]
    Json {
        /// The table.
        path: PathBuf,
        /// What the reader said.
        source: serde_json::Error,
    },
    /// A column of the table is missing, unknown or ragged.
    #[error("{path}: {problem}")]
    Column {
        /// The table.
        path: PathBuf,
        /// What is wrong with which column.
        problem: String,
    },
    /// The table has neither a row a frame nor one fewer.
    #[error("{path} has {rows} rows for {frames} frames, expected one a frame or one fewer")]
    Rows {
        /// The table.
        path: PathBuf,
        /// Rows of the table.
        rows: usize,
        /// Frames.
        frames: usize,
    },
    /// A frame cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A frame has another size than the first.
    #[error("{path} has {got:?} pixels (width, height), the first frame {expected:?}")]
    FrameSize {
        /// The frame.
        path: PathBuf,
        /// Width and height of the first frame.
        expected: (usize, usize),
        /// Its own.
        got: (usize, usize),
    },
    /// The numbers of the table do not make an episode.
    #[error("{path}: {source}")]
    Episode {
        /// The table.
        path: PathBuf,
        /// What is wrong.
        source: EpisodeError,
    },
}

/// Reads an episode from a folder with frames (PNG, JPEG) and one table, `.csv` or `.json`.
///
/// Frames are ordered by name, shorter names first, so that `frame-2.png` comes before
/// `frame-10.png`. The table has a row a frame, which holds the action that *led* to the frame, or
/// one row fewer where the first frame has none; the first frame's action and reward are zero
/// then.
///
/// CSV: a header with `action_0`, `action_1`, …, `reward`, and if you like `discount` and
/// `sparse_reward`. JSON: `{"action": [[…], …], "reward": […]}` and, if you like, `"discount"` and
/// `"sparse_reward"`.
///
/// # Errors
/// [`ImportError`] names the file and what is wrong with it.
pub fn import_folder(folder: &Path) -> Result<Episode, ImportError> {
    let frames = FrameFolder::open(folder)?;
    let mut images = Vec::new();
    for path in &frames.frames {
        images.extend(frames.load(path)?);
    }
    let table = frames.table;
    Episode::from_series(frames.series, images).map_err(|source| ImportError::Episode {
        path: table,
        source,
    })
}

/// A folder as [`import_folder`] takes it, its frames read when they are asked for.
#[derive(Clone, Debug)]
pub struct FrameFolder {
    frames: Vec<PathBuf>,
    table: PathBuf,
    series: EpisodeSeries,
}

impl FrameFolder {
    /// Reads the table and the first frame.
    ///
    /// # Errors
    /// [`ImportError`] names the file and what is wrong with it.
    pub fn open(folder: &Path) -> Result<Self, ImportError> {
        let (frames, path) = find_files(folder)?;
        let first = Image::load(&frames[0])?;
        let mut table = Table::read(&path)?;
        table.match_frames(frames.len(), &path)?;
        let series = EpisodeSeries::from_arrays(EpisodeArrays {
            image_height: first.height(),
            image_width: first.width(),
            cameras: 1,
            action_space: ActionSpace::unit(table.action.first().map_or(0, Vec::len)),
            images: Vec::new(),
            actions: table.action.concat(),
            discounts: table.discount.unwrap_or_else(|| vec![1.0; frames.len()]),
            rewards: table.reward,
            sparse_rewards: table.sparse_reward,
        });
        let series = series.map_err(|source| ImportError::Episode {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            frames,
            table: path,
            series,
        })
    }

    /// The table, then the frames in order.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.table].into_iter().chain(&self.frames)
    }

    /// The pixels of a frame, which must be as large as the first.
    fn load(&self, path: &Path) -> Result<Vec<u8>, ImportError> {
        let image = Image::load(path)?;
        let expected = (self.series.image_width(), self.series.image_height());
        let got = (image.width(), image.height());
        match got == expected {
            true => Ok(image.into_pixels()),
            false => Err(ImportError::FrameSize {
                path: path.to_path_buf(),
                expected,
                got,
            }),
        }
    }
}

impl Recorded for FrameFolder {
    fn path(&self) -> &Path {
        &self.table
    }

    fn series(&self) -> &EpisodeSeries {
        &self.series
    }

    fn images(&self, frames: Range<usize>) -> Result<Cow<'_, [u8]>, EpisodeFileError> {
        let mut images = Vec::new();
        for path in &self.frames[frames] {
            let pixels = self.load(path).map_err(|error| EpisodeFileError {
                path: path.clone(),
                problem: EpisodeFileProblem::Format(Box::new(error)),
            })?;
            images.extend(pixels);
        }
        Ok(Cow::Owned(images))
    }
}

/// What some editors write before the text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The frames in order, and the table.
fn find_files(folder: &Path) -> Result<(Vec<PathBuf>, PathBuf), ImportError> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|source| unreadable(folder, source))?;
    files.retain(|path| !is_hidden(path));
    let with = |extension: &str| {
        files
            .iter()
            .filter(|path| {
                path.extension()
                    .is_some_and(|found| found.eq_ignore_ascii_case(extension))
            })
            .cloned()
            .collect::<Vec<_>>()
    };
    let mut frames = [with("png"), with("jpg"), with("jpeg")].concat();
    if frames.is_empty() {
        return Err(ImportError::NoFrames {
            path: folder.to_path_buf(),
        });
    }
    frames.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    let mut tables = [with("csv"), with("json")].concat();
    match (tables.pop(), tables.len()) {
        (Some(table), 0) => Ok((frames, table)),
        (last, others) => Err(ImportError::Tables {
            path: folder.to_path_buf(),
            got: others + usize::from(last.is_some()),
        }),
    }
}

/// The table, row by row.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    action: Vec<Vec<f32>>,
    reward: Vec<f32>,
    discount: Option<Vec<f32>>,
    sparse_reward: Option<Vec<f32>>,
}

impl Table {
    fn read(path: &Path) -> Result<Self, ImportError> {
        let text = fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
        let table = if path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
        {
            Self::from_csv(&text, path)?
        } else {
            serde_json::from_str(text.trim_start_matches(BYTE_ORDER_MARK)).map_err(|source| {
                ImportError::Json {
                    path: path.to_path_buf(),
                    source,
                }
            })?
        };
        table.check(path)?;
        Ok(table)
    }

    fn from_csv(text: &str, path: &Path) -> Result<Self, ImportError> {
        let unusable = |source| ImportError::Csv {
            path: path.to_path_buf(),
            source,
        };
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let columns = Columns::find(reader.headers().map_err(unusable)?, path)?;
        let rows = reader
            .deserialize::<Vec<f32>>()
            .collect::<Result<Vec<_>, _>>()
            .map_err(unusable)?;
        let column = |index: usize| rows.iter().map(|row| row[index]).collect();
        Ok(Self {
            action: rows
                .iter()
                .map(|row| columns.actions.iter().map(|&index| row[index]).collect())
                .collect(),
            reward: column(columns.reward),
            discount: columns.discount.map(column),
            sparse_reward: columns.sparse_reward.map(column),
        })
    }

    fn check(&self, path: &Path) -> Result<(), ImportError> {
        let size = self.action.first().map_or(0, Vec::len);
        if let Some(row) = self.action.iter().position(|action| action.len() != size) {
            let got = self.action[row].len();
            return Err(column_problem(
                path,
                format!("action {row} has {got} entries, the first has {size}"),
            ));
        }
        let rows = self.action.len();
        let columns = [
            ("reward", Some(&self.reward)),
            ("discount", self.discount.as_ref()),
            ("sparse_reward", self.sparse_reward.as_ref()),
        ];
        for (name, values) in columns {
            if let Some(got) = values.map(Vec::len).filter(|&got| got != rows) {
                return Err(column_problem(
                    path,
                    format!("`{name}` has {got} entries for {rows} actions"),
                ));
            }
        }
        Ok(())
    }

    /// Puts the reset before the first row, where the table leaves it out.
    fn match_frames(&mut self, frames: usize, path: &Path) -> Result<(), ImportError> {
        let rows = self.action.len();
        if rows == frames {
            return Ok(());
        }
        let Some(first) = self.action.first().filter(|_| rows + 1 == frames) else {
            return Err(ImportError::Rows {
                path: path.to_path_buf(),
                rows,
                frames,
            });
        };
        self.action.insert(0, vec![0.0; first.len()]);
        self.reward.insert(0, 0.0);
        if let Some(discount) = &mut self.discount {
            discount.insert(0, 1.0);
        }
        if let Some(sparse_reward) = &mut self.sparse_reward {
            sparse_reward.insert(0, 0.0);
        }
        Ok(())
    }
}

/// Where the columns of a CSV are.
#[derive(Default)]
struct Columns {
    actions: Vec<usize>,
    reward: usize,
    discount: Option<usize>,
    sparse_reward: Option<usize>,
}

impl Columns {
    fn find(header: &csv::StringRecord, path: &Path) -> Result<Self, ImportError> {
        let position = |name: &str| header.iter().position(|column| column == name);
        let actions: Vec<usize> = (0..)
            .map_while(|entry| position(&format!("action_{entry}")))
            .collect();
        if actions.is_empty() {
            return Err(column_problem(
                path,
                "column `action_0` is missing".to_owned(),
            ));
        }
        let reward = position("reward")
            .ok_or_else(|| column_problem(path, "column `reward` is missing".to_owned()))?;
        let found = Self {
            actions,
            reward,
            discount: position("discount"),
            sparse_reward: position("sparse_reward"),
        };
        match (0..header.len()).find(|index| !found.uses(*index)) {
            Some(index) => Err(column_problem(
                path,
                format!(
                    "column `{}` is unknown or given twice, expected action_0, action_1, …, reward, discount, sparse_reward",
                    &header[index]
                ),
            )),
            None => Ok(found),
        }
    }

    fn uses(&self, index: usize) -> bool {
        self.actions.contains(&index)
            || self.reward == index
            || self.discount == Some(index)
            || self.sparse_reward == Some(index)
    }
}

fn column_problem(path: &Path, problem: String) -> ImportError {
    ImportError::Column {
        path: path.to_path_buf(),
        problem,
    }
}

fn unreadable(path: &Path, source: io::Error) -> ImportError {
    ImportError::Io {
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(frames: usize, table: (&str, &str)) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for frame in 0..frames {
            let image = Image::new(4, 3, vec![frame as u8; 36]).unwrap();
            let path = folder.path().join(format!("frame-{frame}.png"));
            image.save_png(&path).unwrap();
        }
        fs::write(folder.path().join(table.0), table.1).unwrap();
        folder
    }

    fn problem(frames: usize, table: (&str, &str)) -> String {
        import_folder(folder(frames, table).path())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn csv_with_a_row_a_frame() {
        let csv = "reward, action_0, action_1\n0, 0, 0\n0.5, 1, -1\n1, 0.25, 0\n";
        let episode = import_folder(folder(3, ("steps.csv", csv)).path()).unwrap();
        assert_eq!((episode.len(), episode.action_size()), (3, 2));
        assert_eq!((episode.image_width(), episode.image_height()), (4, 3));
        assert_eq!(episode.action(2), [0.25, 0.0]);
        assert_eq!(episode.rewards(), [0.0, 0.5, 1.0]);
        assert_eq!(episode.sparse_rewards(), None);
    }

    #[test]
    fn json_with_one_row_fewer_and_many_frames_in_order() {
        let rows = vec![[1.0]; 11];
        let json = serde_json::json!({
            "action": rows, "reward": vec![1.0; 11], "sparse_reward": vec![1.0; 11],
        });
        let episode = import_folder(folder(12, ("steps.json", &json.to_string())).path()).unwrap();
        assert_eq!(episode.action(0), [0.0]);
        assert_eq!(episode.sparse_rewards().unwrap()[..2], [0.0, 1.0]);
        let shades: Vec<u8> = (0..12).map(|t| episode.image(t).pixels()[0]).collect();
        assert_eq!(shades, (0..12).collect::<Vec<u8>>());
    }

    #[test]
    fn problems_name_the_file_and_the_column() {
        assert!(problem(3, ("a.csv", "reward\n1\n")).contains("action_0"));
        assert!(problem(3, ("a.csv", "action_0,reward,speed\n1,1,1\n")).contains("`speed`"));
        assert!(problem(3, ("a.csv", "action_0,reward\n1,up\n")).contains("a.csv"));
        assert!(problem(3, ("a.csv", "action_0,reward\n1,1,1\n")).contains("a.csv"));
        assert!(problem(4, ("a.csv", "action_0,reward\n1,1\n")).contains("1 rows for 4 frames"));
        assert!(problem(2, ("a.csv", "action_0,reward\n1,nan\n")).contains("`reward`"));
        assert!(problem(2, ("a.json", "{\"action\": [[1]]}")).contains("reward"));
        assert!(problem(2, ("a.json", "{\"action\": [[1]], \"reward\": []}")).contains("`reward`"));
        let ragged = "{\"action\": [[1], [1, 2]], \"reward\": [0, 0]}";
        assert!(problem(2, ("a.json", ragged)).contains("action 1"));
        let idle = "{\"action\": [[], []], \"reward\": [0, 0]}";
        assert!(problem(2, ("a.json", idle)).contains("`action` is empty"));
        assert!(problem(2, ("a.txt", "")).contains("0 tables"));
        assert!(problem(0, ("a.csv", "")).contains("no PNG or JPEG"));
    }

    #[test]
    fn frames_of_another_size_are_refused() {
        let folder = folder(2, ("a.csv", "action_0,reward\n1,1\n1,1\n"));
        let odd = Image::new(2, 2, vec![0; 12]).unwrap();
        odd.save_png(&folder.path().join("frame-9.png")).unwrap();
        let error = import_folder(folder.path()).unwrap_err();
        assert!(matches!(error, ImportError::FrameSize { .. }));
        let opened = FrameFolder::open(folder.path()).unwrap();
        assert!(opened.images(0..2).is_ok() && opened.images(1..3).is_err());
    }
}
