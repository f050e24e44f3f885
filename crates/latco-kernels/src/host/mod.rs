//! Whole passes through a model in this process's memory.
//!
//! A step of a small model is some ten products of a few microseconds each. As operations on tensors all of
//! them wait for tensors to be made, shaped and dropped; here a pass is a loop over numbers that stay where
//! they are, and what follows a product is done while its sums are in registers.

mod backward;
mod forward;
mod network;
mod passes;
mod product;
mod tangents;
#[cfg(test)]
mod tests;

pub(crate) use network::{Dense, HostLayers};
pub(crate) use passes::HostModel;

fn add(values: &mut [f32], others: &[f32]) {
    for (value, other) in values.iter_mut().zip(others) {
        *value += other;
    }
}
