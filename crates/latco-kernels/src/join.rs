use burn::{
    backend::Dispatch,
    tensor::{DType, Tensor},
};

use crate::{extension::PlanKernels, model::has_kernels};

/// Parts that a kernel joins at most.
const PARTS: usize = 4;

/// As [`Tensor::cat`]: `parts` one after the other along `dimension`.
///
/// On a GPU four of them are one kernel, the same for all shapes, and so are four of what comes of that. Burn's writes
/// each part on its own, and is compiled for each number of axes, width of vectors and size of cube.
pub fn join<const D: usize>(parts: Vec<Tensor<D>>, dimension: usize) -> Tensor<D> {
    let is_fused = |part: &Tensor<D>| {
        let is_known = part.dtype() == DType::F32 && part.shape().num_elements() > 0;
        is_known && has_kernels(&part.device())
    };
    if !parts.iter().all(is_fused) {
        return Tensor::cat(parts, dimension);
    }
    let mut parts = parts;
    while parts.len() > 1 {
        let mut rest = parts.as_slice();
        let groups = group_sizes(parts.len()).into_iter().map(|size| {
            let (group, others) = rest.split_at(size);
            rest = others;
            at_once(group, dimension)
        });
        parts = groups.collect();
    }
    parts.pop().expect("there is a part at least")
}

/// How many of so many parts are joined by each kernel, such that what remains is a power of four: there are
/// no fewer kernels in all, and no part is copied more often than needed.
fn group_sizes(count: usize) -> Vec<usize> {
    let mut remain = 1;
    while remain * PARTS < count {
        remain *= PARTS;
    }
    let mut excess = count - remain;
    let sizes = (0..remain).map(|_| {
        let joined = excess.min(PARTS - 1);
        excess -= joined;
        joined + 1
    });
    sizes.collect()
}

/// As [`Tensor::stack`]: `parts` beside each other along a new `dimension`, joined likewise.
pub fn stack<const D: usize, const D2: usize>(
    parts: Vec<Tensor<D>>,
    dimension: usize,
) -> Tensor<D2> {
    let parts = parts.into_iter().map(|part| part.unsqueeze_dim(dimension));
    join(parts.collect(), dimension)
}

/// One to four parts as one kernel.
fn at_once<const D: usize>(parts: &[Tensor<D>], dimension: usize) -> Tensor<D> {
    if let [part] = parts {
        return part.clone();
    }
    // What is not there is not read.
    let part = |index: usize| parts[index.min(parts.len() - 1)].clone().into_dispatch();
    let joined = Dispatch::join(part(0), part(1), part(2), part(3), parts.len(), dimension);
    Tensor::from_dispatch(joined)
}

#[cfg(test)]
mod tests {
    use super::group_sizes;

    #[test]
    fn as_few_kernels_as_there_can_be() {
        assert_eq!(group_sizes(4), [4]);
        assert_eq!(group_sizes(6), [3, 1, 1, 1]);
        for count in 2..70_usize {
            let (mut left, mut kernels) = (count, 0);
            while left > 1 {
                let sizes = group_sizes(left);
                assert_eq!(sizes.iter().sum::<usize>(), left);
                assert!(sizes.iter().all(|size| (1..=4).contains(size)), "{sizes:?}");
                kernels += sizes.iter().filter(|&&size| size > 1).count();
                left = sizes.len();
            }
            assert_eq!(kernels, (count - 1).div_ceil(3), "{count} parts");
        }
    }
}
