//! The last line of defence: a panic below, as Burn's where a device fails, becomes an error.

use std::{
    any::Any,
    env,
    panic::{self, AssertUnwindSafe},
};

use crate::error::CliError;

/// Runs `work`; a panic ends it with [`CliError::Panic`] and no further output, unless
/// `RUST_BACKTRACE` asks for it.
pub fn caught<T>(work: impl FnOnce() -> Result<T, CliError>) -> Result<T, CliError> {
    if env::var_os("RUST_BACKTRACE").is_none() {
        panic::set_hook(Box::new(|_| {}));
    }
    panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|payload| Err(CliError::Panic(message(payload.as_ref()))))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let error = message(Box::new("broken").as_ref());
        assert_eq!(error, "broken");
        let error = message(&"broken".to_owned());
        assert_eq!(error, "broken");
        assert!(caught(|| Ok(1)).is_ok());
    }
}
