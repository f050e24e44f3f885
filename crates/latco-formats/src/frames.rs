//! Folders of PNG or JPEG frames with a table of actions, and folders of such folders.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use latco_env::{
    EpisodeFileError, EpisodeFileProblem, FrameFolder, ImportError, Recordings, SkippedFile,
    is_hidden,
};

use crate::error::{FormatProblem, at};
use crate::open::Options;

/// The episodes of a folder that holds frames, or of the folders within it; nothing where there are
/// none.
pub(crate) fn open(path: &Path, options: &Options) -> Result<Recordings, EpisodeFileError> {
    let found = find(path)?;
    match options.map.keys().next() {
        Some(key) if !found.episodes.is_empty() => {
            let problem = format!(
                "--map {key}=…: expected none, since the columns of a table of frames have fixed names"
            );
            Err(at(path, FormatProblem::Unsupported(problem)))
        }
        _ => Ok(found),
    }
}

fn find(path: &Path) -> Result<Recordings, EpisodeFileError> {
    let mut found = Recordings::default();
    let refused = |folder: &Path, error| at(folder, EpisodeFileProblem::Format(Box::new(error)));
    match FrameFolder::open(path) {
        Err(ImportError::NoFrames { .. }) => {}
        Err(error) => return Err(refused(path, error)),
        Ok(folder) => {
            add(&mut found, folder);
            return Ok(found);
        }
    }
    for folder in folders(path).map_err(|error| at(path, error))? {
        match FrameFolder::open(&folder) {
            Err(ImportError::NoFrames { .. }) => {}
            Err(error) => found.skipped.push(SkippedFile(refused(&folder, error))),
            Ok(folder) => add(&mut found, folder),
        }
    }
    Ok(found)
}

fn add(found: &mut Recordings, folder: FrameFolder) {
    found.files.extend(folder.files().cloned());
    found.episodes.push(Arc::new(folder));
}

/// The folders within, shorter names first, as frames are ordered.
fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() && !is_hidden(&path) {
            folders.push(path);
        }
    }
    folders.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    Ok(folders)
}
