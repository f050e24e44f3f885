//! Weights of other implementations compute here what they compute there: the oracle's weights in
//! foreign layouts against the oracle's results, and convolutions against plain loops.

mod common {
    pub mod compare;
    pub mod foreign;
    pub mod numbers;
    pub mod parameters;
    pub mod reference;
}

use std::{collections::BTreeMap, path::Path};

use burn::tensor::{Device, Tensor, TensorData};
use common::{
    compare::assert_close,
    foreign::{Array, Dense, Foreign, Kernel, Sizes, bytes, write_npz, write_pt, write_strided},
    numbers::values,
    parameters::parameters,
    reference::Reference,
};
use latco_env::read_arrays;
use latco_model::{
    Activation, Dynamics, WorldModel,
    convert::{self, ConvertError, HostArray, NamedArrays, name_in_order, read_state_dict},
    fold_pixels,
};
use latco_plan::Noise;
use safetensors::{Dtype, tensor::TensorView};

const TOLERANCE: f64 = 1e-4;

/// The weights of a file of the oracle, with random convolutions.
fn oracle(reference: &Reference) -> Foreign {
    let sizes: Vec<_> = (reference.values("sizes").iter())
        .map(|&size| size as usize)
        .collect();
    let [
        stochastic,
        deterministic,
        hidden,
        reward_units,
        action,
        embedding,
    ] = sizes[..6]
    else {
        panic!("six sizes");
    };
    let sizes = Sizes {
        stochastic,
        deterministic,
        hidden,
        reward_units,
        action,
        depth: embedding.div_ceil(32),
    };
    let mut foreign = Foreign::random(sizes, 5);
    for (name, layer) in &mut foreign.dense {
        // An embedding that is no multiple of 32 is continued by components without weight.
        if *name != "decode" {
            let single = |kind: &str| {
                let values = reference.values(&format!("weights.{name}.{kind}"));
                values.iter().map(|&value| value as f32).collect::<Vec<_>>()
            };
            let mut weight = single("weight");
            weight.resize(layer.inputs * layer.outputs, 0.0);
            *layer = Dense {
                weight,
                bias: single("bias"),
                ..*layer
            };
        }
    }
    foreign
}

/// Each file of the oracle as converted from each layout, by way of a file.
fn for_each_conversion(check: impl Fn(&str, &Reference, &Foreign, &WorldModel)) {
    let folder = tempfile::tempdir().unwrap();
    for reference in &Reference::all() {
        let foreign = oracle(reference);
        for (layout, model) in conversions(&foreign, folder.path()) {
            let what = format!("{} from {layout}", reference.name);
            check(&what, reference, &foreign, &model);
        }
    }
}

fn conversions(foreign: &Foreign, folder: &Path) -> Vec<(&'static str, WorldModel)> {
    let device = &Device::default();
    let path = |name: &str| folder.join(name);
    write_npz(&path("named.npz"), &foreign.tensorflow());
    write_npz(&path("list.npz"), &foreign.tensorflow_in_order());
    write_pt(&path("planet.pt"), &foreign.pytorch());
    write_safetensors(&path("planet.safetensors"), &foreign.pytorch());
    let arrays = |name: &str| read_arrays(&path(name)).unwrap();
    let host = |array: latco_env::FloatArray| HostArray {
        shape: array.shape,
        values: array.values,
    };
    let named = arrays("named.npz")
        .into_iter()
        .map(|array| (array.name.clone(), host(array)));
    let list = name_in_order(arrays("list.npz").into_iter().map(host).collect()).unwrap();
    let state = |name: &str| read_state_dict(&path(name)).unwrap();
    vec![
        (
            "names in TensorFlow",
            convert::tensorflow(&named.collect(), device).unwrap(),
        ),
        (
            "a list in TensorFlow",
            convert::tensorflow(&list, device).unwrap(),
        ),
        (
            "torch.save",
            convert::pytorch(&state("planet.pt"), Activation::Elu, device).unwrap(),
        ),
        (
            "PyTorch safetensors",
            convert::pytorch(&state("planet.safetensors"), Activation::Elu, device).unwrap(),
        ),
    ]
}

fn write_safetensors(path: &Path, arrays: &[Array]) {
    let stored: Vec<_> = arrays
        .iter()
        .map(|(name, shape, values)| (name, shape, bytes(values)))
        .collect();
    let views = stored.iter().map(|(name, shape, bytes)| {
        (
            name,
            TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap(),
        )
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// `[row, column, channel]` of 2×2 positions as our `[channel, row, column]`.
fn embedding_in_our_order(embedding: &[f64]) -> Vec<f64> {
    let channels = embedding.len() / 4;
    (0..embedding.len())
        .map(|index| embedding[index % 4 * channels + index / 4])
        .collect()
}

fn tensor<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
    let single: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    Tensor::from_data(TensorData::new(single, shape), &Device::default())
}

#[test]
fn prior_posterior_and_reward_are_the_oracles() {
    for_each_conversion(|what, reference, foreign, model| {
        let device = &Device::default();
        let latents: Tensor<2> = reference.tensor("step.latent", device);
        let actions = reference.tensor("step.action", device);
        let rows = latents.dims()[0];
        let size = 32 * foreign.sizes.depth;
        let seen = reference.values("step.embed");
        let embeddings: Vec<f64> = (seen.chunks(seen.len() / rows))
            .flat_map(|embedding| {
                let mut embedding = embedding.to_vec();
                embedding.resize(size, 0.0);
                embedding_in_our_order(&embedding)
            })
            .collect();
        let step = (model.dynamics()).transition(
            latents.clone(),
            actions,
            tensor(&embeddings, [rows, size]),
        );
        let check = |name: &str, found: Tensor<2>| {
            assert_close(
                &format!("{what}: {name}"),
                &values(found),
                reference.values(name),
                TOLERANCE,
            );
        };
        check("step.prior_mean", step.prior.mean);
        check("step.prior_std", step.prior.std);
        check("step.deter", step.deterministic.unwrap());
        check("step.posterior_mean", step.posterior.mean);
        check("step.posterior_std", step.posterior.std);
        check(
            "step.reward",
            model.reward_head().expected(latents).unsqueeze_dim(1),
        );
    });
}

/// The recurrent unit by itself, so that an error in it is not blamed on the layers around it.
#[test]
fn the_gated_unit_is_the_oracles() {
    for_each_conversion(|what, reference, _, model| {
        let device = &Device::default();
        let Dynamics::Rssm(ours) = model.dynamics() else {
            panic!("an RSSM");
        };
        let oracle = reference.model(device);
        let Dynamics::Rssm(oracle) = &oracle.dynamics else {
            panic!("an RSSM");
        };
        let inputs = ours.gru.input.weight.dims()[0];
        let states = ours.gru.state.weight.dims()[0];
        let noise = &mut Noise::new(3);
        let (inputs, states) = (
            noise.normal([4, inputs], device),
            noise.normal([4, states], device),
        );
        let expected = values(oracle.gru.forward(inputs.clone(), states.clone()));
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        assert_close(
            what,
            &values(ours.gru.forward(inputs, states)),
            &expected,
            TOLERANCE,
        );
    });
}

/// A convolution of stride 2 without padding of a square map `[row][column][channel]`.
fn convolve(kernel: &Kernel, map: &[f64], size: usize) -> (Vec<f64>, usize) {
    let size_after = (size - kernel.side) / 2 + 1;
    let mut after = Vec::new();
    for (row, column) in positions(size_after) {
        for output in 0..kernel.outputs {
            let mut sum = f64::from(kernel.bias[output]);
            for (i, j) in positions(kernel.side) {
                for input in 0..kernel.inputs {
                    let at = ((2 * row + i) * size + 2 * column + j) * kernel.inputs + input;
                    sum += map[at] * f64::from(kernel.at([i, j, input, output]));
                }
            }
            after.push(sum);
        }
    }
    (after, size_after)
}

/// The transposed convolution of stride 2 of a square map `[row][column][channel]`.
fn spread(kernel: &Kernel, map: &[f64], size: usize) -> (Vec<f64>, usize) {
    let size_after = 2 * (size - 1) + kernel.side;
    let biases = kernel.bias.iter().copied().map(f64::from);
    let mut after: Vec<f64> = biases
        .cycle()
        .take(size_after.pow(2) * kernel.outputs)
        .collect();
    for (row, column) in positions(size) {
        for (i, j) in positions(kernel.side) {
            let to = ((2 * row + i) * size_after + 2 * column + j) * kernel.outputs;
            for input in 0..kernel.inputs {
                let value = map[(row * size + column) * kernel.inputs + input];
                for output in 0..kernel.outputs {
                    after[to + output] += value * f64::from(kernel.at([i, j, input, output]));
                }
            }
        }
    }
    (after, size_after)
}

fn positions(size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..size * size).map(move |index| (index / size, index % size))
}

fn relu(values: &mut [f64]) {
    for value in values {
        *value = value.max(0.0);
    }
}

/// `[row, column, channel]` as `[channel, row, column]`.
fn planes(map: &[f64], channels: usize) -> Vec<f64> {
    let area = map.len() / channels;
    (0..map.len())
        .map(|index| map[index % area * channels + index / area])
        .collect()
}

#[test]
fn the_encoder_convolves_as_there() {
    for_each_conversion(|what, _, foreign, model| {
        let noise = &mut Noise::new(9);
        let image: Vec<f64> = (0..64 * 64 * 3)
            .map(|_| 0.5 * f64::from(noise.uniform_scalar()))
            .collect();
        let mut map = (image.clone(), 64);
        for kernel in &foreign.encoder {
            map = convolve(kernel, &map.0, map.1);
            relu(&mut map.0);
        }
        assert_eq!(map.1, 2);
        let blocks = fold_pixels(tensor(&planes(&image, 3), [1, 3, 64, 64]));
        let found = values(model.encoder().forward(blocks));
        assert_close(what, &found, &embedding_in_our_order(&map.0), TOLERANCE);
    });
}

#[test]
fn the_decoder_spreads_as_there() {
    for_each_conversion(|what, _, foreign, model| {
        let noise = &mut Noise::new(11);
        let input = &foreign.dense["decode"];
        let latent: Vec<f64> = (0..input.inputs)
            .map(|_| f64::from(noise.uniform_scalar()))
            .collect();
        let channel = |output: usize| {
            let weights = input.weight.iter().skip(output).step_by(input.outputs);
            let products = weights
                .zip(&latent)
                .map(|(&weight, value)| f64::from(weight) * value);
            f64::from(input.bias[output]) + products.sum::<f64>()
        };
        let mut map: (Vec<f64>, usize) = ((0..input.outputs).map(channel).collect(), 1);
        for (index, kernel) in foreign.decoder.iter().enumerate() {
            if index > 0 {
                relu(&mut map.0);
            }
            map = spread(kernel, &map.0, map.1);
        }
        assert_eq!(map.1, 64);
        let found = values(model.decode(tensor(&latent, [1, latent.len()])));
        assert_close(what, &found, &planes(&map.0, 3), TOLERANCE);
    });
}

#[test]
fn a_converted_model_is_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = oracle(&Reference::all()[0]);
    let path = folder.path().join("converted.safetensors");
    for (_, model) in conversions(&foreign, folder.path()) {
        model.save(&path, latco_model::Precision::Full).unwrap();
        let loaded = WorldModel::load(&path, &Device::default()).unwrap();
        assert_eq!(parameters(&loaded), parameters(&model));
        assert_eq!(loaded.config(), model.config());
    }
}

fn small() -> Foreign {
    oracle(&Reference::all()[0])
}

fn named(arrays: Vec<Array>) -> NamedArrays {
    let host = |(name, shape, values)| (name, HostArray { shape, values });
    arrays.into_iter().map(host).collect()
}

#[test]
fn missing_and_misshapen_arrays_are_named() {
    type Convert = fn(&NamedArrays, &Device) -> Result<WorldModel, ConvertError>;
    let layouts: [(Vec<Array>, Convert); 2] = [
        (small().tensorflow(), convert::tensorflow),
        (small().pytorch(), |arrays, device| {
            convert::pytorch(arrays, Activation::Relu, device)
        }),
    ];
    for (arrays, convert) in layouts {
        let arrays = named(arrays);
        for name in arrays.keys() {
            let mut without = arrays.clone();
            without.remove(name);
            let error = convert(&without, &Device::default()).unwrap_err();
            assert!(
                matches!(&error, ConvertError::Missing { name: found } if found == name),
                "{error}"
            );
            // More inputs of this one are more action components.
            if name == "dynamics/img1/kernel" {
                continue;
            }
            let mut longer = arrays.clone();
            let array = longer.get_mut(name).unwrap();
            array.shape[0] += 1;
            array.values.resize(array.shape.iter().product(), 0.0);
            let error = convert(&longer, &Device::default()).unwrap_err();
            assert!(
                matches!(&error, ConvertError::Shape { .. }),
                "{name}: {error}"
            );
        }
    }
}

/// Many views of one number: some hundred bytes that would be gigabytes.
#[test]
fn views_that_are_far_larger_than_the_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.pt");
    let names = (0..12).map(|index| format!("encoder.conv{index}.weight"));
    let views = names.map(|name| (name, vec![1 << 24], vec![0.5]));
    let one_number = |shape: &[usize]| vec![0; shape.len()];
    write_strided(&path, &views.collect::<Vec<_>>(), one_number);
    let error = read_state_dict(&path).unwrap_err();
    assert!(matches!(error, ConvertError::Large { .. }), "{error}");
    // Some are no more than that, as where layers share their weights.
    let few = [("encoder.conv1.bias".to_owned(), vec![64], vec![0.5])];
    write_strided(&path, &few, one_number);
    assert_eq!(
        read_state_dict(&path).unwrap()["encoder.conv1.bias"].values,
        [0.5; 64]
    );
}

/// A model with a batch normalisation, or with one layer more, is another model.
#[test]
fn an_array_of_no_layer_is_refused() {
    let vector = HostArray {
        shape: vec![3],
        values: vec![0.5; 3],
    };
    let with = |arrays: Vec<Array>, names: [&str; 2]| {
        let mut arrays = named(arrays);
        arrays.extend(names.map(|name| (name.to_owned(), vector.clone())));
        arrays
    };
    // What is not the model's is left alone.
    let pytorch = with(
        small().pytorch(),
        ["encoder.bn1.running_mean", "value_model.fc1.bias"],
    );
    let tensorflow = with(small().tensorflow(), ["reward/h2/bias", "pcont/h0/bias"]);
    let device = Device::default();
    for (error, expected) in [
        (
            convert::pytorch(&pytorch, Activation::Relu, &device),
            "encoder.bn1.running_mean",
        ),
        (convert::tensorflow(&tensorflow, &device), "reward/h2/bias"),
    ] {
        let error = error.unwrap_err();
        assert!(
            matches!(&error, ConvertError::Unused { name } if name == expected),
            "{error}"
        );
    }
}

fn shapes_only(arrays: Vec<Array>) -> Vec<HostArray> {
    let host = |(_, shape, values)| HostArray { shape, values };
    arrays.into_iter().map(host).collect()
}

#[test]
fn lists_without_a_part_or_with_two_are_refused() {
    let list = small().tensorflow_in_order();
    for part in ["dynamics", "encoder", "decoder", "reward head"] {
        // The first array of the part: see `tensorflow_in_order`.
        let first = BTreeMap::from([
            ("decoder", 3),
            ("dynamics", 13),
            ("encoder", 26),
            ("reward head", 37),
        ])[part];
        let mut without = list.clone();
        without.remove(first);
        let error = name_in_order(shapes_only(without)).unwrap_err();
        assert!(
            matches!(error, ConvertError::Run { part: of, found: 0 } if of == part),
            "{error}"
        );
    }
    let twice = [list.clone(), list].concat();
    let error = name_in_order(shapes_only(twice)).unwrap_err();
    assert!(
        matches!(error, ConvertError::Run { found: 2, .. }),
        "{error}"
    );
}

#[test]
fn sizes_beyond_a_model_are_refused() {
    let mut arrays = named(small().tensorflow());
    let bias = arrays.get_mut("encode/h1/bias").unwrap();
    *bias = HostArray {
        shape: vec![5000],
        values: vec![0.0; 5000],
    };
    let error = convert::tensorflow(&arrays, &Device::default()).unwrap_err();
    assert!(matches!(error, ConvertError::Config(_)), "{error}");
}
