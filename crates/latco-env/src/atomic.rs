//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// What the names of unfinished files begin with.
const PREFIX: &str = ".partial-";

/// Writes `bytes` to `path`, replacing what was there: a temporary file in the same folder, fsync,
/// rename.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    temporary(&folder, bytes)?
        .persist(path)
        .map_err(|error| error.error)?;
    sync_folder(&folder)
}

/// Like [`write`], but fails with [`io::ErrorKind::AlreadyExists`] where `path` exists.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    temporary(&folder, bytes)?
        .persist_noclobber(path)
        .map_err(|error| error.error)?;
    sync_folder(&folder)
}

/// Removes what killed writes have left in `folder`. No other process may be writing there.
pub fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn temporary(folder: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The usual permissions of a new file (the umask still applies), not the owner-only ones
        // of a temporary file.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Makes the rename itself durable, where the system lets a folder be opened.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_replaces_and_create_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        let error = create(&path, b"three").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// As any other file that the process makes, whatever its umask.
    #[cfg(unix)]
    #[test]
    fn a_file_has_the_usual_permissions() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let [usual, written, created] = ["a", "b", "c"].map(|name| folder.path().join(name));
        fs::write(&usual, b"").unwrap();
        write(&written, b"").unwrap();
        create(&created, b"").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&written), mode(&usual));
        assert_eq!(mode(&created), mode(&usual));
    }

    #[test]
    fn only_unfinished_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["file", ".hidden", ".partial-x"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        remove_unfinished(folder.path()).unwrap();
        assert!(!folder.path().join(".partial-x").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
