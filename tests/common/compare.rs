//! Comparing what a device computed in single precision with a reference in double precision.

use super::numbers::relative_error;

/// Fails unless the [`relative_error`] is at most `tolerance`; prints it for the record.
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    let error = relative_error(found, expected);
    println!("{what}: relative error {error:.1e}, at most {tolerance:.0e} allowed");
    assert!(
        error <= tolerance,
        "{what}: relative error {error:.2e} is above {tolerance:.0e}"
    );
}
