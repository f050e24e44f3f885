//! From a path to its episodes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use latco_env::{
    EpisodeFileError, EpisodeFileProblem, NpzArchive, NpzEpisode, Recordings, SkippedFile,
    is_hidden,
};
use serde::{Deserialize, Serialize};

use crate::dreamer::Dreamer;
use crate::error::{FormatProblem, at};
use crate::frames;
use crate::hdf5::Hdf5;
use crate::lerobot;
use crate::minari::Minari;
use crate::ogbench::OgBench;
use crate::swm::StableWorldModel;
use crate::table::{Names, missing};
use crate::vd4rl::VD4rl;

/// How recordings are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Names of arrays where they are not the format's own: `image`, `action`, `reward`, … to the name
    /// in the file.
    pub map: BTreeMap<String, String>,
}

/// A format of recordings, by its reader.
pub(crate) trait Format: Sync {
    /// Whether a file is of this format, by what it holds.
    fn recognises(&self, place: &Place, options: &Options) -> bool;

    /// Its episodes.
    fn open(&self, place: &Place, options: &Options) -> Result<Recordings, EpisodeFileProblem>;
}

/// The formats of single files, the more particular before the more general.
const FORMATS: [&dyn Format; 6] = [&OgBench, &Dreamer, &Own, &StableWorldModel, &VD4rl, &Minari];

/// A file, with what its format is recognised by.
pub(crate) struct Place {
    pub path: PathBuf,
    pub is_npz: bool,
    pub is_hdf5: bool,
    /// Names of the arrays.
    pub arrays: BTreeSet<String>,
    /// Names of the groups.
    pub groups: BTreeSet<String>,
}

impl Place {
    fn look(path: &Path) -> Result<Self, EpisodeFileProblem> {
        let mut head = Vec::new();
        File::open(path)?.take(8).read_to_end(&mut head)?;
        let mut place = Self {
            path: path.to_path_buf(),
            is_npz: head.starts_with(b"PK"),
            is_hdf5: head == b"\x89HDF\r\n\x1a\n",
            arrays: BTreeSet::new(),
            groups: BTreeSet::new(),
        };
        if place.is_npz {
            place.arrays = NpzArchive::open(path)?.names().collect();
        } else if place.is_hdf5 {
            let (groups, arrays) = Hdf5::open(path)?.members()?;
            place.groups = groups.into_iter().collect();
            place.arrays = arrays.into_iter().collect();
        }
        Ok(place)
    }

    /// Whether there are arrays of all these names.
    pub fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|&name| self.arrays.contains(name))
    }
}

/// Episodes of this project, of DreamerV2 and V-D4RL, one a file: `image`, `action`, `reward`, `discount`.
struct Own;

const OWN_NAMES: Names = Names {
    format: "an episode",
    keys: &[
        ("image", "image"),
        ("action", "action"),
        ("reward", "reward"),
        ("discount", "discount"),
        ("sparse_reward", "sparse_reward"),
        ("action_low", "action_low"),
        ("action_high", "action_high"),
        ("cameras", "cameras"),
    ],
};

impl Format for Own {
    fn recognises(&self, place: &Place, _options: &Options) -> bool {
        place.is_npz
    }

    fn open(&self, place: &Place, options: &Options) -> Result<Recordings, EpisodeFileProblem> {
        OWN_NAMES.check(options)?;
        let renamed = |name: &str| options.map.get(name).cloned();
        let episode = NpzEpisode::open_renamed(&place.path, renamed)?;
        // Some arrays may be missing, but none whose name was told.
        if let Some((key, _)) = options
            .map
            .iter()
            .find(|(_, name)| !place.has(&[name.as_str()]))
        {
            let archive = NpzArchive::open(&place.path)?;
            return Err(missing(&archive, &OWN_NAMES, options, key));
        }
        Ok(Recordings {
            episodes: vec![Arc::new(episode)],
            files: vec![place.path.clone()],
            ..Recordings::default()
        })
    }
}

/// The recordings of a file or folder, whatever their format; unusable files of a folder are skipped and
/// named.
///
/// # Errors
/// [`EpisodeFileError`] where nothing can be read there.
pub fn open(path: &Path, options: &Options) -> Result<Recordings, EpisodeFileError> {
    let io = |error: io::Error| at(path, EpisodeFileProblem::Io(error));
    if !fs::metadata(path).map_err(io)?.is_dir() {
        return open_file(path, options).map_err(|problem| at(path, problem));
    }
    if path.join("meta").join("info.json").is_file() {
        return lerobot::open(path, options);
    }
    let minari = path.join("data").join("main_data.hdf5");
    if minari.is_file() {
        return open_file(&minari, options).map_err(|problem| at(&minari, problem));
    }
    let mut files = fs::read_dir(path)
        .and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<Vec<_>>>()
        })
        .map_err(io)?;
    files.retain(|file| is_recording(file) && !is_hidden(file));
    files.sort();
    if files.is_empty() {
        return frames::open(path, options);
    }
    let mut found = Recordings::default();
    for file in files {
        match open_file(&file, options) {
            Ok(mut recordings) => {
                found.episodes.append(&mut recordings.episodes);
                found.files.append(&mut recordings.files);
            }
            Err(problem) => found.skipped.push(SkippedFile(at(&file, problem))),
        }
    }
    Ok(found)
}

fn open_file(path: &Path, options: &Options) -> Result<Recordings, EpisodeFileProblem> {
    let place = Place::look(path)?;
    match FORMATS
        .iter()
        .find(|format| format.recognises(&place, options))
    {
        Some(format) => format.open(&place, options),
        None if place.is_hdf5 => Err(FormatProblem::UnknownHdf5.into()),
        // An archive that is none is told as such.
        None => Own.open(&place, options),
    }
}

/// Whether a file's ending is one of a format.
fn is_recording(path: &Path) -> bool {
    let endings = ["npz", "hdf5", "h5"];
    let of = |found: &OsStr| {
        endings
            .iter()
            .any(|ending| found.eq_ignore_ascii_case(ending))
    };
    path.extension().is_some_and(of)
}
