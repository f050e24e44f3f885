//! The embedded typefaces, so that text looks the same on every system.

use std::{io, sync::OnceLock};

use plotters::style::{FontStyle, register_font};

use crate::error::CliError;

/// The family of charts, proportional.
pub const SANS: &str = "latco sans";
/// The family of captions, whose digits stay in place from frame to frame.
pub const MONOSPACE: &str = "latco monospace";

const TYPEFACES: [(&str, &[u8]); 2] = [
    (SANS, epaint_default_fonts::UBUNTU_LIGHT),
    (MONOSPACE, epaint_default_fonts::HACK_REGULAR),
];

/// Registers the typefaces with plotters; needed before any text is drawn.
pub fn register() -> Result<(), CliError> {
    static USABLE: OnceLock<bool> = OnceLock::new();
    let register = |(family, bytes)| register_font(family, FontStyle::Normal, bytes).is_ok();
    if *USABLE.get_or_init(|| TYPEFACES.into_iter().all(register)) {
        Ok(())
    } else {
        Err(CliError::drawing(io::Error::other(
            "an embedded typeface is damaged",
        )))
    }
}
