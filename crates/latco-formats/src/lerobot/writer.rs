//! Writes data sets of LeRobot, version 3.

use std::fs;
use std::path::{Path, PathBuf};

use latco_env::{Episode, EpisodeFileError, EpisodeFileProblem, ImageError};
use serde_json::{Value, json};

use super::statistics::Statistics;
use super::table::{Column, Columns, TableFile};
use crate::error::{FormatProblem, at};

/// A file takes no further episode from so many bytes on, as LeRobot's own.
const FULL: usize = 100 << 20;

/// The files of a folder.
const FILES_PER_CHUNK: usize = 1000;

/// What a data set says of all its episodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeRobotSettings {
    /// Frames a second.
    pub fps: u32,
    /// What is done in the episodes, in words.
    pub task: String,
}

/// Writes episodes as a data set of LeRobot, version 3.0: images as PNG in Parquet files, `action` in the
/// environment's units, `next.reward`, `next.done`.
///
/// Row `t` is frame `t`, with the action and the reward of the step from it to the next; those of an
/// episode's last row are zero. Each camera is a feature, `observation.image`, or `observation.images.0`
/// and so on where there are several.
///
/// The data set is there once [`finish`](Self::finish) has written `meta/info.json`.
pub struct LeRobotWriter {
    root: PathBuf,
    settings: LeRobotSettings,
    features: Option<Features>,
    /// The file of data that takes episodes.
    data: Option<TableFile>,
    files: usize,
    episodes: Vec<Written>,
    frames: usize,
}

/// An episode that is in a file.
struct Written {
    length: usize,
    file: usize,
}

impl LeRobotWriter {
    /// A new data set in the folder `root`, which is made.
    ///
    /// # Errors
    /// [`EpisodeFileError`] where the folder cannot be made, or there are no frames a second.
    pub fn create(root: &Path, settings: LeRobotSettings) -> Result<Self, EpisodeFileError> {
        if settings.fps == 0 {
            let problem = "0 frames a second, expected at least 1".to_owned();
            return Err(at(root, FormatProblem::Unsupported(problem)));
        }
        fs::create_dir_all(root.join("meta")).map_err(|error| at(root, error))?;
        Ok(Self {
            root: root.to_path_buf(),
            settings,
            features: None,
            data: None,
            files: 0,
            episodes: Vec::new(),
            frames: 0,
        })
    }

    /// Adds an episode.
    ///
    /// # Errors
    /// [`EpisodeFileError`] where its images or actions have other sides than those of the episodes before, or
    /// the file cannot be written.
    pub fn add(&mut self, episode: &Episode) -> Result<(), EpisodeFileError> {
        let root = self.root.clone();
        self.add_to_file(episode)
            .map_err(|problem| at(&root, problem))
    }

    fn add_to_file(&mut self, episode: &Episode) -> Result<(), EpisodeFileProblem> {
        let features = self.features.get_or_insert_with(|| Features::of(episode));
        features.check(episode)?;
        features.count(episode);
        let columns =
            features.rows(episode, self.episodes.len(), self.frames, self.settings.fps)?;
        let mut file = match self.data.take() {
            Some(file) if file.bytes_written() < FULL => file,
            full => {
                if let Some(full) = full {
                    full.close()?;
                }
                let path = numbered(&self.root.join("data"), self.files);
                fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
                self.files += 1;
                TableFile::create(&path, &columns)?
            }
        };
        file.add(&columns)?;
        self.data = Some(file);
        self.episodes.push(Written {
            length: episode.len(),
            file: self.files - 1,
        });
        self.frames += episode.len();
        Ok(())
    }

    /// Writes what describes the episodes.
    ///
    /// # Errors
    /// [`EpisodeFileError`] where there are no episodes, or a file cannot be written.
    pub fn finish(mut self) -> Result<(), EpisodeFileError> {
        let root = self.root.clone();
        self.describe().map_err(|problem| at(&root, problem))
    }

    fn describe(&mut self) -> Result<(), EpisodeFileProblem> {
        let Some(features) = &self.features else {
            return Err(FormatProblem::Unsupported("no episodes to write".to_owned()).into());
        };
        if let Some(file) = self.data.take() {
            file.close()?;
        }
        let meta = self.root.join("meta");
        self.write_episodes(&numbered(&meta.join("episodes"), 0))?;
        self.write_tasks(&meta.join("tasks.parquet"))?;
        write_json(
            &meta.join("stats.json"),
            &features.statistics(self.frames as u64),
        )?;
        write_json(&meta.join("info.json"), &self.info(features))
    }

    fn write_episodes(&self, path: &Path) -> Result<(), EpisodeFileProblem> {
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        let integers = |of: &dyn Fn(usize, &Written) -> usize| {
            let episodes = self.episodes.iter().enumerate();
            Column::Integers(episodes.map(|(i, episode)| of(i, episode) as i64).collect())
        };
        let ends: Vec<usize> = self
            .episodes
            .iter()
            .scan(0, |end, episode| {
                *end += episode.length;
                Some(*end)
            })
            .collect();
        let tasks = vec![self.settings.task.clone(); self.episodes.len()];
        let columns = vec![
            ("episode_index".to_owned(), integers(&|i, _| i)),
            ("tasks".to_owned(), Column::TextLists(tasks)),
            ("length".to_owned(), integers(&|_, episode| episode.length)),
            (
                "data/chunk_index".to_owned(),
                integers(&|_, episode| episode.file / FILES_PER_CHUNK),
            ),
            (
                "data/file_index".to_owned(),
                integers(&|_, episode| episode.file % FILES_PER_CHUNK),
            ),
            (
                "dataset_from_index".to_owned(),
                integers(&|i, episode| ends[i] - episode.length),
            ),
            ("dataset_to_index".to_owned(), integers(&|i, _| ends[i])),
            ("meta/episodes/chunk_index".to_owned(), integers(&|_, _| 0)),
            ("meta/episodes/file_index".to_owned(), integers(&|_, _| 0)),
        ];
        write_table(path, &columns)
    }

    /// A table of pandas', whose index is the task.
    fn write_tasks(&self, path: &Path) -> Result<(), EpisodeFileProblem> {
        let columns = vec![
            ("task_index".to_owned(), Column::Integers(vec![0])),
            (
                "task".to_owned(),
                Column::Texts(vec![self.settings.task.clone()]),
            ),
        ];
        let described = |name: &str, kind: &str, numpy: &str| json!({"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": null});
        let pandas = json!({
            "index_columns": ["task"],
            "column_indexes": [],
            "columns": [described("task_index", "int64", "int64"), described("task", "unicode", "object")],
        });
        let mut file = TableFile::create(path, &columns)?;
        file.add(&columns)?;
        file.annotate("pandas", pandas.to_string());
        file.close()
    }

    fn info(&self, features: &Features) -> Value {
        json!({
            "codebase_version": "v3.0",
            "robot_type": null,
            "total_episodes": self.episodes.len(),
            "total_frames": self.frames,
            "total_tasks": 1,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": FULL >> 20,
            "video_files_size_in_mb": 200,
            "fps": self.settings.fps,
            "splits": {"train": format!("0:{}", self.episodes.len())},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": null,
            "features": features.info(),
        })
    }
}

/// The file of this number below a folder.
fn numbered(folder: &Path, file: usize) -> PathBuf {
    let (chunk, file) = (file / FILES_PER_CHUNK, file % FILES_PER_CHUNK);
    folder.join(format!("chunk-{chunk:03}/file-{file:03}.parquet"))
}

fn write_table(path: &Path, columns: &Columns) -> Result<(), EpisodeFileProblem> {
    let mut file = TableFile::create(path, columns)?;
    file.add(columns)?;
    file.close()
}

fn write_json(path: &Path, value: &Value) -> Result<(), EpisodeFileProblem> {
    Ok(latco_env::write_atomic(
        path,
        format!("{value:#}\n").as_bytes(),
    )?)
}

/// What rows hold.
struct Features {
    /// Height and width of a camera's picture.
    height: usize,
    width: usize,
    cameras: usize,
    action_size: usize,
    pixels: Vec<Statistics>,
    actions: Statistics,
    rewards: Statistics,
}

impl Features {
    fn of(episode: &Episode) -> Self {
        let cameras = episode.cameras();
        Self {
            height: episode.image_height(),
            width: episode.image_width() / cameras,
            cameras,
            action_size: episode.action_size(),
            pixels: vec![Statistics::new(3); cameras],
            actions: Statistics::new(episode.action_size()),
            rewards: Statistics::new(1),
        }
    }

    fn check(&self, episode: &Episode) -> Result<(), EpisodeFileProblem> {
        let got = [
            episode.image_height(),
            episode.image_width(),
            episode.cameras(),
            episode.action_size(),
        ];
        let expected = [
            self.height,
            self.width * self.cameras,
            self.cameras,
            self.action_size,
        ];
        if got == expected {
            return Ok(());
        }
        let described = |[height, width, cameras, actions]: [usize; 4]| {
            format!("{width}x{height} pixels of {cameras} cameras and {actions} action entries")
        };
        let problem = format!(
            "an episode with {} beside episodes with {}: a data set has one size, \
             which `latco import --size` gives",
            described(got),
            described(expected)
        );
        Err(FormatProblem::Unsupported(problem).into())
    }

    fn count(&mut self, episode: &Episode) {
        let [actions, rewards] = led_from(episode);
        self.actions.add(actions.iter().copied().map(f64::from));
        self.rewards.add(rewards.iter().copied().map(f64::from));
        let row = 3 * self.width;
        for (i, pixels) in episode.images().chunks_exact(row).enumerate() {
            self.pixels[i % self.cameras].add(pixels.iter().copied().map(f64::from));
        }
    }

    fn image_name(&self, camera: usize) -> String {
        match self.cameras {
            1 => "observation.image".to_owned(),
            _ => format!("observation.images.{camera}"),
        }
    }

    /// The rows of an episode, the first of which is row `start` of the data set.
    fn rows(
        &self,
        episode: &Episode,
        index: usize,
        start: usize,
        fps: u32,
    ) -> Result<Columns, EpisodeFileProblem> {
        let length = episode.len();
        let [actions, rewards] = led_from(episode);
        let mut columns = Vec::new();
        for camera in 0..self.cameras {
            let pictures = self.pictures(episode, camera)?;
            columns.push((self.image_name(camera), Column::Pictures(pictures)));
        }
        let actions = match self.action_size {
            1 => Column::Reals(actions),
            size => Column::RealLists(actions, size),
        };
        let seconds = |frame: usize| (frame as f64 / f64::from(fps)) as f32;
        let same = |value: usize| Column::Integers(vec![value as i64; length]);
        let from = |first: usize| {
            Column::Integers((0..length).map(|frame| (first + frame) as i64).collect())
        };
        columns.extend([
            ("action".to_owned(), actions),
            ("next.reward".to_owned(), Column::Reals(rewards)),
            (
                "next.done".to_owned(),
                Column::Flags((1..=length).map(|frame| frame == length).collect()),
            ),
            (
                "timestamp".to_owned(),
                Column::Reals((0..length).map(seconds).collect()),
            ),
            ("frame_index".to_owned(), from(0)),
            ("episode_index".to_owned(), same(index)),
            ("index".to_owned(), from(start)),
            ("task_index".to_owned(), same(0)),
        ]);
        Ok(columns)
    }

    /// A camera's pictures as PNG.
    fn pictures(
        &self,
        episode: &Episode,
        camera: usize,
    ) -> Result<Vec<(Vec<u8>, String)>, EpisodeFileProblem> {
        let encoded = (0..episode.len()).map(|frame| {
            let image = episode.image(frame);
            let part = [camera * self.width, 0, self.width, self.height];
            let png = image.cropped(part).unwrap_or(image).to_png();
            let png = png.map_err(|error: ImageError| FormatProblem::Library(Box::new(error)))?;
            Ok((png, format!("frame-{frame:06}.png")))
        });
        encoded.collect()
    }

    /// The features of `meta/info.json`.
    fn info(&self) -> Value {
        let numbers =
            |kind: &str, size: usize| json!({"dtype": kind, "shape": [size], "names": null});
        let picture = json!({
            "dtype": "image",
            "shape": [self.height, self.width, 3],
            "names": ["height", "width", "channels"],
        });
        let mut features = json!({
            "action": numbers("float32", self.action_size),
            "next.reward": numbers("float32", 1),
            "next.done": numbers("bool", 1),
            "timestamp": numbers("float32", 1),
            "frame_index": numbers("int64", 1),
            "episode_index": numbers("int64", 1),
            "index": numbers("int64", 1),
            "task_index": numbers("int64", 1),
        });
        for camera in 0..self.cameras {
            features[self.image_name(camera)] = picture.clone();
        }
        features
    }

    /// `meta/stats.json`; pixels from 0 to 1.
    fn statistics(&self, frames: u64) -> Value {
        let mut figures = json!({
            "action": self.actions.json(1.0, None),
            "next.reward": self.rewards.json(1.0, None),
        });
        for (camera, pixels) in self.pixels.iter().enumerate() {
            figures[self.image_name(camera)] = pixels.json(1.0 / 255.0, Some(frames));
        }
        figures
    }
}

/// Actions and rewards beside the image that they lead from; the last row's are zero.
fn led_from(episode: &Episode) -> [Vec<f32>; 2] {
    let earlier = |values: &[f32], size: usize| [&values[size..], &vec![0.0; size]].concat();
    [
        earlier(episode.actions(), episode.action_size()),
        earlier(episode.rewards(), 1),
    ]
}
