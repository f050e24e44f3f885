use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Tensor},
};
use latco_kernels::{Observed, SequenceLayers, join, overwrite_first};
use latco_plan::{DiagonalGaussian, Noise};

use super::{Gru, Inferred, Transition, at_step, by_means, gaussian, latent_of, whole};
use crate::{Activation, WorldModelConfig, initialise::linear};

/// The recurrent state-space model (Hafner et al., arXiv 1811.04551), `z = [s, h]`:
///
/// ```text
/// h' = GRU(f(W [s, a]), h)
/// prior      p(s' | h')     = N from  f(W h')        → [mean, raw]
/// posterior  q(s' | h', e') = N from  f(W [h', e'])  → [mean, raw]
/// std = softplus(raw) + 0.1,   f = ELU or ReLU
/// ```
#[derive(Module, Debug)]
pub struct Rssm {
    /// `[s, a]` to the recurrent input.
    pub recurrent_input: Linear,
    /// The deterministic path.
    pub gru: Gru,
    /// The prior's hidden layer.
    pub prior_hidden: Linear,
    /// The prior's output layer.
    pub prior_output: Linear,
    /// The posterior's hidden layer, over `[h', e']`.
    pub posterior_hidden: Linear,
    /// The posterior's output layer.
    pub posterior_output: Linear,
    /// f.
    #[module(skip)]
    pub activation: Activation,
}

impl Rssm {
    pub(crate) fn new(config: &WorldModelConfig, noise: &mut Noise, device: &Device) -> Self {
        let WorldModelConfig {
            stochastic,
            deterministic,
            hidden,
            action_size,
            ..
        } = *config;
        let mut layer = |inputs, outputs| linear(inputs, outputs, noise, device);
        Self {
            recurrent_input: layer(stochastic + action_size, hidden),
            prior_hidden: layer(deterministic, hidden),
            prior_output: layer(hidden, 2 * stochastic),
            posterior_hidden: layer(deterministic + config.embedding_size(), hidden),
            posterior_output: layer(hidden, 2 * stochastic),
            gru: Gru::new(hidden, deterministic, noise, device),
            activation: config.activation,
        }
    }

    /// The recurrent unit's input, `[rows, hidden]`.
    fn recurrent_input(&self, stochastic: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let input = join(vec![stochastic, actions], 1);
        self.activation.of_layer(&self.recurrent_input, input)
    }

    /// `h'`, `[rows, deterministic]`.
    fn recur(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let (stochastic, deterministic) = self.split(latents);
        let input = self.recurrent_input(stochastic, actions);
        self.gru.forward(input, deterministic)
    }

    /// `p(s' | h')` from `[rows, deterministic]`.
    fn predict(&self, deterministic: Tensor<2>) -> DiagonalGaussian {
        gaussian(
            self.prior_output
                .forward(self.prior_features(deterministic)),
        )
    }

    pub(super) fn prior(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let deterministic = self.recur(latents, actions);
        whole(&self.predict(deterministic.clone()), Some(deterministic))
    }

    /// Both parts of the latent are overwritten where they lie in memory.
    pub(super) fn prior_mean(&self, latents: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let (stochastic, _) = self.split(latents.clone());
        let input = self.recurrent_input(stochastic, actions);
        match self.gru.forward_in_place(input, latents) {
            Ok(after) => {
                let hidden = self.prior_features(self.split(after.clone()).1);
                overwrite_first(after, self.stochastic(), &self.prior_output, hidden)
            }
            Err(parts) => {
                let [input, latents] = *parts;
                let state = self.gru.forward(input, self.split(latents).1);
                let output = self
                    .prior_output
                    .forward(self.prior_features(state.clone()));
                let mean = output.narrow(1, 0, self.stochastic());
                join(vec![mean, state], 1)
            }
        }
    }

    /// The prior's hidden layer at `[rows, deterministic]`.
    fn prior_features(&self, deterministic: Tensor<2>) -> Tensor<2> {
        self.activation.of_layer(&self.prior_hidden, deterministic)
    }

    pub(super) fn transition(
        &self,
        latents: Tensor<2>,
        actions: Tensor<2>,
        embedding: Tensor<2>,
    ) -> Transition {
        let deterministic = self.recur(latents, actions);
        let seen = join(vec![deterministic.clone(), embedding], 1);
        let hidden = self.activation.of_layer(&self.posterior_hidden, seen);
        Transition {
            prior: self.predict(deterministic.clone()),
            posterior: gaussian(self.posterior_output.forward(hidden)),
            deterministic: Some(deterministic),
        }
    }

    /// The prior and what images add to the posterior's hidden layer are computed for all steps at once.
    pub(super) fn infer(&self, embeddings: Tensor<2>, inputs: [Tensor<3>; 3]) -> Inferred {
        let [deterministic, _] = self.prior_hidden.weight.dims();
        let [seen, _] = self.posterior_hidden.weight.dims();
        let weight = self.posterior_hidden.weight.val();
        let of_state = weight.clone().narrow(0, 0, deterministic);
        let of_image = weight.narrow(0, deterministic, seen - deterministic);
        let embedded = embeddings.matmul(of_image);
        let embedded = match &self.posterior_hidden.bias {
            Some(bias) => embedded + bias.val().unsqueeze(),
            None => embedded,
        };
        let layers = SequenceLayers {
            input: &self.recurrent_input,
            gru_input: &self.gru.input,
            gru_state: &self.gru.state,
            hidden: of_state.clone(),
            output: &self.posterior_output,
        };
        let [_, rows, _] = inputs[0].dims();
        let size = self.stochastic() + deterministic;
        let start = Tensor::zeros([rows, size], &inputs[0].device());
        let at_once = layers.observe(
            self.activation.fused(),
            embedded.clone(),
            start,
            inputs.clone(),
        );
        let observed = at_once.unwrap_or_else(|| self.observe(&of_state, &embedded, inputs));
        let (_, states) = self.split(observed.latents.clone());
        Inferred {
            latents: observed.latents,
            prior: self.predict(states),
            posterior: DiagonalGaussian::new(observed.mean, observed.std),
        }
    }

    /// The means of the prior from `start` `[rows, latent]` on with actions `[length, rows, action]`,
    /// `[length · rows, latent]`.
    pub(super) fn imagine(&self, start: Tensor<2>, actions: &Tensor<3>) -> Tensor<2> {
        let at_once = |bias: Tensor<1>| {
            let [length, rows, _] = actions.dims();
            let layers = SequenceLayers {
                input: &self.recurrent_input,
                gru_input: &self.gru.input,
                gru_state: &self.gru.state,
                hidden: self.prior_hidden.weight.val(),
                output: &self.prior_output,
            };
            let embedded = bias.unsqueeze::<2>().repeat_dim(0, length * rows);
            let device = actions.device();
            let memory = Tensor::ones([length, rows, 1], &device);
            let noise = Tensor::zeros([length, rows, self.stochastic()], &device);
            let inputs = [actions.clone(), memory, noise];
            layers.observe(self.activation.fused(), embedded, start.clone(), inputs)
        };
        let bias = self.prior_hidden.bias.as_ref().map(|bias| bias.val());
        match bias.and_then(at_once) {
            Some(imagined) => imagined.latents,
            None => by_means(start, actions, |latents, actions| {
                self.prior_mean(latents, actions)
            }),
        }
    }

    /// Step by step, the posterior's hidden layer being `f(of_state h' + embedded)`.
    fn observe(
        &self,
        of_state: &Tensor<2>,
        embedded: &Tensor<2>,
        [actions, memory, noise]: [Tensor<3>; 3],
    ) -> Observed {
        let [length, rows, _] = actions.dims();
        let size = self.stochastic() + of_state.dims()[0];
        let mut latent = Tensor::zeros([rows, size], &actions.device());
        let (mut latents, mut means, mut stds) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..length {
            let known = latent * at_step(&memory, step);
            let deterministic = self.recur(known, at_step(&actions, step));
            let embedded = embedded.clone().narrow(0, step * rows, rows);
            let sums = deterministic.clone().matmul(of_state.clone()) + embedded;
            let hidden = self.activation.apply(sums);
            let posterior = gaussian(self.posterior_output.forward(hidden));
            let sample = posterior.sample(at_step(&noise, step));
            latent = latent_of(sample, Some(deterministic));
            latents.push(latent.clone());
            means.push(posterior.mean);
            stds.push(posterior.std);
        }
        Observed {
            latents: join(latents, 0),
            mean: join(means, 0),
            std: join(stds, 0),
        }
    }

    /// Splits `z` into `s` and `h`.
    pub(crate) fn split(&self, latents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let deterministic = self.prior_hidden.weight.dims()[0];
        let stochastic = latents.dims()[1] - deterministic;
        (
            latents.clone().narrow(1, 0, stochastic),
            latents.narrow(1, stochastic, deterministic),
        )
    }

    /// The size of `s`.
    fn stochastic(&self) -> usize {
        self.prior_output.weight.dims()[1] / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With biases, which models begin without.
    #[test]
    fn the_mean_alone_is_that_of_the_prior() {
        let (device, mut noise) = (Device::default(), Noise::new(3));
        let config = WorldModelConfig {
            stochastic: 3,
            deterministic: 5,
            hidden: 7,
            ..WorldModelConfig::small(2)
        };
        let mut rssm = Rssm::new(&config, &mut noise, &device);
        for layer in [
            &mut rssm.recurrent_input,
            &mut rssm.gru.input,
            &mut rssm.gru.state,
            &mut rssm.prior_hidden,
            &mut rssm.prior_output,
        ] {
            let bias = noise.normal([layer.weight.dims()[1]], &device);
            layer.bias = layer.bias.take().map(|param| param.map(|_| bias));
        }
        let latents = noise.normal([4, 8], &device);
        let actions = noise.normal([4, config.action_size], &device);
        let recorded = latents.clone().autodiff();
        let expected = rssm.prior(latents.clone(), actions.clone()).mean;
        let by_burn = rssm.prior_mean(recorded, actions.clone().autodiff());
        let found = rssm.prior_mean(latents.clone(), actions.clone());
        // What somebody else holds too is not overwritten.
        let again = rssm.prior_mean(latents, actions);
        for found in [found, again, by_burn.without_autodiff()] {
            let error = (found - expected.clone()).abs().max();
            assert!(error.into_scalar::<f32>() < 1e-6);
        }
    }
}
