use burn::tensor::Tensor;

/// `max(|a| − 1, 0)` of each component.
pub(super) fn action_excess<const D: usize>(actions: Tensor<D>) -> Tensor<D> {
    (actions.abs() - 1.0).clamp_min(0.0)
}

/// `‖max(|a_t| − 1, 0)‖²`, `[plans, horizon]`.
pub(super) fn action_violation(actions: Tensor<3>) -> Tensor<2> {
    action_excess(actions).square().sum_dim(2).squeeze_dim(2)
}
