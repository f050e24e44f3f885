//! The only place that names backends.
//!
//! Burn chooses the backend by its [`Device`] at run time; a Cargo feature switches each one in.

use burn::tensor::Device;
use latco_model::TrainerConfig;
use latco_plan::Resources;
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

/// Samples that a GPU is given at once, at least: a step of the model is some sixty kernels, whose
/// start takes longer than what they do with fewer. With more, the gates of a large model would not
/// fit into a buffer of 128 MiB, the least that WebGPU promises.
const ROWS_OF_A_GPU: usize = 16_384;

/// How a plan on `device` is shared out: among the cores of a CPU, in batches that fill a GPU.
pub fn resources(device: &Device) -> Resources {
    match is_gpu(device) {
        true => Resources {
            workers: 1,
            rows: ROWS_OF_A_GPU,
        },
        false => Resources {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            rows: 1,
        },
    }
}

/// `config` as suits `device`: a GPU takes a batch whole, since a part of it starts as many kernels as
/// the whole does.
pub fn trainer_on(device: &Device, config: TrainerConfig) -> TrainerConfig {
    match is_gpu(device) {
        true => TrainerConfig {
            shards: 1,
            ..config
        },
        false => config,
    }
}

/// Whether `device` is none of the CPU backends.
pub fn is_gpu(device: &Device) -> bool {
    ![
        #[cfg(feature = "flex")]
        "flex",
        #[cfg(feature = "ndarray")]
        "ndarray",
    ]
    .iter()
    .any(|name| self::device(name).is_ok_and(|cpu| cpu == *device))
}

fn names() -> String {
    let names: Vec<_> = DEVICES.iter().map(|info| info.name).collect();
    names.join(", ")
}
