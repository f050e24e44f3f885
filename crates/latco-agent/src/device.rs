//! The only place that names backends.
//!
//! Burn chooses the backend by its [`Device`] at run time; a Cargo feature switches each one in.

use std::fmt;

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
pub enum DeviceError {
    /// This build does not know the name.
    #[error(
        "unknown device `{name}`, expected auto or one of: {known} (others need a Cargo feature)"
    )]
    Unknown {
        /// The name found.
        name: String,
        /// The names this build knows.
        known: String,
    },
    /// This build knows no devices of other machines.
    #[error(
        "this build has no remote devices: build with the feature remote (cargo install … --features remote)"
    )]
    NotRemote,
    /// A device server cannot be reached.
    #[error("device server {url}: {reason}; start one there with `latco device-server`")]
    Unreachable {
        /// Its address.
        url: String,
        /// Why.
        reason: String,
    },
    /// This machine's device cannot be served.
    #[error("port {port}: {reason}")]
    Server {
        /// Where others were to find it.
        port: u16,
        /// Why.
        reason: String,
    },
}

/// What stands before the address of a device server.
const REMOTE: &str = "remote:";

/// A device by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// One of this machine.
    Local(&'static str),
    /// That of a device server, by its address.
    Remote(String),
}

impl DeviceName {
    /// The device that `name` stands for: `auto` is the first of [`DEVICES`], so a GPU where one is built in, and
    /// `remote:ws://HOST:PORT` is another machine's.
    ///
    /// # Errors
    ///
    /// If this build does not know the name.
    pub fn parse(name: &str) -> Result<Self, DeviceError> {
        if let Some(url) = name.strip_prefix(REMOTE) {
            return match cfg!(feature = "remote") {
                true => Ok(Self::Remote(url.to_owned())),
                false => Err(DeviceError::NotRemote),
            };
        }
        let mut known = DEVICES.iter().map(|info| info.name);
        let found = match name {
            "auto" => known.next(),
            _ => known.find(|known| *known == name),
        };
        let unknown = || DeviceError::Unknown {
            name: name.to_owned(),
            known: names(),
        };
        found.map(Self::Local).ok_or_else(unknown)
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(name) => formatter.write_str(name),
            Self::Remote(url) => write!(formatter, "{REMOTE}{url}"),
        }
    }
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

/// The device of this name, as [`DeviceName::parse`] reads it.
///
/// # Errors
///
/// If this build does not know the name, or a device server does not answer.
pub fn device(name: &str) -> Result<Device, DeviceError> {
    match DeviceName::parse(name)? {
        DeviceName::Local(name) => Ok(local(name)),
        #[cfg(feature = "remote")]
        DeviceName::Remote(url) => connected(&url),
        #[cfg(not(feature = "remote"))]
        DeviceName::Remote(_) => Err(DeviceError::NotRemote),
    }
}

/// The device of this name of [`DEVICES`].
fn local(name: &'static str) -> Device {
    match name {
        #[cfg(feature = "cuda")]
        "cuda" => Device::cuda(0),
        #[cfg(feature = "metal")]
        "metal" => Device::metal(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "vulkan")]
        "vulkan" => Device::vulkan(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "flex")]
        "flex" => Device::flex(),
        #[cfg(feature = "ndarray")]
        #[expect(
            deprecated,
            reason = "Burn will drop it; until then it is a second opinion"
        )]
        "ndarray" => Device::ndarray(),
        _ => Device::default(),
    }
}

/// The environment variable with what a device server and those who use it both know.
pub const TOKEN: &str = "LATCO_DEVICE_TOKEN";

/// The device of the server at `url`, such as `ws://gpu:3000`, which is sent the token of this process.
#[cfg(feature = "remote")]
fn connected(url: &str) -> Result<Device, DeviceError> {
    use burn::remote::RemoteHost;

    let mut host = RemoteHost::websocket(url);
    if let Ok(token) = std::env::var(TOKEN) {
        host = host.with_credential(token);
    }
    let device = Device::remote_options(&host).init();
    device.map_err(|error| DeviceError::Unreachable {
        url: url.to_owned(),
        reason: error.to_string(),
    })
}

/// Lets other machines compute on `device`, until this process is told to stop; those alone who have the `token`,
/// where there is one. What travels is not encrypted.
///
/// # Errors
///
/// If the port cannot be had, or the token is empty.
#[cfg(feature = "remote")]
pub fn serve(device: &Device, port: u16, token: Option<String>) -> Result<(), DeviceError> {
    use burn::server::{RemoteServer, TokenAuthorizer, WebSocketTransport};

    let failed = |reason: String| DeviceError::Server { port, reason };
    let mut server = RemoteServer::new([device.clone()]);
    if let Some(token) = token {
        let authorizer = TokenAuthorizer::new(token).map_err(|error| failed(error.to_string()))?;
        server = server.with_authorizer(authorizer);
    }
    let served = server.serve(WebSocketTransport::new(port));
    served.map_err(|error| failed(error.to_string()))
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

/// Whether `device` is none of the CPU backends of this build; where the build names no backend, nothing is
/// known of its device, which is taken for a CPU.
pub fn is_gpu(device: &Device) -> bool {
    let is_cpu = [
        #[cfg(feature = "flex")]
        "flex",
        #[cfg(feature = "ndarray")]
        "ndarray",
    ]
    .into_iter()
    .any(|name| local(name) == *device);
    !is_cpu && !DEVICES.is_empty()
}

fn names() -> String {
    let names: Vec<_> = DEVICES.iter().map(|info| info.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests have the backend `flex`, also where no feature names it.
    #[test]
    fn a_cpu_is_no_gpu() {
        if cfg!(feature = "flex") || DEVICES.is_empty() {
            assert!(!is_gpu(&Device::flex()));
            assert_eq!(resources(&Device::flex()).rows, 1);
        }
    }

    #[test]
    fn names_stand_for_devices_of_this_machine_or_another() {
        let first = DeviceName::Local(DEVICES[0].name);
        assert_eq!(DeviceName::parse("auto"), Ok(first.clone()));
        assert_eq!(DeviceName::parse(DEVICES[0].name), Ok(first));
        let unknown = DeviceName::parse("abacus").unwrap_err().to_string();
        assert!(unknown.contains("abacus") && unknown.contains(DEVICES[0].name));
        let remote = DeviceName::parse("remote:ws://gpu:3000");
        match cfg!(feature = "remote") {
            true => assert_eq!(remote.unwrap().to_string(), "remote:ws://gpu:3000"),
            false => assert_eq!(remote, Err(DeviceError::NotRemote)),
        }
    }
}
