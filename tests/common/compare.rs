//! Comparing what a device computed in single precision with a reference in double precision.

/// The largest difference, relative to the largest magnitude of the reference; infinite where
/// anything is not finite.
fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "the numbers of values differ");
    let scale = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let differences = found.iter().zip(expected).map(|(&x, y)| f64::from(x) - y);
    differences.fold(0.0, |most: f64, difference| {
        if difference.is_finite() {
            most.max(difference.abs() / scale.max(f64::MIN_POSITIVE))
        } else {
            f64::INFINITY
        }
    })
}

/// Fails unless the [`relative_error`] is at most `tolerance`; prints it for the record.
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    let error = relative_error(found, expected);
    println!("{what}: relative error {error:.1e}, at most {tolerance:.0e} allowed");
    assert!(
        error <= tolerance,
        "{what}: relative error {error:.2e} is above {tolerance:.0e}"
    );
}
