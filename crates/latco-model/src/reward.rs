use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Tensor, activation::softplus},
};
use latco_kernels::{Layers, Likelihood, ModelPasses, RESIDUAL_FLOOR, sigmoid};
use latco_plan::{Noise, Objective, RewardLinearisation, Rewards};

use crate::{Activation, RewardKind, Rssm, WorldModelConfig, initialise::linear};

/// `p(r | z)`: a multi-layer perceptron with ELU or ReLU whose output is the mean of a unit Gaussian or
/// the logit of a Bernoulli.
#[derive(Module, Debug)]
pub struct RewardHead {
    layers: Vec<Linear>,
    #[module(skip)]
    kind: RewardKind,
    /// The least and the largest reward of a Bernoulli head.
    #[module(skip)]
    range: [f64; 2],
    #[module(skip)]
    activation: Activation,
}

impl RewardHead {
    pub(crate) fn new(config: &WorldModelConfig, noise: &mut Noise, device: &Device) -> Self {
        let units = config.reward_units;
        let sizes = [config.latent_size(), units, units, 1];
        let layers = sizes
            .windows(2)
            .map(|ends| linear(ends[0], ends[1], noise, device))
            .collect();
        Self {
            layers,
            kind: config.reward,
            range: config.reward_range,
            activation: config.activation,
        }
    }

    /// The network's output for `latents` `[rows, latent]`, `[rows]`: a mean or a logit.
    pub fn output(&self, latents: Tensor<2>) -> Tensor<1> {
        let last = self.layers.len() - 1;
        let hidden = self.layers[..last].iter().fold(latents, |hidden, layer| {
            self.activation.of_layer(layer, hidden)
        });
        self.layers[last].forward(hidden).squeeze_dim(1)
    }

    /// The expected reward of `latents` `[rows, latent]`, `[rows]`.
    pub fn expected(&self, latents: Tensor<2>) -> Tensor<1> {
        self.expected_of(self.output(latents))
    }

    fn expected_of(&self, output: Tensor<1>) -> Tensor<1> {
        match self.kind {
            RewardKind::Gaussian => output,
            RewardKind::Bernoulli => self.scaled(sigmoid(output)),
        }
    }

    /// `r_min + (r_max − r_min) p`.
    fn scaled(&self, probability: Tensor<1>) -> Tensor<1> {
        match self.range {
            [0.0, 1.0] => probability,
            [least, most] => probability * (most - least) + least,
        }
    }

    /// The inverse of [`scaled`](Self::scaled).
    fn normalised(&self, rewards: Tensor<1>) -> Tensor<1> {
        match self.range {
            [0.0, 1.0] => rewards,
            [least, most] => (rewards - least) / (most - least),
        }
    }

    /// [Expected rewards](Self::expected) and [residuals](Self::residuals) of `latents`
    /// `[rows, latent]`, from one pass through the layers.
    pub fn rewards(&self, latents: Tensor<2>) -> Rewards {
        self.rewards_of(self.output(latents))
    }

    fn rewards_of(&self, output: Tensor<1>) -> Rewards {
        Rewards {
            expected: self.expected_of(output.clone()),
            residuals: self.residuals_of(output.unsqueeze_dim(1)),
        }
    }

    /// `−log p(r | z)` up to a constant, `[rows]`:
    ///
    /// ```text
    /// Gaussian   ½ (r − r(z))²
    /// Bernoulli  softplus(l(z)) − p l(z),  p = (r − r_min) / (r_max − r_min)
    /// ```
    pub fn negative_log_likelihood(&self, latents: Tensor<2>, rewards: Tensor<1>) -> Tensor<1> {
        let output = self.output(latents);
        match self.kind {
            RewardKind::Gaussian => (output - rewards).square() * 0.5,
            RewardKind::Bernoulli => {
                softplus(output.clone(), 1.0) - self.normalised(rewards) * output
            }
        }
    }

    /// A head from given layers, each of weight `[inputs, outputs]`, the last with one output.
    pub fn from_layers(layers: Vec<Linear>, kind: RewardKind, activation: Activation) -> Self {
        Self {
            layers,
            kind,
            range: [0.0, 1.0],
            activation,
        }
    }

    /// What a least-squares planner minimises half the square of, `[rows, 1]`, of the output `x`:
    ///
    /// ```text
    /// Gaussian   softplus(−x)                       (Rybkin et al. 2021, appendix)
    /// Bernoulli  √(2 log(1 + softplus(−x)))
    /// ```
    ///
    /// For a Bernoulli head `softplus(−x)` is the negative log-probability of reward, which keeps a
    /// slope where the expected reward itself has saturated at zero. Its square, or itself, would
    /// make a plan improve the steps without hope rather than those within reach; its logarithm
    /// slopes the more the nearer the reward.
    pub fn residuals(&self, latents: Tensor<2>) -> Tensor<2> {
        self.residuals_of(self.output(latents).unsqueeze_dim(1))
    }

    fn residuals_of(&self, output: Tensor<2>) -> Tensor<2> {
        let surprise = softplus(output.neg(), 1.0);
        match self.kind {
            RewardKind::Gaussian => surprise,
            RewardKind::Bernoulli => (surprise.log1p() * 2.0 + RESIDUAL_FLOOR).sqrt(),
        }
    }

    /// The derivative of the expected reward by the output, both `[rows, 1]`.
    fn expected_slope(&self, output: Tensor<2>) -> Tensor<2> {
        match self.kind {
            RewardKind::Gaussian => output.ones_like(),
            RewardKind::Bernoulli => {
                let [least, most] = self.range;
                // 1 − σ(x) would be nothing of a small σ(−x).
                sigmoid(output.clone()) * sigmoid(output.neg()) * (most - least)
            }
        }
    }

    /// `[r_min, r_max]` of a Bernoulli head; a Gaussian one has no bounds.
    pub fn range(&self) -> Option<[f64; 2]> {
        match self.kind {
            RewardKind::Gaussian => None,
            RewardKind::Bernoulli => Some(self.range),
        }
    }

    /// The logarithm of the expected reward, normalised to `[0, 1]`, of `latents` `[rows, latent]`, `[rows]`, of the output `x`:
    ///
    /// ```text
    /// Gaussian   −½ softplus(−x)²       (that of an unnormalised reward)
    /// Bernoulli  −softplus(−x)
    /// ```
    pub fn log_expected(&self, latents: Tensor<2>) -> Tensor<1> {
        let surprise = softplus(self.output(latents).neg(), 1.0);
        match self.kind {
            RewardKind::Gaussian => surprise.square() * -0.5,
            RewardKind::Bernoulli => surprise.neg(),
        }
    }

    /// The derivative of the log reward by the output, both `[rows, 1]`.
    fn log_slope(&self, output: Tensor<2>, residuals: Tensor<2>) -> Tensor<2> {
        let slope = sigmoid(output.neg());
        match self.kind {
            RewardKind::Gaussian => slope * residuals,
            RewardKind::Bernoulli => slope,
        }
    }

    /// The derivative of the residual by the output, both `[rows, 1]`.
    fn residual_slope(&self, output: Tensor<2>, residuals: Tensor<2>) -> Tensor<2> {
        let slope = sigmoid(output.clone().neg()).neg();
        match self.kind {
            RewardKind::Gaussian => slope,
            RewardKind::Bernoulli => slope / ((softplus(output.neg(), 1.0) + 1.0) * residuals),
        }
    }

    /// The [`rewards`](Self::rewards) at `latents` `[points, latent]`, and the derivative of what
    /// `objective` is made of, by back-propagation through the layers.
    pub fn linearise(&self, latents: Tensor<2>, objective: Objective) -> RewardLinearisation {
        self.linearise_with(&self.transposed_weights(), latents, objective)
    }

    /// As [`linearise`](Self::linearise), given the transposed weights of the layers.
    pub(crate) fn linearise_with(
        &self,
        transposed: &[Tensor<2>],
        latents: Tensor<2>,
        objective: Objective,
    ) -> RewardLinearisation {
        let last = self.layers.len() - 1;
        let mut hidden = latents;
        let mut slopes = Vec::with_capacity(last);
        for layer in &self.layers[..last] {
            hidden = self.activation.of_layer(layer, hidden);
            slopes.push(self.activation.slope(hidden.clone()));
        }
        let output = self.layers[last].forward(hidden);
        let rewards = self.rewards_of(output.clone().squeeze_dim(1));
        let slope = match objective {
            Objective::Reward => self.expected_slope(output),
            Objective::LogReward => self.log_slope(output, rewards.residuals.clone()),
            Objective::Residuals => self.residual_slope(output, rewards.residuals.clone()),
        };
        let mut cotangent = slope.matmul(transposed[last].clone());
        for (layer, slope) in slopes.into_iter().enumerate().rev() {
            cotangent = (cotangent * slope).matmul(transposed[layer].clone());
        }
        RewardLinearisation {
            rewards,
            jacobian: cotangent.unsqueeze_dim(1),
        }
    }

    /// Whole passes through the prior of `rssm` and this head, where the device has kernels for them.
    pub(crate) fn passes_after(&self, rssm: &Rssm) -> Option<ModelPasses> {
        if rssm.activation != self.activation {
            return None;
        }
        let layers = Layers {
            input: &rssm.recurrent_input,
            gru_input: &rssm.gru.input,
            gru_state: &rssm.gru.state,
            hidden: &rssm.prior_hidden,
            output: &rssm.prior_output,
            reward: &self.layers,
        };
        let likelihood = match self.kind {
            RewardKind::Gaussian => Likelihood::Gaussian,
            RewardKind::Bernoulli => Likelihood::Bernoulli,
        };
        ModelPasses::of(&layers, self.activation.fused(), likelihood, self.range)
    }

    /// `Wᵀ` of each layer.
    pub(crate) fn transposed_weights(&self) -> Vec<Tensor<2>> {
        let layers = self.layers.iter();
        layers.map(|layer| layer.weight.val().transpose()).collect()
    }
}
