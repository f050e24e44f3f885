//! A folder of episodes.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::atomic;
use crate::episode::Episode;
use crate::npz::{EpisodeFileError, EpisodeFileProblem, NpzEpisode};
use crate::recorded::Recordings;

/// A folder of `.npz` episodes, in the order of their names.
#[derive(Clone, Debug)]
pub struct EpisodeFolder {
    path: PathBuf,
}

/// What [`EpisodeFolder::load_all`] found.
#[derive(Debug, Default)]
pub struct LoadedEpisodes {
    /// The usable episodes with their files, by name.
    pub episodes: Vec<(PathBuf, Episode)>,
    /// The others, each with the reason.
    pub skipped: Vec<SkippedFile>,
}

/// A file that was left out, and why.
#[derive(Debug, thiserror::Error)]
#[error("skipped {0}")]
pub struct SkippedFile(#[source] pub EpisodeFileError);

impl EpisodeFolder {
    /// The folder at `path`, which is made where it is missing.
    ///
    /// # Errors
    /// [`EpisodeFileError`] names the folder.
    pub fn create(path: &Path) -> Result<Self, EpisodeFileError> {
        fs::create_dir_all(path).map_err(|error| unusable(path, error))?;
        Self::open(path)
    }

    /// The folder at `path`, which must be there.
    ///
    /// # Errors
    /// [`EpisodeFileError`] names the folder.
    pub fn open(path: &Path) -> Result<Self, EpisodeFileError> {
        fs::read_dir(path).map_err(|error| unusable(path, error))?;
        Ok(Self {
            path: path.to_path_buf(),
        })
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The `.npz` files, by name; hidden files (unfinished writes) are left out.
    ///
    /// # Errors
    /// [`EpisodeFileError`] names the folder.
    pub fn list(&self) -> Result<Vec<PathBuf>, EpisodeFileError> {
        let mut files = fs::read_dir(&self.path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(|error| unusable(&self.path, error))?;
        Vec::retain(&mut files, |path| is_episode(path));
        files.sort();
        Ok(files)
    }

    /// Reads every file of [`list`](Self::list); unusable ones are skipped and named.
    ///
    /// # Errors
    /// [`EpisodeFileError`] where the folder itself cannot be read.
    pub fn load_all(&self) -> Result<LoadedEpisodes, EpisodeFileError> {
        let mut loaded = LoadedEpisodes::default();
        for path in self.list()? {
            match Episode::load(&path) {
                Ok(episode) => loaded.episodes.push((path, episode)),
                Err(error) => loaded.skipped.push(SkippedFile(error)),
            }
        }
        Ok(loaded)
    }

    /// Opens every file of [`list`](Self::list), the images left on disk; unusable ones are skipped and
    /// named.
    ///
    /// # Errors
    /// [`EpisodeFileError`] where the folder itself cannot be read.
    pub fn open_all(&self) -> Result<Recordings, EpisodeFileError> {
        let mut found = Recordings::default();
        for path in self.list()? {
            match NpzEpisode::open(&path) {
                Ok(episode) => {
                    found.episodes.push(Arc::new(episode));
                    found.files.push(path);
                }
                Err(error) => found.skipped.push(SkippedFile(error)),
            }
        }
        Ok(found)
    }

    /// Writes an episode under the next free number, `episode-000042.npz`, and returns its path.
    /// Nothing is ever overwritten, even where several processes save at once.
    ///
    /// # Errors
    /// [`EpisodeFileError`] names the file.
    pub fn save(&self, episode: &Episode) -> Result<PathBuf, EpisodeFileError> {
        let mut number = self.next_number()?;
        let bytes = episode
            .to_packed_npz()
            .map_err(|problem| EpisodeFileError {
                path: self.path.clone(),
                problem,
            })?;
        loop {
            let path = self.path.join(format!("episode-{number:06}.npz"));
            match atomic::create(&path, &bytes) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(unusable(&path, error)),
            }
        }
    }

    /// The number that [`save`](Self::save) gives the next episode, beyond those of all that are there.
    ///
    /// # Errors
    /// [`EpisodeFileError`] names the folder.
    pub fn next_number(&self) -> Result<u64, EpisodeFileError> {
        let taken = self.list()?.iter().filter_map(|path| number_of(path)).max();
        Ok(taken.map_or(0, |number| number.saturating_add(1)))
    }
}

/// Whether a file is one that systems keep for themselves, such as macOS's `._frame.png`, or unfinished.
pub fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn is_episode(path: &Path) -> bool {
    let is_npz = |extension: &OsStr| extension.eq_ignore_ascii_case("npz");
    !is_hidden(path) && path.extension().is_some_and(is_npz)
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_stem()?
        .to_str()?
        .strip_prefix("episode-")?
        .parse()
        .ok()
}

fn unusable(path: &Path, error: io::Error) -> EpisodeFileError {
    EpisodeFileError {
        path: path.to_path_buf(),
        problem: EpisodeFileProblem::Io(error),
    }
}
