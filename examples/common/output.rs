//! Where examples write.

use std::{fs, io, path::PathBuf};

/// The path of `name` in `out/`, which is made where it is missing.
pub fn out(name: &str) -> io::Result<PathBuf> {
    let folder = PathBuf::from("out");
    fs::create_dir_all(&folder)?;
    Ok(folder.join(name))
}
