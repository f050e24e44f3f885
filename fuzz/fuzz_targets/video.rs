//! Any file as a video of a data set of LeRobot.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: common::init(), |bytes: &[u8]| {
    let folder = common::copy("lerobot_videos");
    let video = folder.path().join("videos/observation.image/chunk-000/file-000.mp4");
    std::fs::write(video, bytes).expect("the file is written");
    common::read_recordings(folder.path());
});
