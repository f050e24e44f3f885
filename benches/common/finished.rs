//! Waiting for devices that work while the caller goes on.

use burn::tensor::Device;

/// Gives `output` back once `device` has done all the work that it was given.
pub fn finished<T>(output: T, device: &Device) -> T {
    device.sync().expect("a working device");
    output
}
