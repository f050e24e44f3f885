//! What the targets share.
#![allow(dead_code)] // Each target uses some of it.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// libFuzzer's hook ends the process at any panic; a reader may catch those of a library. What leaves the target
/// is found all the same.
pub fn init() {
    panic::set_hook(Box::new(|_| ()));
}

/// A file of this content, in a folder of its own.
pub fn file(name: &str, bytes: &[u8]) -> (PathBuf, TempDir) {
    let folder = folder();
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("the file is written");
    (path, folder)
}

/// A copy of a data set of the tests.
pub fn copy(name: &str) -> TempDir {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/latco-formats/tests/data");
    let folder = folder();
    copy_into(&tests.join(name), folder.path());
    folder
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder of the tests") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            fs::create_dir(&target).expect("a new folder");
            copy_into(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a copy");
        }
    }
}

/// Everything that is in recordings.
pub fn read_recordings(path: &Path) {
    if let Ok(mut found) = latco_formats::open(path, &latco_formats::Options::default()) {
        found.remove_damaged();
        for episode in &found.episodes {
            let last = episode.series().len() - 1;
            let _ = episode.images(last..last + 1);
        }
    }
}
