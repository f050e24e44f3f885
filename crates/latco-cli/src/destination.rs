//! Where results are written: checked before the work, made after it.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use latco_env::Image;

use crate::error::CliError;

/// Refuses `path` as a folder to write to where a file is in the way.
pub fn check_folder(flag: &'static str, path: &Path) -> Result<(), CliError> {
    if path.as_os_str().is_empty() {
        return Err(refused(flag, path, "empty, expected a folder"));
    }
    match path.ancestors().find(|ancestor| ancestor.exists()) {
        Some(ancestor) if !ancestor.is_dir() => Err(refused(
            flag,
            path,
            "a file is in the way, expected a folder",
        )),
        _ => Ok(()),
    }
}

/// Refuses `path` as a folder to fill where one is that holds something.
pub fn check_new_folder(flag: &'static str, path: &Path) -> Result<(), CliError> {
    check_folder(flag, path)?;
    let is_full = path
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some());
    match is_full {
        true => Err(refused(
            flag,
            path,
            "the folder is not empty, expected a new one",
        )),
        false => Ok(()),
    }
}

/// Refuses `path` as a file to write where a folder is in the way, or where its name ends otherwise than
/// what it is to hold: `ending`, such as `png`, or nothing.
pub fn check_file(flag: &'static str, path: &Path, ending: &'static str) -> Result<(), CliError> {
    let contradicts = |found: &OsStr| !found.eq_ignore_ascii_case(ending);
    if path.extension().is_some_and(contradicts) {
        return Err(refused(flag, path, expected_ending(ending)));
    }
    check_free(flag, path)
}

fn expected_ending(ending: &str) -> &'static str {
    match ending {
        "gif" => "a GIF is written, expected a name that ends in .gif",
        _ => "a PNG is written, expected a name that ends in .png",
    }
}

/// Refuses `path` as a file to write where a folder is in the way.
pub fn check_free(flag: &'static str, path: &Path) -> Result<(), CliError> {
    if path.file_name().is_none() {
        return Err(refused(flag, path, "expected the name of a file"));
    }
    if path.is_dir() {
        return Err(refused(
            flag,
            path,
            "a folder is in the way, expected a file",
        ));
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => check_folder(flag, parent),
        _ => Ok(()),
    }
}

/// Refuses `path` as a file to write where it is `input`, which is read.
pub fn check_other(flag: &'static str, path: &Path, input: &Path) -> Result<(), CliError> {
    let found = [path, input].map(fs::canonicalize);
    match found {
        [Ok(found), Ok(read)] if found == read => Err(CliError::OverInput {
            flag,
            path: path.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Refuses `path` as a file to write where it is `input`, or lies in the folder `input`: what is read would be
/// another afterwards.
pub fn check_outside(flag: &'static str, path: &Path, input: &Path) -> Result<(), CliError> {
    check_other(flag, path, input)?;
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")));
    match (folder, fs::canonicalize(input)) {
        (Ok(folder), Ok(input)) if folder.starts_with(&input) => Err(refused(
            flag,
            path,
            "it would lie among what is read, expected a place outside of it",
        )),
        _ => Ok(()),
    }
}

/// Refuses `path` as a file to write at the end of long work where nothing can be written to its folder.
pub fn check_writable(flag: &'static str, path: &Path) -> Result<(), CliError> {
    let folder = path.ancestors().skip(1).find(|folder| folder.is_dir());
    let folder = folder.unwrap_or(Path::new("."));
    match tempfile::tempfile_in(folder) {
        Ok(_) => Ok(()),
        Err(source) => Err(CliError::Unwritable {
            flag,
            path: path.to_owned(),
            source,
        }),
    }
}

/// The name of a task in file names: whatever could mean something else there is a dash.
pub fn file_stem(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect()
}

/// What a file is to hold.
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// This picture, as a PNG.
    Picture(Image),
}

/// Writes files into `folder`, each whole or not at all, and returns their paths.
pub fn write_all(folder: &Path, files: &[(&str, Content)]) -> Result<Vec<PathBuf>, CliError> {
    files
        .iter()
        .map(|(name, content)| {
            let path = folder.join(name);
            write(&path, content).map(|()| path)
        })
        .collect()
}

/// Writes one file whole or not at all, making its folder where it is missing.
pub fn write(path: &Path, content: &Content) -> Result<(), CliError> {
    make_parent(path)?;
    match content {
        Content::Picture(image) => Ok(image.save_png(path)?),
        Content::Bytes(bytes) => {
            latco_env::write_atomic(path, bytes).map_err(|source| CliError::Write {
                path: path.to_owned(),
                source,
            })
        }
    }
}

/// Makes the folder of `path` where it is missing.
pub fn make_parent(path: &Path) -> Result<(), CliError> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(|source| CliError::Write {
            path: parent.to_owned(),
            source,
        }),
        None => Ok(()),
    }
}

fn refused(flag: &'static str, path: &Path, problem: &'static str) -> CliError {
    CliError::Destination {
        flag,
        path: path.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        write(&file, &Content::Bytes(b"bytes".to_vec())).unwrap();
        assert!(check_folder("--out", &folder.path().join("new/newer")).is_ok());
        assert!(check_folder("--out", &file).is_err());
        assert!(check_folder("--out", &file.join("below")).is_err());
        assert!(check_folder("--out", Path::new("")).is_err());
        assert!(check_file("--gif", &folder.path().join("new/newer.GIF"), "gif").is_ok());
        assert!(check_file("--gif", &file, "gif").is_ok());
        assert!(check_free("--gif", folder.path()).is_err());
        assert!(check_file("--gif", &file.join("below.gif"), "gif").is_err());
        assert!(check_file("--gif", Path::new(".."), "gif").is_err());
        assert!(check_file("--gif", &folder.path().join("film.png"), "gif").is_err());
    }
}
