//! Any file as recordings: every format of single files, series and images.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("recordings");
    std::fs::write(&path, bytes).expect("the file is written");
    if let Ok(mut found) = latco_formats::open(&path, &latco_formats::Options::default()) {
        found.remove_damaged();
        for episode in &found.episodes {
            let last = episode.series().len() - 1;
            let _ = episode.images(last..last + 1);
        }
    }
});
