//! Closed-form derivatives of the priors' means and standard deviations, for Gaussian plans.

use std::ops::Range;

use burn::tensor::Tensor;
use latco_kernels::{join, sigmoid};
use latco_plan::Linearisation;

use super::{
    deviation,
    linearisation::{Outputs, RssmLayers, RssmPrior, SsmLinearisation, SsmPrior, at},
};

/// The standard deviations `σ = softplus(raw) + 0.1` of the outputs `[mean, raw]`, `[points, size]`.
struct Deviations {
    value: Tensor<2>,
    /// `dσ/draw`, the logistic function.
    slope: Tensor<2>,
}

impl Deviations {
    /// Of the outputs `[points, 2 · size]`.
    fn of(outputs: &Tensor<2>) -> Self {
        let size = outputs.dims()[1] / 2;
        let raw = outputs.clone().narrow(1, size, size);
        Self {
            slope: sigmoid(raw.clone()),
            value: deviation(raw),
        }
    }

    /// Cotangents of `[mean, raw]` from those of mean and deviation.
    fn pullback(&self, points: &Range<usize>, mean: Tensor<3>, std: Tensor<3>) -> Tensor<3> {
        join(vec![mean, std * at(&self.slope, points)], 2)
    }

    /// Tangents of mean and deviation from those of `[mean, raw]`.
    fn pushforward(&self, points: &Range<usize>, outputs: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let (mean, raw) = halves(outputs);
        (mean, raw * at(&self.slope, points))
    }
}

/// The derivative of `[μ, σ]` of an RSSM's prior; the deterministic part has no deviation.
pub(crate) struct RssmGaussianLinearisation {
    layers: RssmLayers,
    deviations: Deviations,
}

impl RssmGaussianLinearisation {
    pub fn new(prior: &RssmPrior<'_>, latents: Tensor<2>, actions: Tensor<2>) -> Self {
        let layers = RssmLayers::new(prior, latents, actions, Outputs::MeanAndRaw);
        Self {
            deviations: Deviations::of(&layers.head.value),
            layers,
        }
    }
}

impl Linearisation for RssmGaussianLinearisation {
    fn value(&self) -> Tensor<2> {
        let std = self.deviations.value.clone();
        let mean = self.layers.head.value.clone().narrow(1, 0, std.dims()[1]);
        let next = self.layers.next_state();
        let certain = next.zeros_like();
        join(vec![mean, next, std, certain], 1)
    }

    fn pullback(&self, points: Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let (of_mean, of_std) = halves(cotangents);
        let (mean, state) = self.layers.split(of_mean);
        let (std, _) = self.layers.split(of_std);
        let of_head = self.deviations.pullback(&points, mean, std);
        self.layers.pullback(&points, of_head, state)
    }

    fn pushforward(
        &self,
        points: Range<usize>,
        latents: Tensor<3>,
        actions: Tensor<3>,
    ) -> Tensor<3> {
        let (outputs, next) = self.layers.pushforward(&points, latents, actions);
        let (mean, std) = self.deviations.pushforward(&points, outputs);
        let certain = next.zeros_like();
        join(vec![mean, next, std, certain], 2)
    }
}

/// The derivative of `[μ, σ]` of an SSM's prior.
pub(crate) struct SsmGaussianLinearisation {
    prior: SsmLinearisation,
    deviations: Deviations,
}

impl SsmGaussianLinearisation {
    pub fn new(prior: &SsmPrior<'_>, latents: Tensor<2>, actions: Tensor<2>) -> Self {
        let prior = SsmLinearisation::new(prior, latents, actions, Outputs::MeanAndRaw);
        Self {
            deviations: Deviations::of(&prior.value()),
            prior,
        }
    }
}

impl Linearisation for SsmGaussianLinearisation {
    fn value(&self) -> Tensor<2> {
        let std = self.deviations.value.clone();
        let mean = self.prior.value().narrow(1, 0, std.dims()[1]);
        join(vec![mean, std], 1)
    }

    fn pullback(&self, points: Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let (mean, std) = halves(cotangents);
        let outputs = self.deviations.pullback(&points, mean, std);
        self.prior.pullback(points, outputs)
    }

    fn pushforward(
        &self,
        points: Range<usize>,
        latents: Tensor<3>,
        actions: Tensor<3>,
    ) -> Tensor<3> {
        let outputs = self.prior.pushforward(points.clone(), latents, actions);
        let (mean, std) = self.deviations.pushforward(&points, outputs);
        join(vec![mean, std], 2)
    }
}

/// Splits the last dimension in the middle.
fn halves(values: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let half = values.dims()[2] / 2;
    (
        values.clone().narrow(2, 0, half),
        values.narrow(2, half, half),
    )
}
