//! The folders and tables of a data set.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use latco_env::{EpisodeFileProblem, Recorded, Recordings, is_hidden};
use serde::Deserialize;

use super::columns::{Reader, guarded, leaf, names, numbers, reader};
use super::pictures::Pictures;
use super::template::filled;
use super::video::Video;
use crate::error::FormatProblem;
use crate::open::Options;
use crate::rows::{ImageLayout, Leads, RowEpisode, RowSource, Steps};
use crate::table::Names;

pub(super) const NAMES: Names = Names {
    format: "LeRobot",
    keys: &[
        ("image", "observation.image"),
        ("action", "action"),
        ("reward", "next.reward"),
        ("episode", "episode_index"),
    ],
};

/// A file, and what is wrong with it.
pub(super) type Failure = (PathBuf, EpisodeFileProblem);

/// `meta/info.json`.
#[derive(Deserialize)]
struct Info {
    features: BTreeMap<String, Feature>,
    /// Where a video lies.
    #[serde(default)]
    video_path: Option<String>,
    /// Episodes a folder, before version 3.
    #[serde(default)]
    chunks_size: Option<usize>,
}

#[derive(Deserialize)]
struct Feature {
    dtype: String,
}

/// Where the images are.
enum Images {
    /// In the rows of the data's files.
    Pictures(PictureFiles),
    /// In files of their own.
    Videos(Videos),
}

/// An episode's images: rows of `source`, from `start` on.
struct Shown {
    path: PathBuf,
    source: Arc<dyn RowSource>,
    layout: ImageLayout,
    start: usize,
}

impl Images {
    fn open(root: &Path, options: &Options) -> Result<Self, Failure> {
        let path = root.join("meta").join("info.json");
        let at = |problem| (path.clone(), problem);
        let info = Info::read(&path, options).map_err(at)?;
        let (name, is_video) = info.image(options).map_err(at)?;
        if !is_video {
            return Ok(Self::Pictures(PictureFiles { name, opened: None }));
        }
        let within = |template: &String| is_within(&filled(template, &name, &[]));
        let Some(template) = info.video_path.filter(within) else {
            let problem =
                "expected a `video_path` within the data set, since its images are videos";
            return Err(at(FormatProblem::Unsupported(problem.to_owned()).into()));
        };
        Ok(Self::Videos(Videos {
            places: Places::read(root, &name)?,
            root: root.to_path_buf(),
            name,
            template,
            episodes_per_chunk: info.chunks_size.unwrap_or(1000).max(1),
            opened: BTreeMap::new(),
        }))
    }

    /// Those of an episode, whose first row in its file of data is `row`.
    fn of(&mut self, file: &Path, row: usize, episode: usize) -> Result<Shown, Failure> {
        match self {
            Self::Pictures(pictures) => pictures.of(file, row),
            Self::Videos(videos) => videos.of(episode),
        }
    }
}

/// The images in a column of the data's files, the last file opened.
struct PictureFiles {
    name: String,
    opened: Option<(PathBuf, Arc<Pictures>)>,
}

impl PictureFiles {
    fn of(&mut self, file: &Path, row: usize) -> Result<Shown, Failure> {
        let at = |problem| (file.to_path_buf(), problem);
        let pictures = match &self.opened {
            Some((path, pictures)) if path == file => Arc::clone(pictures),
            _ => {
                let pictures = guarded(|| Pictures::open(file, &self.name)).map_err(at)?;
                let pictures = Arc::new(pictures);
                self.opened = Some((file.to_path_buf(), Arc::clone(&pictures)));
                pictures
            }
        };
        Ok(Shown {
            path: file.to_path_buf(),
            layout: pictures.layout().map_err(|problem| at(problem.into()))?,
            source: pictures,
            start: row,
        })
    }
}

impl Info {
    fn read(path: &Path, options: &Options) -> Result<Self, EpisodeFileProblem> {
        NAMES.check(options)?;
        let info = serde_json::from_str(&fs::read_to_string(path)?);
        Ok(info.map_err(|error| FormatProblem::Library(Box::new(error)))?)
    }

    /// The name of the images, and whether they are videos.
    fn image(&self, options: &Options) -> Result<(String, bool), EpisodeFileProblem> {
        let is_image = |feature: &Feature| matches!(feature.dtype.as_str(), "image" | "video");
        let cameras = self
            .features
            .iter()
            .filter(|(_, feature)| is_image(feature));
        let cameras: Vec<_> = cameras.map(|(name, _)| name.as_str()).collect();
        let name = match (options.map.get("image"), cameras.as_slice()) {
            (Some(name), _) => name,
            (None, [name]) => *name,
            (None, []) => {
                let problem =
                    "a data set without images: no feature is `image` or `video`".to_owned();
                return Err(FormatProblem::Unsupported(problem).into());
            }
            (None, several) => {
                let problem = format!(
                    "several cameras, {}: --map image=NAME names one",
                    several.join(", ")
                );
                return Err(FormatProblem::Unsupported(problem).into());
            }
        };
        let feature = self.features.get(name);
        Ok((
            name.to_owned(),
            feature.is_some_and(|feature| feature.dtype == "video"),
        ))
    }
}

/// Whether a path leads out of no folder.
fn is_within(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    parts.all(|part| matches!(part, Component::Normal(_)))
}

/// The videos of a camera.
struct Videos {
    root: PathBuf,
    name: String,
    template: String,
    episodes_per_chunk: usize,
    places: Places,
    opened: BTreeMap<PathBuf, Arc<Video>>,
}

impl Videos {
    /// Where an episode is shown, as the tables in `meta/episodes` say where several share a video.
    fn place(&self, episode: usize) -> Result<Place, Failure> {
        let is_shared = ["{file_index", "{chunk_index"]
            .iter()
            .any(|field| self.template.contains(field));
        match self.places.0.get(&episode) {
            Some(&place) => Ok(place),
            None if is_shared => {
                let problem = format!("no table says where a video shows episode {episode}");
                let folder = self.root.join("meta").join("episodes");
                Err((folder, FormatProblem::Unsupported(problem).into()))
            }
            None => Ok(Place::default()),
        }
    }

    fn of(&mut self, episode: usize) -> Result<Shown, Failure> {
        let place = self.place(episode)?;
        let fields = [
            ("chunk_index", place.chunk),
            ("file_index", place.file),
            ("episode_chunk", episode / self.episodes_per_chunk),
            ("episode_index", episode),
        ];
        let path = self.root.join(filled(&self.template, &self.name, &fields));
        let at = |problem| (path.clone(), problem);
        let video = match self.opened.get(&path) {
            Some(video) => Arc::clone(video),
            None => {
                let video = Arc::new(guarded(|| Video::open(&path)).map_err(at)?);
                self.opened.insert(path.clone(), Arc::clone(&video));
                video
            }
        };
        Ok(Shown {
            layout: video
                .layout(&self.name)
                .map_err(|problem| at(problem.into()))?,
            start: video.frame_at(place.from),
            source: video,
            path,
        })
    }
}

/// Where a video shows an episode, in version 3; in version 2 each has a video of its own.
#[derive(Clone, Copy, Default)]
struct Place {
    chunk: usize,
    file: usize,
    /// Seconds from the beginning.
    from: f64,
}

/// The places of all episodes, from the tables in `meta/episodes`.
struct Places(BTreeMap<usize, Place>);

impl Places {
    fn read(root: &Path, camera: &str) -> Result<Self, Failure> {
        let folder = root.join("meta").join("episodes");
        let mut places = BTreeMap::new();
        if folder.is_dir() {
            for file in parquet_files(&folder)? {
                let found = guarded(|| Self::read_file(&file, camera));
                places.extend(found.map_err(|problem| (file, problem))?);
            }
        }
        Ok(Self(places))
    }

    fn read_file(path: &Path, camera: &str) -> Result<Vec<(usize, Place)>, EpisodeFileProblem> {
        let reader = &reader(path)?;
        let index = |name: &str| column(reader, name, "episode", |value| value as usize);
        let of_video = |field: &str| format!("videos/{camera}/{field}");
        let episodes = index("episode_index")?;
        let chunks = index(&of_video("chunk_index"))?;
        let files = index(&of_video("file_index"))?;
        let times = column(reader, &of_video("from_timestamp"), "episode", |value| {
            value
        })?;
        let counts = [chunks.len(), files.len(), times.len()];
        if let Some(&got) = counts.iter().find(|&&count| count != episodes.len()) {
            return Err(FormatProblem::Rows {
                name: of_video("…"),
                expected: episodes.len(),
                got,
            }
            .into());
        }
        let places = chunks.into_iter().zip(files).zip(times);
        let places = places.map(|((chunk, file), from)| Place { chunk, file, from });
        Ok(episodes.into_iter().zip(places).collect())
    }
}

pub(super) fn open(root: &Path, options: &Options) -> Result<Recordings, Failure> {
    let mut images = Images::open(root, options)?;
    let mut found = Recordings::default();
    for file in parquet_files(&root.join("data"))? {
        let rows = guarded(|| Rows::read(&file, options));
        let rows = rows.map_err(|problem| (file.clone(), problem))?;
        for episode in rows.episodes(&file, &mut images)? {
            found.episodes.push(Arc::new(episode) as Arc<dyn Recorded>);
        }
        found.files.push(file);
    }
    if let Images::Videos(videos) = images {
        found.files.extend(videos.opened.into_keys());
    }
    Ok(found)
}

/// The Parquet files below a folder, in the order of their names.
fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    find_files(folder, &mut files).map_err(|error| (folder.to_path_buf(), error.into()))?;
    files.sort();
    Ok(files)
}

fn find_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_files(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "parquet") && !is_hidden(&path) {
            files.push(path);
        }
    }
    Ok(())
}

/// The numbers of a file.
struct Rows {
    episodes: Vec<f32>,
    actions: Vec<f32>,
    action_size: usize,
    rewards: Option<Vec<f32>>,
}

impl Rows {
    fn read(path: &Path, options: &Options) -> Result<Self, EpisodeFileProblem> {
        let reader = &reader(path)?;
        let column =
            |key: &'static str| column(reader, NAMES.name(options, key), key, |value| value as f32);
        let episodes = column("episode")?;
        let rows = episodes.len();
        let actions = column("action")?;
        let action_size = actions.len() / rows.max(1);
        // They may be missing, unless their name was told.
        let is_told = options.map.contains_key("reward");
        let rewards = match leaf(reader, NAMES.name(options, "reward"), None) {
            None if !is_told => None,
            _ => Some(column("reward")?),
        };
        let columns = [
            ("action", actions.len(), action_size * rows),
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
        Ok(Self {
            episodes,
            actions,
            action_size,
            rewards,
        })
    }

    fn episodes(&self, file: &Path, images: &mut Images) -> Result<Vec<RowEpisode>, Failure> {
        let mut found = Vec::new();
        let mut start = 0;
        for part in self.episodes.chunk_by(|one, other| one == other) {
            let rows = start..start + part.len();
            start = rows.end;
            let shown = images.of(file, rows.start, part[0] as usize)?;
            let series = self.steps(rows).series(&shown.layout);
            found.push(RowEpisode {
                series: series.map_err(|problem| (file.to_path_buf(), problem))?,
                path: shown.path,
                source: shown.source,
                layout: shown.layout,
                start: shown.start,
            });
        }
        Ok(found)
    }

    fn steps(&self, rows: Range<usize>) -> Steps {
        let size = self.action_size;
        Steps {
            frames: rows.len(),
            actions: self.actions[rows.start * size..rows.end * size].to_vec(),
            action_size: size,
            actions_lead: Leads::From,
            rewards: self.rewards.as_ref().map(|values| values[rows].to_vec()),
            rewards_lead: Leads::From,
            terminals: None,
            terminals_lead: Leads::From,
        }
    }
}

/// The numbers of a column that must be there.
fn column<N>(
    reader: &Reader,
    name: &str,
    key: &'static str,
    number: fn(f64) -> N,
) -> Result<Vec<N>, EpisodeFileProblem> {
    match leaf(reader, name, None) {
        Some(leaf) => numbers(reader, leaf, number),
        None => Err(FormatProblem::Missing {
            format: NAMES.format,
            name: name.to_owned(),
            key,
            found: names(reader),
        }
        .into()),
    }
}
