//! The device that is measured.

use burn::tensor::Device;

/// The device of this build: a GPU where a feature has built one in, else the CPU.
pub fn device() -> Device {
    latco::device("auto").expect("every build has a device")
}
