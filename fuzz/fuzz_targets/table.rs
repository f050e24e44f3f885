//! Any text as the table of a folder of frames, in CSV and in JSON.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: common::init(), |bytes: &[u8]| {
    for name in ["table.csv", "table.json"] {
        let (table, folder) = common::file(name, bytes);
        for frame in ["0.png", "1.png"] {
            std::fs::write(folder.path().join(frame), include_bytes!("../../tests/data/fuzz/image/rgb.png"))
                .expect("the frame is written");
        }
        common::read_recordings(table.parent().expect("a folder"));
    }
});
