//! Any file as the rows of a data set of LeRobot, with images and with videos.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: common::init(), |bytes: &[u8]| {
    for data_set in ["lerobot", "lerobot_videos"] {
        let folder = common::copy(data_set);
        std::fs::write(folder.path().join("data/chunk-000/file-000.parquet"), bytes)
            .expect("the file is written");
        common::read_recordings(folder.path());
    }
});
