//! Any file as recordings: every format of single files, numbers and images.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: common::init(), |bytes: &[u8]| {
    common::read_recordings(&common::file("recordings", bytes).0);
});
