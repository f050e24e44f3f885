//! The last line of defence: a panic below, as Burn's where a device fails, becomes an error.

use std::{
    any::Any,
    env,
    panic::{self, AssertUnwindSafe},
};

use crate::error::CliError;

/// Runs `work`; a panic ends it with [`CliError::Panic`] and no further output, unless
/// `RUST_BACKTRACE` asks for it. Panics after it are told as those before.
pub fn caught<T>(work: impl FnOnce() -> Result<T, CliError>) -> Result<T, CliError> {
    let is_quiet = env::var_os("RUST_BACKTRACE").is_none();
    let hook = is_quiet.then(panic::take_hook);
    if is_quiet {
        panic::set_hook(Box::new(|_| {}));
    }
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    if let Some(hook) = hook {
        panic::set_hook(hook);
    }
    done.unwrap_or_else(|payload| Err(CliError::Panic(message(payload.as_ref()))))
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
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let error = message(Box::new("broken").as_ref());
        assert_eq!(error, "broken");
        let error = message(&"broken".to_owned());
        assert_eq!(error, "broken");
    }

    /// The one test that sets the hook, which all threads share.
    #[test]
    fn later_panics_are_told_again() {
        static TOLD: AtomicBool = AtomicBool::new(false);
        panic::set_hook(Box::new(|_| TOLD.store(true, Ordering::Relaxed)));
        let refused = caught(|| -> Result<(), _> { panic!("broken") });
        assert!(matches!(refused, Err(CliError::Panic(reason)) if reason == "broken"));
        let _ = panic::catch_unwind(|| panic!("told"));
        let _ = panic::take_hook();
        assert!(TOLD.load(Ordering::Relaxed));
    }
}
