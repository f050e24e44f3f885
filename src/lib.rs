//! Plans trajectories from raw images by latent collocation.
//!
//! This crate gathers the parts that most users want; each of them is a crate of its own:
//!
//! - [`plan`]: planners on any latent model,
//! - [`problems`]: analytic problems with sparse rewards far away, to compare planners on,
//! - [`model`]: latent world models learnt from images,
//! - [`env`](mod@env): environments that render images, episodes on disk, replay,
//! - [`agent`]: belief, model-predictive control, evaluation, training,
//! - [`burn`]: the version of Burn that all of them speak.
//!
//! ```no_run
//! use latco::{Agent, Image, device};
//!
//! let device = device("auto")?;
//! let mut agent = Agent::load("assets/checkpoints/reach.safetensors", &device)?;
//! let image = Image::load_png("assets/images/reach.png".as_ref())?;
//! let action = agent.act(&image)?;
//! let plan = agent.plan().expect("acting made a plan");
//! println!("first action {action:?}");
//! println!("promised {:.2}, backed by {:.2}", plan.virtual_.total(), plan.rollout.total());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub use burn;
pub use latco_agent as agent;
pub use latco_env as env;
pub use latco_model as model;
pub use latco_plan as plan;
pub use latco_problems as problems;

pub use latco_agent::{Agent, AgentConfig, device::device};
pub use latco_env::{Environment, Image};
pub use latco_model::WorldModel;
pub use latco_plan::{Belief, LatentModel, Plan, PlanContext, Planner};
