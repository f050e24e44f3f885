//! The only place that names backends.
//!
//! Burn chooses the backend by its [`Device`] at run time; a Cargo feature switches each one in.

use burn::tensor::Device;
use thiserror::Error;

/// A compute device that this build offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The name users type.
    pub name: &'static str,
    /// One line about the backend.
    pub about: &'static str,
}

/// Why a device cannot be had.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("unknown device `{name}`, expected auto or one of: {known} (others need a Cargo feature)")]
pub struct DeviceError {
    /// The name found.
    pub name: String,
    /// The names this build knows.
    pub known: String,
}

/// The devices that this build offers, GPUs first.
pub const DEVICES: &[DeviceInfo] = &[
    #[cfg(feature = "cuda")]
    DeviceInfo {
        name: "cuda",
        about: "NVIDIA GPU through CUDA",
    },
    #[cfg(feature = "metal")]
    DeviceInfo {
        name: "metal",
        about: "Apple GPU through Metal",
    },
    #[cfg(feature = "vulkan")]
    DeviceInfo {
        name: "vulkan",
        about: "GPU through Vulkan and SPIR-V",
    },
    #[cfg(feature = "wgpu")]
    DeviceInfo {
        name: "wgpu",
        about: "GPU through WebGPU shaders on Vulkan, Metal or DirectX",
    },
    #[cfg(feature = "flex")]
    DeviceInfo {
        name: "flex",
        about: "CPU, vectorised and multi-threaded (the one to use on a CPU)",
    },
    #[cfg(feature = "ndarray")]
    DeviceInfo {
        name: "ndarray",
        about: "CPU, plain; slower convolutions than flex",
    },
];

/// The device of this name; `auto` takes the first of [`DEVICES`], so a GPU where one is built in.
///
/// # Errors
///
/// If this build does not know the name.
pub fn device(name: &str) -> Result<Device, DeviceError> {
    let name = match (name, DEVICES.first()) {
        ("auto", Some(first)) => first.name,
        _ => name,
    };
    match name {
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        #[cfg(feature = "metal")]
        "metal" => Ok(Device::metal(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "flex")]
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        #[expect(
            deprecated,
            reason = "Burn will drop it; until then it is a second opinion"
        )]
        "ndarray" => Ok(Device::ndarray()),
        _ => Err(DeviceError {
            name: name.to_owned(),
            known: names(),
        }),
    }
}

/// How many threads may share out a plan on `device`: the cores on a CPU, one on a GPU.
pub fn workers(device: &Device) -> usize {
    let on_cpu = [
        #[cfg(feature = "flex")]
        "flex",
        #[cfg(feature = "ndarray")]
        "ndarray",
    ]
    .iter()
    .any(|name| self::device(name).is_ok_and(|cpu| cpu == *device));
    match on_cpu {
        true => std::thread::available_parallelism().map_or(1, usize::from),
        false => 1,
    }
}

fn names() -> String {
    let names: Vec<_> = DEVICES.iter().map(|info| info.name).collect();
    names.join(", ")
}
