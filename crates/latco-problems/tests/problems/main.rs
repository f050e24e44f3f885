//! The problems against numpy, and what holds for each of them.

mod common;
mod rewards;
mod values;
