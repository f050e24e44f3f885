//! The backends that this build has.

use burn::tensor::Device;
use latco_agent::device::{DEVICES, device};

/// Every compiled backend with its name, at least one.
pub fn compiled_devices() -> Vec<(&'static str, Device)> {
    assert!(!DEVICES.is_empty(), "no backend feature is on");
    DEVICES
        .iter()
        .map(|info| (info.name, device(info.name).unwrap()))
        .collect()
}
