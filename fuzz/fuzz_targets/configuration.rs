//! Any text as the settings of a run.
#![no_main]

mod common;

use latco_agent::{RunConfig, RunFolder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: common::init(), |bytes: &[u8]| {
    let (_, folder) = common::file("config.toml", bytes);
    let settings: Result<RunConfig, _> = RunFolder::new(folder.path()).read_config();
    if let Ok(settings) = settings {
        let _ = settings.validate();
    }
});
