//! How long examples take.

/// Whether `--short` was given: the same steps with less work, as every change is tested with.
pub fn is_short() -> bool {
    std::env::args().any(|argument| argument == "--short")
}
