//! `latco device-server`: lets other machines plan and learn on this one's device.

use clap::Args;

use crate::{arguments::Common, error::CliError, output::Report};

/// Let other machines compute on this one's device, until Ctrl-C.
///
/// They name it: --device remote:ws://HOST:PORT. Models and images travel to it at every call, unencrypted: serve within a
/// network that you trust. Where the environment variable LATCO_DEVICE_TOKEN is set, only those are served who have
/// set it alike. Needs a build with --features remote on both sides.
#[derive(Args)]
#[command(after_help = "\
Examples:
  latco device-server --device wgpu --port 3000             on the machine with the GPU
  latco plan --checkpoint reach.safetensors --image camera.png --device remote:ws://gpu:3000")]
pub struct DeviceServer {
    /// The port to listen on.
    #[arg(long, value_name = "N", default_value_t = 3000)]
    port: u16,
}

impl DeviceServer {
    /// Serves until it is told to stop.
    #[cfg(feature = "remote")]
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        let device = common.device()?;
        let token = std::env::var(latco_agent::device::TOKEN).ok();
        crate::output::note(
            common,
            format!("serving {} at ws://0.0.0.0:{}", common.device, self.port),
        );
        latco_agent::device::serve(&device, self.port, token)?;
        Report::new(&self.port, "stopped")
    }

    /// Tells that this build cannot.
    #[cfg(not(feature = "remote"))]
    pub fn run(&self, _common: &Common) -> Result<Report, CliError> {
        Err(latco_agent::device::DeviceError::NotRemote.into())
    }
}
