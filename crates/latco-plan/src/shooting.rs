//! Shooting: the actions are the only decision variables, latents follow by rolling out the model.

mod cem;
mod evaluation;

pub use cem::{Cem, CemConfig};
pub(crate) use evaluation::{ShootingResult, returns_in_chunks};
