//! Any bytes as a checkpoint.
#![no_main]

mod common;

use burn::tensor::Device;
use latco_model::WorldModel;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: common::init(), |bytes: &[u8]| {
    let _ = WorldModel::from_bytes(bytes.to_vec(), "checkpoint", &Device::default());
});
