//! What a device computed in single precision, and how far it is from a reference.

use burn::tensor::Tensor;

/// The values of a tensor, in row-major order.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// The largest difference, relative to the largest magnitude of the reference; infinite where
/// anything is not finite.
pub fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
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
