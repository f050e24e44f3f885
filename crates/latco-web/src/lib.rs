//! `latco` in a browser: a task, its model and any planner in a closed loop, on one thread.
//!
//! [`Playground`] is what the page shows: it runs a task, moves its things, and tells where a plan's
//! latents show the effector. It is plain Rust, tested on the host; where the target is wasm32,
//! `bindings` puts it, and [`latco_agent::Agent`] alone, behind wasm-bindgen. `docs/browser.md` says how the
//! page is built and what was measured.
#![warn(missing_docs)]

#[cfg(target_arch = "wasm32")]
mod bindings;
mod error;
mod locate;
mod playground;
mod recorder;
mod setup;

pub use error::WebError;
pub use locate::{Locator, Place};
pub use playground::{Imagined, IterationPicture, PlanReport, Playground, Report};
pub use setup::{PlannerEntry, Setup, planners};
