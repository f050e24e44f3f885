//! Models as other implementations keep them: their arrays, their files, and what their layers
//! compute, written down without ours.

use std::{collections::BTreeMap, fs::File, io::Write, path::Path};

use latco_plan::Noise;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// The weights of a layer, `weight[input][output]`.
#[derive(Clone)]
pub struct Dense {
    pub inputs: usize,
    pub outputs: usize,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// The weights of a convolution, `weight[row][column][input][output]`.
pub struct Kernel {
    pub side: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// Sizes of a model.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub stochastic: usize,
    pub deterministic: usize,
    pub hidden: usize,
    pub reward_units: usize,
    pub action: usize,
    pub depth: usize,
}

/// A model of nobody's layout: latents are `[stochastic, deterministic]`, gates are update, reset,
/// candidate, the embedding is `[row, column, channel]`.
pub struct Foreign {
    pub sizes: Sizes,
    /// `img1`, `img2`, `img3`, `obs1`, `obs2`, `gru_x`, `gru_h`, `rew1`, `rew2`, `rew3`, `decode`.
    pub dense: BTreeMap<&'static str, Dense>,
    pub encoder: Vec<Kernel>,
    pub decoder: Vec<Kernel>,
}

/// A named array: its shape and its elements.
pub type Array = (String, Vec<usize>, Vec<f32>);

impl Dense {
    fn random(inputs: usize, outputs: usize, noise: &mut Noise) -> Self {
        Self {
            inputs,
            outputs,
            weight: values(inputs * outputs, noise),
            bias: values(outputs, noise),
        }
    }

    fn transposed(&self) -> Vec<f32> {
        let entry = |index: usize| {
            let (output, input) = (index / self.inputs, index % self.inputs);
            self.weight[input * self.outputs + output]
        };
        (0..self.weight.len()).map(entry).collect()
    }

    /// With the rows (inputs) in another order.
    fn with_rows(&self, order: &[usize]) -> Self {
        let row = |&input: &usize| &self.weight[input * self.outputs..][..self.outputs];
        Self {
            inputs: order.len(),
            weight: order.iter().flat_map(row).copied().collect(),
            ..self.clone()
        }
    }

    /// With the columns (outputs) in another order.
    fn with_columns(&self, order: &[usize]) -> Self {
        let rows = self.weight.chunks(self.outputs);
        Self {
            weight: rows
                .flat_map(|row| order.iter().map(|&column| row[column]))
                .collect(),
            bias: order.iter().map(|&column| self.bias[column]).collect(),
            ..*self
        }
    }
}

impl Kernel {
    fn random(side: usize, inputs: usize, outputs: usize, noise: &mut Noise) -> Self {
        Self {
            side,
            inputs,
            outputs,
            weight: values(side * side * inputs * outputs, noise),
            bias: values(outputs, noise),
        }
    }

    /// A weight by row, column, input and output.
    pub fn at(&self, [row, column, input, output]: [usize; 4]) -> f32 {
        self.weight[((row * self.side + column) * self.inputs + input) * self.outputs + output]
    }

    /// All weights in the order of an array of this shape; `index` turns its indices into ours.
    fn in_order(&self, shape: [usize; 4], index: impl Fn([usize; 4]) -> [usize; 4]) -> Vec<f32> {
        let [a, b, c, d] = shape;
        (0..a * b * c * d)
            .map(|flat| {
                let indices = [
                    flat / (b * c * d),
                    flat / (c * d) % b,
                    flat / d % c,
                    flat % d,
                ];
                self.at(index(indices))
            })
            .collect()
    }
}

fn values(count: usize, noise: &mut Noise) -> Vec<f32> {
    (0..count).map(|_| 0.3 * noise.uniform_scalar()).collect()
}

impl Foreign {
    /// A model of these sizes with random weights.
    pub fn random(sizes: Sizes, seed: u64) -> Self {
        let noise = &mut Noise::new(seed);
        let Sizes {
            stochastic,
            deterministic,
            hidden,
            reward_units,
            action,
            depth,
        } = sizes;
        let latent = stochastic + deterministic;
        let dense = [
            ("img1", stochastic + action, hidden),
            ("gru_x", hidden, 3 * deterministic),
            ("gru_h", deterministic, 3 * deterministic),
            ("img2", deterministic, hidden),
            ("img3", hidden, 2 * stochastic),
            ("obs1", deterministic + 32 * depth, hidden),
            ("obs2", hidden, 2 * stochastic),
            ("rew1", latent, reward_units),
            ("rew2", reward_units, reward_units),
            ("rew3", reward_units, 1),
            ("decode", latent, 32 * depth),
        ];
        let dense =
            dense.map(|(name, inputs, outputs)| (name, Dense::random(inputs, outputs, noise)));
        let encoder = [
            (3, depth),
            (depth, 2 * depth),
            (2 * depth, 4 * depth),
            (4 * depth, 8 * depth),
        ];
        let encoder = encoder.map(|(inputs, outputs)| Kernel::random(4, inputs, outputs, noise));
        let decoder = [
            (5, 32 * depth, 4 * depth),
            (5, 4 * depth, 2 * depth),
            (6, 2 * depth, depth),
            (6, depth, 3),
        ];
        let decoder =
            decoder.map(|(side, inputs, outputs)| Kernel::random(side, inputs, outputs, noise));
        Self {
            sizes,
            dense: dense.into(),
            encoder: encoder.into(),
            decoder: decoder.into(),
        }
    }

    /// The arrays of LatCo and Dreamer by name, in the order of `tf.Module.variables`: decoder,
    /// dynamics, encoder, reward.
    pub fn tensorflow(&self) -> Vec<Array> {
        let mut arrays = Vec::new();
        let mut layer = |name: &str, kernel: (Vec<usize>, Vec<f32>), bias: &[f32]| {
            arrays.push((format!("{name}/kernel"), kernel.0, kernel.1));
            arrays.push((format!("{name}/bias"), vec![bias.len()], bias.to_vec()));
        };
        let dense = |name: &str| {
            let dense = &self.dense[name];
            (
                (vec![dense.inputs, dense.outputs], dense.weight.clone()),
                dense.bias.as_slice(),
            )
        };
        let (kernel, bias) = dense("decode");
        layer("decode/h1", kernel, bias);
        for (index, kernel) in self.decoder.iter().enumerate() {
            let shape = [kernel.side, kernel.side, kernel.outputs, kernel.inputs];
            let weight = kernel.in_order(shape, |[row, column, output, input]| {
                [row, column, input, output]
            });
            layer(
                &format!("decode/h{}", index + 2),
                (shape.to_vec(), weight),
                &kernel.bias,
            );
        }
        for name in ["img1", "img2", "img3", "obs1", "obs2"] {
            let (kernel, bias) = dense(name);
            layer(&format!("dynamics/{name}"), kernel, bias);
        }
        for (index, kernel) in self.encoder.iter().enumerate() {
            let shape = vec![kernel.side, kernel.side, kernel.inputs, kernel.outputs];
            layer(
                &format!("encode/h{}", index + 1),
                (shape, kernel.weight.clone()),
                &kernel.bias,
            );
        }
        for (name, of) in [
            ("reward/h0", "rew1"),
            ("reward/h1", "rew2"),
            ("reward/hout", "rew3"),
        ] {
            let (kernel, bias) = dense(of);
            layer(name, kernel, bias);
        }
        let (of_input, of_state) = (&self.dense["gru_x"], &self.dense["gru_h"]);
        let biases = [of_input.bias.clone(), of_state.bias.clone()].concat();
        let cell = [
            (
                "kernel",
                vec![of_input.inputs, of_input.outputs],
                of_input.weight.clone(),
            ),
            (
                "recurrent_kernel",
                vec![of_state.inputs, of_state.outputs],
                of_state.weight.clone(),
            ),
            ("bias", vec![2, of_input.outputs], biases),
        ];
        let cell =
            cell.map(|(name, shape, values)| (format!("dynamics/cell/{name}"), shape, values));
        arrays.splice(10..10, cell);
        arrays
    }

    /// [`tensorflow`](Self::tensorflow) as an agent's list, among its counters and statistics.
    pub fn tensorflow_in_order(&self) -> Vec<Array> {
        let scalar = |value: f32| (String::new(), vec![], vec![value]);
        let single = |value: f32| (String::new(), vec![1], vec![value]);
        let mut arrays = vec![scalar(5e4), single(0.1), single(1.0)];
        arrays.extend(self.tensorflow());
        let reward = arrays.len() - 6;
        arrays.splice(reward..reward, [scalar(0.3), scalar(7.0), scalar(0.0)]);
        for (index, (name, _, _)) in arrays.iter_mut().enumerate() {
            *name = format!("arr_{index}");
        }
        arrays
    }

    /// The `state_dict`s of PlaNet in PyTorch.
    pub fn pytorch(&self) -> Vec<Array> {
        let Sizes {
            stochastic,
            deterministic,
            depth,
            ..
        } = self.sizes;
        let latent: Vec<_> = (stochastic..stochastic + deterministic)
            .chain(0..stochastic)
            .collect();
        let gates: Vec<_> = [1, 0, 2]
            .into_iter()
            .flat_map(|gate| gate * deterministic..(gate + 1) * deterministic)
            .collect();
        // Row-major [channel, position] of [position, channel].
        let embedding =
            (0..32 * depth).map(|index| deterministic + index % 4 * 8 * depth + index / 4);
        let seen: Vec<_> = (0..deterministic).chain(embedding).collect();
        let dense = |name: &str| self.dense[name].clone();
        let layers = [
            ("transition_model.fc_embed_state_action.", "", dense("img1")),
            (
                "transition_model.rnn.",
                "_ih",
                dense("gru_x").with_columns(&gates),
            ),
            (
                "transition_model.rnn.",
                "_hh",
                dense("gru_h").with_columns(&gates),
            ),
            ("transition_model.fc_embed_belief_prior.", "", dense("img2")),
            ("transition_model.fc_state_prior.", "", dense("img3")),
            (
                "transition_model.fc_embed_belief_posterior.",
                "",
                dense("obs1").with_rows(&seen),
            ),
            ("transition_model.fc_state_posterior.", "", dense("obs2")),
            (
                "observation_model.fc1.",
                "",
                dense("decode").with_rows(&latent),
            ),
            ("reward_model.fc1.", "", dense("rew1").with_rows(&latent)),
            ("reward_model.fc2.", "", dense("rew2")),
            ("reward_model.fc3.", "", dense("rew3")),
        ];
        let mut arrays = Vec::new();
        for (name, ending, layer) in layers {
            let shape = vec![layer.outputs, layer.inputs];
            arrays.push((format!("{name}weight{ending}"), shape, layer.transposed()));
            arrays.push((
                format!("{name}bias{ending}"),
                vec![layer.outputs],
                layer.bias,
            ));
        }
        for (index, kernel) in self.encoder.iter().enumerate() {
            let shape = [kernel.outputs, kernel.inputs, kernel.side, kernel.side];
            let weight = kernel.in_order(shape, |[output, input, row, column]| {
                [row, column, input, output]
            });
            arrays.push((
                format!("encoder.conv{}.weight", index + 1),
                shape.to_vec(),
                weight,
            ));
            arrays.push((
                format!("encoder.conv{}.bias", index + 1),
                vec![kernel.outputs],
                kernel.bias.clone(),
            ));
        }
        for (index, kernel) in self.decoder.iter().enumerate() {
            let shape = [kernel.inputs, kernel.outputs, kernel.side, kernel.side];
            let weight = kernel.in_order(shape, |[input, output, row, column]| {
                [row, column, input, output]
            });
            arrays.push((
                format!("observation_model.conv{}.weight", index + 1),
                shape.to_vec(),
                weight,
            ));
            arrays.push((
                format!("observation_model.conv{}.bias", index + 1),
                vec![kernel.outputs],
                kernel.bias.clone(),
            ));
        }
        arrays
    }
}

/// Writes what `numpy.savez` writes.
pub fn write_npz(path: &Path, arrays: &[Array]) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    for (name, shape, values) in arrays {
        let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
        let text = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}",
            sides.trim_end()
        );
        archive.start_file(format!("{name}.npy"), stored()).unwrap();
        archive.write_all(b"\x93NUMPY\x01\x00").unwrap();
        archive
            .write_all(&(text.len() as u16).to_le_bytes())
            .unwrap();
        archive.write_all(text.as_bytes()).unwrap();
        archive.write_all(&bytes(values)).unwrap();
    }
    archive.finish().unwrap();
}

/// Uncompressed, as numpy and PyTorch write.
fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

/// Little-endian single precision.
pub fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Writes a `state_dict` as `torch.save` does: a zip with a pickle that refers to one storage an
/// array.
pub fn write_pt(path: &Path, arrays: &[Array]) {
    let steps = |shape: &[usize]| {
        (1..=shape.len())
            .map(|from| shape[from..].iter().product())
            .collect()
    };
    write_strided(path, arrays, steps);
}

/// The same of arrays whose elements are so many values apart along each of their sides.
pub fn write_strided(path: &Path, arrays: &[Array], strides: impl Fn(&[usize]) -> Vec<usize>) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        archive
            .start_file(format!("model/{name}"), stored())
            .unwrap();
        archive.write_all(bytes).unwrap();
    };
    add("data.pkl", &pickle(arrays, strides));
    add("byteorder", b"little");
    for (index, (_, _, values)) in arrays.iter().enumerate() {
        add(&format!("data/{index}"), &bytes(values));
    }
    add("version", b"3\n");
    archive.finish().unwrap();
}

/// A dictionary of `torch._utils._rebuild_tensor_v2` in protocol 2.
fn pickle(arrays: &[Array], strides: impl Fn(&[usize]) -> Vec<usize>) -> Vec<u8> {
    let text = |text: &str| {
        [
            b"X".as_slice(),
            &(text.len() as u32).to_le_bytes(),
            text.as_bytes(),
        ]
        .concat()
    };
    let number = |number: usize| [b"J".as_slice(), &(number as i32).to_le_bytes()].concat();
    let tuple = |numbers: &[usize]| {
        let numbers = numbers.iter().flat_map(|&side| number(side));
        [b"(".to_vec(), numbers.collect(), b"t".to_vec()].concat()
    };
    let mut pickle = b"\x80\x02}(".to_vec();
    for (index, (name, shape, values)) in arrays.iter().enumerate() {
        let strides = strides(shape);
        pickle.extend(text(name));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle.extend(text("storage"));
        pickle.extend(b"ctorch\nFloatStorage\n");
        pickle.extend([text(&index.to_string()), text("cpu"), number(values.len())].concat());
        pickle.extend(b"tQ");
        pickle.extend([number(0), tuple(shape), tuple(&strides)].concat());
        pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    pickle.extend(b"u.");
    pickle
}
