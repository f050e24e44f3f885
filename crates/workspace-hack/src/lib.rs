//! Nothing but features of crates that others share.
//!
//! Cargo builds a crate anew for every set of its features. `wgpu` and `lerobot` ask a handful of crates at the bottom
//! (`proc-macro2`, `serde`, `syn`, …) for a few more than the default build does, and nearly everything above those was
//! compiled twice. With these features always on in tests, such builds share what they can. A convention, known from
//! cargo-hakari; here by hand, since that takes in all features, `cuda` too.
//!
//! Versions are those of `Cargo.lock`. Where they drift apart, builds are slower and nothing else changes.
