//! Which files recordings were read from, and whether they are still the same.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use latco_env::{EpisodeFileError, Recordings};
use serde::{Deserialize, Serialize};

use crate::open::{Options, open};

/// The recordings of a training run that stay where they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The file or folder that was opened.
    root: Name,
    /// How it was read.
    options: Options,
    files: Vec<Entry>,
    /// Damaged episodes that were left out, counted over all.
    damaged: Vec<usize>,
    /// Frames of the other episodes; not told by manifests of before 0.2.
    #[serde(default)]
    frames: Option<usize>,
}

/// A file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Below the root; empty for the root itself.
    name: Name,
    bytes: u64,
    /// When it was written, in nanoseconds since 1970.
    modified: u64,
    /// CRC-32 of all bytes.
    crc32: u32,
}

/// A path; one that is no text by its bytes, where the system's paths are bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Bytes(Vec<u8>),
}

/// Why recordings are not those of a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file is gone or cannot be read.
    #[error(
        "the recording {} cannot be read: {source} (recordings that have moved are told by --data)",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is another than it was.
    #[error(
        "the recording {} has changed since the run began: put the earlier file back, or begin another run",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The recordings cannot be opened.
    #[error(transparent)]
    Open(#[from] EpisodeFileError),
    /// The manifest itself is damaged.
    #[error("it does not tell which recordings there were: {0}")]
    Damaged(#[from] serde_json::Error),
}

impl Manifest {
    /// Notes what `found` was read from at `root`: sizes, times and checksums of all files. The episodes
    /// whose images are damaged are moved to what is skipped.
    ///
    /// # Errors
    /// [`ManifestError::Read`] names a file.
    pub fn of(
        root: &Path,
        options: &Options,
        found: &mut Recordings,
    ) -> Result<Self, ManifestError> {
        let damaged = found.remove_damaged();
        let files = (found.files.iter()).map(|path| {
            Entry::of(root, path).map_err(|source| ManifestError::Read {
                path: path.clone(),
                source,
            })
        });
        let files = files.collect::<Result<_, _>>()?;
        Ok(Self {
            options: options.clone(),
            files,
            root: Name::of(&absolute(root)),
            damaged,
            frames: Some(frames(found)),
        })
    }

    /// The recordings as they were, at their place or, where they have moved, at `moved`, which is their place
    /// from then on; and how many
    /// episodes have come since, which are left out.
    ///
    /// # Errors
    /// [`ManifestError`] names a file that is gone or has changed.
    pub fn reopen(&mut self, moved: Option<&Path>) -> Result<(Recordings, usize), ManifestError> {
        let root = moved.map_or_else(|| self.root.path(), Path::to_path_buf);
        let found = self.reopen_at(&root)?;
        if moved.is_some() {
            self.root = Name::of(&absolute(&root));
        }
        Ok(found)
    }

    fn reopen_at(&self, root: &Path) -> Result<(Recordings, usize), ManifestError> {
        let mut known = BTreeSet::new();
        for file in &self.files {
            let path = file.path(root);
            if !file.is_same(&path)? {
                return Err(ManifestError::Changed { path });
            }
            known.insert(path);
        }
        let mut found = open(root, &self.options)?;
        let unusable = found.skipped.drain(..).map(|file| file.0.path);
        // A folder of frames with more frames than its table tells of.
        let mut changed = unusable.filter(|path| known.iter().any(|file| file.starts_with(path)));
        if let Some(path) = changed.next() {
            return Err(ManifestError::Changed { path });
        }
        drop(changed);
        found.files.retain(|path| known.contains(path));
        let there = found.episodes.len();
        found
            .episodes
            .retain(|episode| known.contains(episode.path()));
        let later = there - found.episodes.len();
        let kept = found.episodes.into_iter().enumerate();
        let kept = kept.filter(|(index, _)| !self.damaged.contains(index));
        found.episodes = kept.map(|(_, episode)| episode).collect();
        // A picture that has come into a folder of frames is another episode, though each file is the same.
        if self.frames.is_some_and(|noted| noted != frames(&found)) {
            return Err(ManifestError::Changed {
                path: root.to_path_buf(),
            });
        }
        Ok((found, later))
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never in practice: everything in it has a JSON form.
    pub fn to_json(&self) -> Result<String, ManifestError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// From JSON.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`].
    pub fn from_json(text: &str) -> Result<Self, ManifestError> {
        Ok(serde_json::from_str(text)?)
    }
}

/// The path from wherever a run is resumed.
fn absolute(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// The frames of all episodes.
fn frames(found: &Recordings) -> usize {
    let lengths = found.episodes.iter().map(|episode| episode.series().len());
    lengths.sum()
}

impl Entry {
    fn of(root: &Path, path: &Path) -> io::Result<Self> {
        let name = path.strip_prefix(root).unwrap_or(path);
        let metadata = fs::metadata(path)?;
        Ok(Self {
            name: Name::of(name),
            bytes: metadata.len(),
            modified: modified(&metadata),
            crc32: checksum(path)?,
        })
    }

    fn path(&self, root: &Path) -> PathBuf {
        match self.name.path() {
            name if name.as_os_str().is_empty() => root.to_path_buf(),
            name => root.join(name),
        }
    }

    /// Whether the file is the one that it was: by its size and its time, or by its bytes where its
    /// time has changed, as a copy's has.
    fn is_same(&self, path: &Path) -> Result<bool, ManifestError> {
        let unreadable = |source| ManifestError::Read {
            path: path.to_path_buf(),
            source,
        };
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if metadata.len() != self.bytes {
            return Ok(false);
        }
        if modified(&metadata) == self.modified {
            return Ok(true);
        }
        Ok(checksum(path).map_err(unreadable)? == self.crc32)
    }
}

impl Name {
    fn of(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(path.as_os_str().as_encoded_bytes().to_vec()),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Text(text) => PathBuf::from(text),
            #[cfg(unix)]
            Self::Bytes(bytes) => {
                use std::os::unix::ffi::OsStrExt;
                PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
            }
            #[cfg(not(unix))]
            Self::Bytes(bytes) => PathBuf::from(String::from_utf8_lossy(bytes).into_owned()),
        }
    }
}

/// Nanoseconds since 1970; 0 where the system does not tell, which is then the same each time.
fn modified(metadata: &Metadata) -> u64 {
    let time = metadata.modified().ok();
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos() as u64)
}

fn checksum(path: &Path) -> io::Result<u32> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut checksum = crc32fast::Hasher::new();
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(checksum.finalize()),
            read => checksum.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use latco_env::{ActionSpace, Episode, Image};

    use super::*;

    fn save(path: &Path, shade: u8) {
        let image = Image::new(2, 2, vec![shade; 12]).unwrap();
        let episode = Episode::new(&image, &ActionSpace::unit(1));
        episode.save(path).unwrap();
    }

    fn noted(root: &Path) -> Manifest {
        let options = Options::default();
        let mut found = open(root, &options).unwrap();
        let manifest = Manifest::of(root, &options, &mut found).unwrap();
        let text = manifest.to_json().unwrap();
        assert_eq!(Manifest::from_json(&text).unwrap(), manifest);
        manifest
    }

    fn shades(found: &Recordings) -> Vec<u8> {
        let shade =
            |episode: &std::sync::Arc<dyn latco_env::Recorded>| episode.images(0..1).unwrap()[0];
        found.episodes.iter().map(shade).collect()
    }

    #[test]
    fn the_same_recordings_come_back_also_from_another_place() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("here");
        fs::create_dir(&root).unwrap();
        save(&root.join("a.npz"), 1);
        save(&root.join("b.npz"), 2);
        // An archive cut off in the midst is skipped from the start, and not missed later.
        fs::write(root.join("c.npz"), b"PK").unwrap();
        let mut manifest = noted(&root);
        save(&root.join("0.npz"), 3);
        let (found, later) = manifest.reopen(None).unwrap();
        assert_eq!((shades(&found), later), (vec![1, 2], 1));
        let moved = folder.path().join("there");
        fs::rename(&root, &moved).unwrap();
        assert!(matches!(
            manifest.reopen(None),
            Err(ManifestError::Read { .. })
        ));
        let (found, _) = manifest.reopen(Some(&moved)).unwrap();
        assert_eq!(shades(&found), [1, 2]);
        let (found, _) = manifest.reopen(None).unwrap();
        assert_eq!(shades(&found), [1, 2], "its place from then on");
    }

    #[test]
    fn a_changed_recording_is_named_and_a_copied_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        save(&path, 1);
        let mut manifest = noted(folder.path());
        let bytes = fs::read(&path).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, &bytes).unwrap();
        manifest.reopen(None).unwrap();
        let mut changed = bytes;
        *changed.last_mut().unwrap() ^= 1;
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, &changed).unwrap();
        let error = manifest.reopen(None).unwrap_err();
        assert!(matches!(&error, ManifestError::Changed { path } if path.ends_with("a.npz")));
    }

    #[test]
    fn a_folder_of_frames_that_has_changed_is_named() {
        let root = tempfile::tempdir().unwrap();
        let frame = Image::new(2, 2, vec![1; 12]).unwrap().to_png().unwrap();
        for episode in ["0", "1"] {
            let folder = root.path().join(episode);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("actions.csv"), "action_0,reward\n0,0\n0,0\n").unwrap();
            for name in ["0.png", "1.png"] {
                fs::write(folder.join(name), &frame).unwrap();
            }
        }
        let mut manifest = noted(root.path());
        assert_eq!(shades(&manifest.reopen(None).unwrap().0), [1, 1]);
        // First the table tells of one frame less, then of two: the folder is no recording any more.
        let whole = root.path().to_path_buf();
        for (name, expected) in [("2.png", whole), ("3.png", root.path().join("1"))] {
            fs::write(root.path().join("1").join(name), &frame).unwrap();
            let error = manifest.reopen(Some(root.path())).unwrap_err();
            assert!(
                matches!(&error, ManifestError::Changed { path } if *path == expected),
                "{error}"
            );
        }
    }

    #[test]
    fn a_single_file_is_its_own_root() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        save(&path, 7);
        let (found, later) = noted(&path).reopen(None).unwrap();
        assert_eq!((shades(&found), later), (vec![7], 0));
    }
}
