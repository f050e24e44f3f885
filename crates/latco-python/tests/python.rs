//! Runs the package's own tests with pytest, on the library that `cargo test` has built.
//!
//! They run where `LATCO_PYTHON` names an interpreter with numpy and pytest, as `.ci/python` does; those of
//! JAX, torch, Gymnasium, Ray and stable-worldmodel where these are there too.
#![cfg(unix)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// The extension module, beside this test.
fn library() -> PathBuf {
    let test = env::current_exe().unwrap();
    let name = format!(
        "{}latco_python{}",
        env::consts::DLL_PREFIX,
        env::consts::DLL_SUFFIX
    );
    test.parent().unwrap().join(name)
}

/// The package as a wheel has it.
fn assembled() -> TempDir {
    let folder = TempDir::new().unwrap();
    let package = folder.path().join("latco");
    fs::create_dir(&package).unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/latco");
    for file in fs::read_dir(sources).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            fs::copy(&path, package.join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::copy(library(), package.join("_latco.abi3.so")).unwrap();
    folder
}

#[test]
fn the_tests_of_the_package_pass() {
    let Some(python) = env::var_os("LATCO_PYTHON") else {
        println!("NOT tested: LATCO_PYTHON names no interpreter");
        return;
    };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let probe = Command::new(&python)
        .args(["-c", "import numpy, pytest"])
        .output()
        .unwrap();
    if !probe.status.success() {
        println!("NOT tested: {} has no numpy and pytest", python.display());
        return;
    }
    let package = assembled();
    let status = Command::new(python)
        .args([
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--durations=5",
        ])
        .arg(manifest.join("tests"))
        .env("PYTHONPATH", package.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env(
            "LATCO_REPOSITORY",
            manifest.parent().unwrap().parent().unwrap(),
        )
        .current_dir(package.path())
        .status()
        .unwrap();
    assert!(status.success(), "pytest: {status}");
}
