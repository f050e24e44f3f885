//! `latco convert`: weights of other implementations as a checkpoint.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::{Args, ValueEnum};
use latco_env::{FloatArray, read_arrays};
use latco_model::{
    Activation, CheckpointError, Precision, WorldModel,
    convert::{self, HostArray, NamedArrays, name_in_order},
};
use serde::Serialize;

use crate::{
    arguments::Common,
    destination::{check_free, check_other, make_parent},
    error::{CliError, ConvertProblem},
    output::{Report, aligned, grouped, path_text},
};

/// Turn weights of LatCo, Dreamer or PlaNet into a checkpoint, or write a checkpoint anew in
/// another precision.
#[derive(Args)]
#[command(after_help = "\
.npz                      LatCo and Dreamer (TensorFlow): a list in the agent's order (arr_0, …),
                          or arrays named dynamics/img1/kernel and so on
.pt, .pth, .safetensors   PlaNet in PyTorch: transition_model.rnn.weight_ih and so on
.safetensors              a checkpoint that latco wrote: the same weights, with --half or --int8 rounded

A pickle could run code on reading, so Python has to turn it into an npz first:
  python3 -c \"import pickle, numpy; \\
    numpy.savez('variables.npz', *pickle.load(open('variables.pkl', 'rb')))\"

docs/checkpoints.md lists the names and what must be true of the model.

Examples:
  latco convert variables.npz --out reach.safetensors
  latco convert models_1000.pth --out walker.safetensors --half
  latco convert dreamer.pth --activation elu --out walker.safetensors
  latco convert runs/reach/checkpoint.safetensors --half --out reach.safetensors")]
pub struct Convert {
    /// The weights.
    #[arg(value_name = "WEIGHTS")]
    weights: PathBuf,

    /// The checkpoint to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Write 16 bits a weight instead of 32.
    #[arg(long)]
    half: bool,

    /// Write 8 bits a weight, with a scale for each row of a matrix.
    #[arg(long, conflicts_with = "half")]
    int8: bool,

    /// What the dense layers of PyTorch weights have between them, which the file does not tell: PlaNet's are relu,
    /// a Dreamer of the same names has elu; the convolutions have relu in both [default: relu].
    #[arg(long, value_name = "NAME")]
    activation: Option<DenseActivation>,
}

/// A non-linearity by its name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum DenseActivation {
    Elu,
    Relu,
}

impl From<DenseActivation> for Activation {
    fn from(name: DenseActivation) -> Self {
        match name {
            DenseActivation::Elu => Self::Elu,
            DenseActivation::Relu => Self::Relu,
        }
    }
}

/// What the checkpoint is of.
#[derive(Serialize)]
struct ConvertReport<'a> {
    image_size: usize,
    action_size: usize,
    stochastic: usize,
    deterministic: usize,
    hidden: usize,
    reward_units: usize,
    depth: usize,
    activation: Activation,
    weights: usize,
    #[serde(serialize_with = "path_text")]
    out: &'a Path,
}

impl Convert {
    /// Reads, converts, writes, reports.
    pub fn run(&self, common: &Common) -> Result<Report, CliError> {
        check_free("--out", &self.out)?;
        check_other("--out", &self.out, &self.weights)?;
        let device = common.device()?;
        let model = self.read(&device).map_err(|source| CliError::Convert {
            path: self.weights.clone(),
            source,
        })?;
        make_parent(&self.out)?;
        model.save(&self.out, self.precision())?;
        self.report(&model)
    }

    /// Reads weights of the layout that the file's ending tells.
    fn read(&self, device: &Device) -> Result<WorldModel, ConvertProblem> {
        match self.weights.extension().and_then(|ending| ending.to_str()) {
            Some("npz") => {
                self.check_untold()?;
                let arrays = named(read_arrays(&self.weights)?)?;
                Ok(convert::tensorflow(&arrays, device)?)
            }
            Some("safetensors") => match WorldModel::load(&self.weights, device) {
                Err(CheckpointError::NoConfig { .. }) => self.read_pytorch(device),
                checkpoint => {
                    let model = checkpoint?;
                    self.check_untold()?;
                    Ok(model)
                }
            },
            Some("pt" | "pth") => self.read_pytorch(device),
            Some("pkl" | "pickle") => Err(ConvertProblem::Pickle),
            _ => Err(ConvertProblem::Ending),
        }
    }

    fn read_pytorch(&self, device: &Device) -> Result<WorldModel, ConvertProblem> {
        let arrays = convert::read_state_dict(&self.weights)?;
        let activation = self.activation.unwrap_or(DenseActivation::Relu);
        Ok(convert::pytorch(&arrays, activation.into(), device)?)
    }

    /// Refuses an activation for weights of which it is known.
    fn check_untold(&self) -> Result<(), ConvertProblem> {
        match self.activation {
            None => Ok(()),
            Some(_) => Err(ConvertProblem::Activation),
        }
    }

    fn precision(&self) -> Precision {
        match (self.half, self.int8) {
            (true, _) => Precision::Half,
            (_, true) => Precision::Int8,
            _ => Precision::Full,
        }
    }

    fn report(&self, model: &WorldModel) -> Result<Report, CliError> {
        let config = model.config();
        let report = ConvertReport {
            image_size: config.image_size,
            action_size: config.action_size,
            stochastic: config.stochastic,
            deterministic: config.deterministic,
            hidden: config.hidden,
            reward_units: config.reward_units,
            depth: config.depth,
            activation: config.activation,
            weights: config.weights(),
            out: &self.out,
        };
        Report::new(&report, report.text())
    }
}

/// Arrays by their names; those that numpy numbered are named by their order.
fn named(arrays: Vec<FloatArray>) -> Result<NamedArrays, ConvertProblem> {
    let number = |name: &str| name.strip_prefix("arr_")?.parse::<usize>().ok();
    let is_numbered = |(name, _): &(String, HostArray)| number(name).is_some();
    let mut arrays: Vec<_> = arrays
        .into_iter()
        .map(|array| {
            let (shape, values) = (array.shape, array.values);
            (array.name, HostArray { shape, values })
        })
        .collect();
    if !arrays.iter().all(is_numbered) {
        return Ok(arrays.into_iter().collect());
    }
    arrays.sort_by_key(|(name, _)| number(name));
    let in_order = arrays.into_iter().map(|(_, array)| array);
    Ok(name_in_order(in_order.collect())?)
}

impl ConvertReport<'_> {
    fn text(&self) -> String {
        aligned(&[
            ("images", format!("{0}×{0} pixels", self.image_size)),
            ("action components", self.action_size.to_string()),
            (
                "latent",
                format!("{} + {}", self.stochastic, self.deterministic),
            ),
            ("weights", grouped(self.weights)),
            ("wrote", self.out.display().to_string()),
        ])
    }
}
