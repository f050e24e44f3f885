//! Products whose sums are long and whose results are few.

use burn::tensor::Tensor;

use crate::model::has_kernels;

/// Numbers of a part of a sum, at least: a group of units has no less to do for a result.
const LEAST: usize = 64;

/// `A Bᵀ`, `[batch, rows, others]`, of `A` `[batch, rows, size]` and `B` `[batch, others, size]`.
///
/// A GPU's product has one group of units go along the whole of each sum, which for a thousand results leaves most of
/// the device idle. There sums are made in parts side by side.
pub fn inner_products(left: Tensor<3>, right: Tensor<3>) -> Tensor<3> {
    let size = left.dims()[2];
    let parts = match has_kernels(&left.device().without_autodiff()) {
        true => parts_of(size),
        false => 1,
    };
    if parts == 1 {
        return left.matmul(right.swap_dims(1, 2));
    }
    let in_parts = |values: Tensor<3>| {
        let [batch, rows, _] = values.dims();
        let values = values.reshape([batch, rows, parts, size / parts]);
        values.swap_dims(1, 2)
    };
    let products = in_parts(left).matmul(in_parts(right).swap_dims(2, 3));
    products.sum_dim(1).squeeze_dim(1)
}

/// The most equal parts of a sum of so many numbers that are worth it.
fn parts_of(size: usize) -> usize {
    let most = size / LEAST;
    (1..=most)
        .rev()
        .find(|parts| size.is_multiple_of(*parts))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::parts_of;

    #[test]
    fn parts_are_equal_and_not_too_short() {
        assert_eq!(
            [6_900, 64, 128, 127, 131, 1, 0].map(parts_of),
            [100, 1, 2, 1, 1, 1, 1]
        );
    }
}
