//! Where the parts of a model lie in one tensor, and what a kernel must know of them when it is compiled.

/// A convolution without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    pub stride: usize,
    pub transposed: bool,
}

/// A dense layer in a tensor of parameters: its weight `[inputs, outputs]`, its bias `[outputs]`, and its
/// weight transposed, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    /// Where the weight begins.
    first: usize,
}

impl Layer {
    pub fn weight(self) -> usize {
        self.first
    }

    pub fn bias(self) -> usize {
        self.first + self.inputs * self.outputs
    }

    pub fn transposed(self) -> usize {
        self.bias() + self.outputs
    }

    fn end(self) -> usize {
        self.transposed() + self.inputs * self.outputs
    }

    /// Layers of these sizes, one after the other.
    pub fn consecutive<const N: usize>(sizes: [[usize; 2]; N]) -> [Self; N] {
        let mut first = 0;
        sizes.map(|[inputs, outputs]| {
            let layer = Self {
                inputs,
                outputs,
                first,
            };
            first = layer.end();
            layer
        })
    }
}

/// The non-linearity of hidden layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x` above zero, `exp(x) − 1` below.
    Elu,
    /// `max(x, 0)`.
    Relu,
}

/// The distribution that a reward head's output `x` is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Likelihood {
    /// `x` is the mean.
    Gaussian,
    /// `x` is the logit.
    Bernoulli,
}

/// What the derivative of a reward is taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slope {
    /// The expected reward.
    Expected,
    /// The residual.
    Residual,
    /// The logarithm of the reward.
    Logarithm,
}

/// The sizes of a recurrent state-space model's prior with its reward head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sizes {
    /// `a`.
    pub action: usize,
    /// `s`.
    pub stochastic: usize,
    /// `h`.
    pub deterministic: usize,
    /// Of the recurrent input, and of the prior's hidden layer.
    pub hidden: usize,
    /// Of the reward head's hidden layers.
    pub units: usize,
}

/// Such a model in a tensor of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    pub sizes: Sizes,
    pub activation: Activation,
    pub likelihood: Likelihood,
    /// `[a, s]` to the recurrent input.
    pub input: Layer,
    /// The recurrent input to the three gates.
    pub gru_input: Layer,
    /// `h` to the three gates.
    pub gru_state: Layer,
    /// `h'` to the prior's hidden layer.
    pub hidden: Layer,
    /// That to `[mean, raw]`.
    pub output: Layer,
    /// The reward head.
    pub reward: [Layer; 3],
}

impl Network {
    pub fn new(sizes: Sizes, activation: Activation, likelihood: Likelihood) -> Self {
        let Sizes {
            action,
            stochastic,
            deterministic,
            hidden,
            units,
        } = sizes;
        let gates = 3 * deterministic;
        let [
            input,
            gru_input,
            gru_state,
            prior,
            output,
            first,
            second,
            third,
        ] = Layer::consecutive([
            [action + stochastic, hidden],
            [hidden, gates],
            [deterministic, gates],
            [deterministic, hidden],
            [hidden, 2 * stochastic],
            [stochastic + deterministic, units],
            [units, units],
            [units, 1],
        ]);
        Self {
            sizes,
            activation,
            likelihood,
            input,
            gru_input,
            gru_state,
            hidden: prior,
            output,
            reward: [first, second, third],
        }
    }

    /// Every layer in the order of the parameters.
    pub fn layers(&self) -> [Layer; 8] {
        let [first, second, third] = self.reward;
        [
            self.input,
            self.gru_input,
            self.gru_state,
            self.hidden,
            self.output,
            first,
            second,
            third,
        ]
    }

    /// The most outputs of a layer.
    pub fn widest(&self) -> usize {
        widest(&self.layers())
    }

    /// `z = [s, h]`.
    pub fn latent(&self) -> usize {
        self.sizes.stochastic + self.sizes.deterministic
    }

    /// What is kept of a point for derivatives there.
    pub fn kept(&self) -> Kept {
        let Sizes {
            stochastic,
            deterministic,
            hidden,
            ..
        } = self.sizes;
        let input_slope = stochastic + deterministic;
        let update = input_slope + hidden;
        let gates = update + deterministic;
        let through_reset = gates + 3 * deterministic;
        let hidden_slope = through_reset + deterministic;
        Kept {
            input_slope,
            update,
            gates,
            through_reset,
            hidden_slope,
            width: hidden_slope + hidden,
        }
    }
}

/// The columns of what is kept of a point: the mean of `z'` first, then
///
/// ```text
/// f' of the recurrent input,  u,  [α_u, α_r, α_n],  α_n r,  f' of the prior's hidden layer
/// dh' = u dh + [α_u, α_r, α_n] · dgx + [α_u, α_r, α_n r] · dgh
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    pub input_slope: usize,
    pub update: usize,
    pub gates: usize,
    pub through_reset: usize,
    pub hidden_slope: usize,
    pub width: usize,
}

/// How cotangents meet those of later steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entering {
    /// At every step, in every row: `[horizon · plans, rows, latent]`.
    EveryStep,
    /// Each in one step, the last ones first, in rows of their own: `[horizon · plans, count, latent]`, for
    /// `horizon · count` rows.
    OneStep,
}

/// What a rollout takes and keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Whether there are defects to add to the latents.
    pub defects: bool,
    /// Whether latents are kept.
    pub latents: bool,
    /// Whether their rewards are computed.
    pub rewards: bool,
}

/// What is kept of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The latents alone.
    Latents,
    /// The rewards alone.
    Rewards,
    /// Both.
    Both,
}

impl Keep {
    pub fn latents(self) -> bool {
        self != Self::Rewards
    }

    pub fn rewards(self) -> bool {
        self != Self::Latents
    }
}

/// The numbers of a step of Adam, `x ← x − rate · m / (√v + ε)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamRates {
    pub beta_1: f32,
    pub beta_2: f32,
    /// The learning rate with the correction of both moments.
    pub rate: f32,
    /// ε with that of the second.
    pub epsilon: f32,
}

/// A recurrent state-space model's posterior, but for what images go through before they meet the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Posterior {
    pub action: usize,
    pub stochastic: usize,
    pub deterministic: usize,
    pub hidden: usize,
    pub activation: Activation,
    /// `[s, a]` to the recurrent input, that and `h` to the gates, `h'` to the hidden layer, that to
    /// `[mean, raw]`.
    pub layers: [Layer; 5],
}

fn widest(layers: &[Layer]) -> usize {
    layers.iter().map(|layer| layer.outputs).max().unwrap_or(0)
}

impl Posterior {
    /// The most outputs of a layer.
    pub fn widest(&self) -> usize {
        widest(&self.layers)
    }

    pub fn new(
        [action, stochastic, deterministic, hidden]: [usize; 4],
        activation: Activation,
    ) -> Self {
        Self {
            layers: Layer::consecutive([
                [stochastic + action, hidden],
                [hidden, 3 * deterministic],
                [deterministic, 3 * deterministic],
                [deterministic, hidden],
                [hidden, 2 * stochastic],
            ]),
            action,
            stochastic,
            deterministic,
            hidden,
            activation,
        }
    }

    /// `[s, h, mean, std]`.
    pub fn outputs(&self) -> usize {
        3 * self.stochastic + self.deterministic
    }

    /// What is kept of a step for its derivatives.
    pub fn kept(&self) -> KeptStep {
        let input = self.stochastic + self.action + self.deterministic;
        let update = input + self.hidden;
        let reset = update + self.deterministic;
        let candidate = reset + self.deterministic;
        let of_state = candidate + self.deterministic;
        let hidden = of_state + self.deterministic;
        let raw = hidden + self.hidden;
        KeptStep {
            input,
            update,
            reset,
            candidate,
            of_state,
            hidden,
            raw,
            width: raw + self.stochastic,
        }
    }

    /// Where the cotangents of the layers' sums are, those of the last layer first.
    pub fn cotangents(&self) -> LayerCotangents {
        let hidden = 2 * self.stochastic;
        let gates = hidden + self.hidden;
        let gates_of_state = gates + 3 * self.deterministic;
        let input = gates_of_state + 3 * self.deterministic;
        LayerCotangents {
            hidden,
            gates,
            gates_of_state,
            input,
            width: input + self.hidden,
        }
    }
}

/// The columns of what is kept of a step of a [`Posterior`]: `[s, a, h]` of the step before, then values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeptStep {
    pub input: usize,
    pub update: usize,
    pub reset: usize,
    pub candidate: usize,
    /// `gh_n`.
    pub of_state: usize,
    pub hidden: usize,
    pub raw: usize,
    pub width: usize,
}

/// The columns of the cotangents of a step's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerCotangents {
    pub hidden: usize,
    pub gates: usize,
    pub gates_of_state: usize,
    pub input: usize,
    pub width: usize,
}
