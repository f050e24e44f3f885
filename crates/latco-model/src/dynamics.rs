//! Latent dynamics: the prior `p(z' | z, a)` and the posterior `q(z' | o', a, z)`.

mod gaussian_linearisation;
mod gru;
mod linearisation;
mod rssm;
mod ssm;

use burn::{
    module::Module,
    tensor::{Device, Tensor, activation::softplus},
};
use latco_kernels::{MIN_STD, join};
use latco_plan::{DiagonalGaussian, Linearisation, Noise};

use crate::WorldModelConfig;
use gaussian_linearisation::{RssmGaussianLinearisation, SsmGaussianLinearisation};
pub use gru::Gru;
pub(crate) use linearisation::laid_out;
use linearisation::{Outputs, RssmLinearisation, RssmPrior, SsmLinearisation, SsmPrior};
pub use rssm::Rssm;
pub use ssm::Ssm;

/// Dynamics with or without a deterministic part.
#[allow(
    clippy::large_enum_variant,
    reason = "a model holds one of them, and Burn's derive does not see through a box"
)]
#[derive(Module, Debug)]
pub enum Dynamics {
    /// `z = [stochastic, deterministic]`.
    Rssm(Rssm),
    /// `z = stochastic`.
    Ssm(Ssm),
}

/// Prior and posterior of one transition; both share the deterministic part.
#[derive(Clone, Debug)]
pub struct Transition {
    /// `p(s' | z, a)` over the stochastic part, `[rows, stochastic]`.
    pub prior: DiagonalGaussian,
    /// `q(s' | o', a, z)` over the stochastic part, `[rows, stochastic]`.
    pub posterior: DiagonalGaussian,
    /// The deterministic part of `z'`, `[rows, deterministic]`; `None` for an SSM.
    pub deterministic: Option<Tensor<2>>,
}

/// What recorded sequences tell of their latents, `[length · rows, …]`.
pub(crate) struct Inferred {
    /// Samples of the posterior.
    pub latents: Tensor<2>,
    /// Of every step's stochastic part, given the latent before.
    pub prior: DiagonalGaussian,
    /// The same, given also what was seen.
    pub posterior: DiagonalGaussian,
}

/// Rows of all steps at one of them, `[rows, …]`.
fn at_step(steps: &Tensor<3>, step: usize) -> Tensor<2> {
    steps.clone().narrow(0, step, 1).squeeze_dim(0)
}

/// The latents that `mean` leads to step by step.
fn by_means(
    start: Tensor<2>,
    actions: &Tensor<3>,
    mean: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<2>,
) -> Tensor<2> {
    let mut latent = start;
    let latents = (0..actions.dims()[0]).map(|step| {
        latent = mean(latent.clone(), at_step(actions, step));
        latent.clone()
    });
    join(latents.collect(), 0)
}

impl Transition {
    /// The latent with this stochastic part, `[rows, latent]`.
    pub fn latent(&self, stochastic: Tensor<2>) -> Tensor<2> {
        latent_of(stochastic, self.deterministic.clone())
    }

    /// `q(z' | o', a, z)` over the whole latent, the deterministic part with zero deviation.
    pub fn posterior_latent(&self) -> DiagonalGaussian {
        whole(&self.posterior, self.deterministic.clone())
    }
}

impl Dynamics {
    pub(crate) fn new(config: &WorldModelConfig, noise: &mut Noise, device: &Device) -> Self {
        if config.deterministic == 0 {
            Self::Ssm(Ssm::new(config, noise, device))
        } else {
            Self::Rssm(Rssm::new(config, noise, device))
        }
    }

    /// `p(z' | z, a)` for `latents` `[rows, latent]` and `actions` `[rows, action]`.
    pub fn prior(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        match self {
            Self::Rssm(rssm) => rssm.prior(latents, actions),
            Self::Ssm(ssm) => ssm.prior(latents, actions),
        }
    }

    /// The mean of the prior alone, `[rows, latent]`.
    pub fn prior_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Rssm(rssm) => rssm.prior_mean(latents, actions),
            Self::Ssm(ssm) => ssm.prior_mean(latents, actions),
        }
    }

    /// The derivative of [`prior_mean`](Self::prior_mean) at `latents` `[points, latent]` and
    /// `actions` `[points, action]`, in closed form.
    pub fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation> {
        Prior::new(self).linearise(latents, actions)
    }

    /// The derivative of mean and standard deviation of the [`prior`](Self::prior) side by side, in
    /// closed form, at the same points.
    pub fn linearise_gaussian(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation> {
        Prior::new(self).linearise_gaussian(latents, actions)
    }

    /// Prior and posterior, given also the next image's `embedding` `[rows, embedding]`.
    pub fn transition(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
        embedding: Tensor<2>,
    ) -> Transition {
        match self {
            Self::Rssm(rssm) => rssm.transition(latents, actions, embedding),
            Self::Ssm(ssm) => ssm.transition(latents, actions, embedding),
        }
    }
}

impl Dynamics {
    /// Samples of the posterior along sequences from zero latents on, given the `embeddings`
    /// `[length · rows, embedding]` of their images, their actions `[length, rows, action]`, a factor of
    /// the latent before, `[length, rows, 1]`, and standard normal noise `[length, rows, stochastic]`.
    pub(crate) fn infer(&self, embeddings: Tensor<2>, inputs: [Tensor<3>; 3]) -> Inferred {
        match self {
            Self::Rssm(rssm) => rssm.infer(embeddings, inputs),
            Self::Ssm(ssm) => ssm.infer(embeddings, inputs),
        }
    }

    /// The means of the prior from `start` `[rows, latent]` on with actions `[length, rows, action]`,
    /// `[length · rows, latent]`.
    pub(crate) fn imagine(&self, start: Tensor<2>, actions: &Tensor<3>) -> Tensor<2> {
        match self {
            Self::Rssm(rssm) => rssm.imagine(start, actions),
            Self::Ssm(ssm) => by_means(start, actions, |latents, actions| {
                ssm.prior_mean(latents, actions)
            }),
        }
    }
}

/// The prior of some dynamics with what its derivatives are made of.
pub(crate) enum Prior<'a> {
    Rssm(Box<RssmPrior<'a>>),
    Ssm(Box<SsmPrior<'a>>),
}

impl<'a> Prior<'a> {
    fn new(dynamics: &'a Dynamics) -> Self {
        match dynamics {
            Dynamics::Rssm(rssm) => Self::Rssm(Box::new(RssmPrior::new(rssm))),
            Dynamics::Ssm(ssm) => Self::Ssm(Box::new(SsmPrior::new(ssm))),
        }
    }

    /// With weights laid out for fast products.
    pub fn prepared(dynamics: &'a Dynamics) -> Self {
        match dynamics {
            Dynamics::Rssm(rssm) => Self::Rssm(Box::new(RssmPrior::prepared(rssm))),
            Dynamics::Ssm(ssm) => Self::Ssm(Box::new(SsmPrior::prepared(ssm))),
        }
    }

    /// As [`Dynamics::linearise`].
    pub fn linearise(&self, latents: Tensor<2>, actions: Tensor<2>) -> Box<dyn Linearisation> {
        match self {
            Self::Rssm(prior) => Box::new(RssmLinearisation::new(prior, latents, actions)),
            Self::Ssm(prior) => {
                let outputs = Outputs::Mean;
                Box::new(SsmLinearisation::new(prior, latents, actions, outputs))
            }
        }
    }

    /// As [`Dynamics::linearise_gaussian`].
    pub fn linearise_gaussian(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
    ) -> Box<dyn Linearisation> {
        match self {
            Self::Rssm(prior) => Box::new(RssmGaussianLinearisation::new(prior, latents, actions)),
            Self::Ssm(prior) => Box::new(SsmGaussianLinearisation::new(prior, latents, actions)),
        }
    }
}

/// Splits `[mean, raw]` of `[rows, 2 · size]` into `N(mean, softplus(raw) + 0.1)`.
fn gaussian(output: Tensor<2>) -> DiagonalGaussian {
    let size = output.dims()[1] / 2;
    let raw = output.clone().narrow(1, size, size);
    DiagonalGaussian::new(output.narrow(1, 0, size), deviation(raw))
}

/// `softplus(raw) + 0.1`.
fn deviation(raw: Tensor<2>) -> Tensor<2> {
    softplus(raw, 1.0) + MIN_STD
}

fn latent_of(stochastic: Tensor<2>, deterministic: Option<Tensor<2>>) -> Tensor<2> {
    match deterministic {
        Some(deterministic) => join(vec![stochastic, deterministic], 1),
        None => stochastic,
    }
}

fn whole(stochastic: &DiagonalGaussian, deterministic: Option<Tensor<2>>) -> DiagonalGaussian {
    let certain = deterministic.as_ref().map(Tensor::zeros_like);
    DiagonalGaussian::new(
        latent_of(stochastic.mean.clone(), deterministic),
        latent_of(stochastic.std.clone(), certain),
    )
}
