//! Weights of published implementations as a [`WorldModel`].
//!
//! | layout | whose | differs from ours in |
//! |---|---|---|
//! | [`tensorflow`] | LatCo, Dreamer | convolutions `[height, width, …]`, embeddings `[row, column, channel]`, both biases of the GRU in one array |
//! | [`pytorch`] | PlaNet in PyTorch | matrices `[outputs, inputs]`, gates in the order reset, update, new, latents `[deterministic, stochastic]` |
//!
//! Both have images of 64×64 pixels, a Gaussian reward head of two hidden layers and the
//! activations of [`Rssm`], which is for the owner of the weights to know: no file tells.
//! `docs/checkpoints.md` lists the names.

mod arrays;
mod files;
mod order;
mod pytorch;
mod tensorflow;

use burn::{
    nn::Linear,
    tensor::{Device, Tensor},
};
use latco_plan::ConfigError;
use thiserror::Error;

use crate::{
    Activation, Decoder, Dynamics, Encoder, Gru, RewardHead, RewardKind, Rssm, WorldModel,
    WorldModelConfig,
};
use arrays::Source;
pub use arrays::{HostArray, NamedArrays};
pub use files::read_state_dict;
pub use order::name_in_order;
use pytorch::PyTorch;
use tensorflow::TensorFlow;

/// Why weights cannot be converted.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// The file cannot be read as what its name says.
    #[error("it cannot be read: {0}")]
    Read(String),
    /// An array has another type of elements.
    #[error("array `{name}` has elements of type {found}, expected floats of 16 to 64 bits")]
    DataType {
        /// The array.
        name: String,
        /// Its type.
        found: String,
    },
    /// Arrays that are views of few numbers would take far more memory than the file.
    #[error(
        "the arrays up to `{name}` have {bytes} bytes, expected at most four times the file's {file}"
    )]
    Large {
        /// The array that is too much.
        name: String,
        /// The size of those so far.
        bytes: usize,
        /// The file's.
        file: usize,
    },
    /// An array is missing.
    #[error("array `{name}` is missing")]
    Missing {
        /// The array.
        name: String,
    },
    /// An array has another shape than the others ask for.
    #[error("array `{name}` has shape {found:?}, expected {expected}")]
    Shape {
        /// The array.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What the model asks for.
        expected: String,
    },
    /// An array belongs to the model and to none of its layers, such as one of a batch normalisation.
    #[error(
        "array `{name}` is of no layer that such a model has: one with more cannot be converted"
    )]
    Unused {
        /// The array.
        name: String,
    },
    /// Arrays without names do not tell which of them are a part of the model.
    #[error("{found} runs of arrays have the shapes of the {part}, expected one")]
    Run {
        /// The part.
        part: &'static str,
        /// How many there are.
        found: usize,
    },
    /// The sizes are not those of a model.
    #[error("the arrays are of an impossible model: {0}")]
    Config(#[from] ConfigError),
}

/// The model of arrays named as in LatCo and Dreamer, `dynamics/img1/kernel` and so on.
///
/// # Errors
///
/// Names the first array that is missing, has an unexpected shape or is of no layer.
pub fn tensorflow(arrays: &NamedArrays, device: &Device) -> Result<WorldModel, ConvertError> {
    build(&TensorFlow(Source::new(arrays, device)), Activation::Elu)
}

/// The model of a PyTorch `state_dict` named as in PlaNet, `transition_model.rnn.weight_ih` and so
/// on. The arrays do not tell which `activation` the dense layers have: PlaNet's own default is
/// ReLU, Dreamers that share its names have ELU. The convolutions have ReLU here: a PlaNet that was trained
/// with another activation has it there too, and would be another model.
///
/// # Errors
///
/// Names the first array that is missing, has an unexpected shape or is of no layer.
pub fn pytorch(
    arrays: &NamedArrays,
    activation: Activation,
    device: &Device,
) -> Result<WorldModel, ConvertError> {
    build(&PyTorch(Source::new(arrays, device)), activation)
}

/// The names of the layers in a layout.
struct Names {
    encoder: [&'static str; 4],
    recurrent_input: &'static str,
    prior: [&'static str; 2],
    posterior: [&'static str; 2],
    decoder_input: &'static str,
    decoder: [&'static str; 4],
    reward: [&'static str; 3],
}

/// A kernel in our layout and its bias.
type Convolution = (Tensor<4>, Tensor<1>);

/// Where a layout keeps its layers; all methods return them in ours.
trait Layout {
    const NAMES: Names;

    /// What the names of the model's own arrays begin with.
    const PARTS: [&'static str; 4];

    fn source(&self) -> &Source<'_>;

    fn sizes(&self) -> Result<Sizes, ConvertError>;

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, ConvertError>;

    /// A layer over latents `[stochastic, deterministic]`.
    fn over_latents(
        &self,
        name: &str,
        sizes: &Sizes,
        outputs: usize,
    ) -> Result<Linear, ConvertError>;

    /// A layer over `[deterministic, embedding]`.
    fn over_embedding(&self, name: &str, sizes: &Sizes) -> Result<Linear, ConvertError>;

    fn gru(&self, sizes: &Sizes) -> Result<Gru, ConvertError>;

    /// Kernel `[outputs, inputs, side, side]`; `channels` is `[inputs, outputs]`.
    fn convolution(
        &self,
        name: &str,
        channels: [usize; 2],
        side: usize,
    ) -> Result<Convolution, ConvertError>;

    /// Kernel `[inputs, outputs, side, side]`; `channels` is `[inputs, outputs]`.
    fn transposed_convolution(
        &self,
        name: &str,
        channels: [usize; 2],
        side: usize,
    ) -> Result<Convolution, ConvertError>;
}

/// What the shapes of the arrays tell.
struct Sizes {
    /// Inputs of the layer over `[stochastic, action]`.
    recurrent_input: usize,
    stochastic: usize,
    deterministic: usize,
    hidden: usize,
    reward_units: usize,
    depth: usize,
}

impl Sizes {
    fn latent(&self) -> usize {
        self.stochastic + self.deterministic
    }

    fn embedding(&self) -> usize {
        32 * self.depth
    }

    fn config(&self, activation: Activation) -> Result<WorldModelConfig, ConfigError> {
        let config = WorldModelConfig {
            stochastic: self.stochastic,
            deterministic: self.deterministic,
            hidden: self.hidden,
            reward_units: self.reward_units,
            depth: self.depth,
            reward: RewardKind::Gaussian,
            activation,
            ..WorldModelConfig::paper(self.recurrent_input.saturating_sub(self.stochastic))
        };
        config.validate()?;
        ConfigError::require(
            config.deterministic > 0,
            "deterministic",
            config.deterministic,
            "at least 1",
        )?;
        Ok(config)
    }
}

fn build<L: Layout>(layout: &L, activation: Activation) -> Result<WorldModel, ConvertError> {
    let sizes = layout.sizes()?;
    let config = sizes.config(activation)?;
    let model = WorldModel::from_parts(
        encoder(layout, &sizes)?,
        Dynamics::Rssm(rssm(layout, &sizes, activation)?),
        decoder(layout, &sizes)?,
        reward(layout, &sizes, activation)?,
        config,
    );
    layout.source().check_all_taken(&L::PARTS)?;
    Ok(model)
}

fn encoder<L: Layout>(layout: &L, sizes: &Sizes) -> Result<Encoder, ConvertError> {
    let depth = sizes.depth;
    let channels = [
        [3, depth],
        [depth, 2 * depth],
        [2 * depth, 4 * depth],
        [4 * depth, 8 * depth],
    ];
    let layers = L::NAMES.encoder.into_iter().zip(channels);
    let layers = layers.map(|(name, channels)| layout.convolution(name, channels, 4));
    Ok(Encoder::from_convolutions(
        layers.collect::<Result<_, _>>()?,
    ))
}

fn rssm<L: Layout>(
    layout: &L,
    sizes: &Sizes,
    activation: Activation,
) -> Result<Rssm, ConvertError> {
    let names = L::NAMES;
    let Sizes {
        stochastic,
        deterministic,
        hidden,
        ..
    } = *sizes;
    Ok(Rssm {
        recurrent_input: layout.linear(names.recurrent_input, sizes.recurrent_input, hidden)?,
        gru: layout.gru(sizes)?,
        prior_hidden: layout.linear(names.prior[0], deterministic, hidden)?,
        prior_output: layout.linear(names.prior[1], hidden, 2 * stochastic)?,
        posterior_hidden: layout.over_embedding(names.posterior[0], sizes)?,
        posterior_output: layout.linear(names.posterior[1], hidden, 2 * stochastic)?,
        activation,
    })
}

fn decoder<L: Layout>(layout: &L, sizes: &Sizes) -> Result<Decoder, ConvertError> {
    let depth = sizes.depth;
    let layers = [
        ([32 * depth, 4 * depth], 5),
        ([4 * depth, 2 * depth], 5),
        ([2 * depth, depth], 6),
        ([depth, 3], 6),
    ];
    let input = layout.over_latents(L::NAMES.decoder_input, sizes, 32 * depth)?;
    let layers = L::NAMES.decoder.into_iter().zip(layers);
    let layers =
        layers.map(|(name, (channels, side))| layout.transposed_convolution(name, channels, side));
    Ok(Decoder::from_convolutions(
        input,
        layers.collect::<Result<_, _>>()?,
    ))
}

fn reward<L: Layout>(
    layout: &L,
    sizes: &Sizes,
    activation: Activation,
) -> Result<RewardHead, ConvertError> {
    let [first, second, last] = L::NAMES.reward;
    let units = sizes.reward_units;
    let layers = vec![
        layout.over_latents(first, sizes, units)?,
        layout.linear(second, units, units)?,
        layout.linear(last, units, 1)?,
    ];
    Ok(RewardHead::from_layers(
        layers,
        RewardKind::Gaussian,
        activation,
    ))
}
