//! Checkpoints: what is written is read back, and nothing else is.

#[path = "../../../tests/common"]
mod common {
    pub mod parameters;
    pub mod worlds;
}

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use burn::tensor::{Device, Tensor};
use common::{parameters::parameters, worlds::tiny_config};
use latco_model::{CheckpointError, Precision, WorldModel, WorldModelConfig};
use latco_plan::{LatentModel, Noise};
use safetensors::{SafeTensors, tensor::Dtype};
use tempfile::TempDir;

/// Sizes of the deterministic part: an RSSM and an SSM.
const DETERMINISTIC: [usize; 2] = [6, 0];

fn tiny_model(deterministic: usize, seed: u64) -> WorldModel {
    WorldModel::new(tiny_config(deterministic), seed, &Device::default()).unwrap()
}

/// A checkpoint in a folder of its own.
struct Checkpoint {
    _folder: TempDir,
    path: PathBuf,
}

impl Checkpoint {
    fn of(model: &WorldModel, precision: Precision) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        model.save(&path, precision).unwrap();
        Self {
            _folder: folder,
            path,
        }
    }

    /// One of a tiny RSSM in full precision.
    fn tiny() -> Self {
        Self::of(&tiny_model(DETERMINISTIC[0], 1), Precision::Full)
    }

    fn load(&self) -> Result<WorldModel, CheckpointError> {
        WorldModel::load(&self.path, &Device::default())
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    /// The error on loading `bytes` in the file's place; it names the file.
    fn error_of(&self, bytes: &[u8]) -> CheckpointError {
        fs::write(&self.path, bytes).unwrap();
        let error = self.load().expect_err("a damaged checkpoint was read");
        let message = error.to_string();
        assert!(message.contains("model.safetensors"), "{message}");
        assert!(!message.contains('\n'), "{message}");
        error
    }
}

#[test]
fn full_precision_keeps_every_bit() {
    for deterministic in DETERMINISTIC {
        let model = tiny_model(deterministic, 1);
        let loaded = Checkpoint::of(&model, Precision::Full).load().unwrap();
        assert_eq!(loaded.config(), model.config());
        assert_eq!(parameters(&loaded), parameters(&model));
    }
}

/// Also numbers of 17 digits, which not every reader of JSON gets right in the last.
#[test]
fn sizes_are_read_as_they_were_written() {
    let config = WorldModelConfig {
        reward_range: [0.0, 51.248_178_375_505_404],
        ..tiny_config(DETERMINISTIC[0])
    };
    let model = WorldModel::new(config.clone(), 1, &Device::default()).unwrap();
    let loaded = Checkpoint::of(&model, Precision::Full).load().unwrap();
    assert_eq!(loaded.config(), &config);
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    for precision in [Precision::Full, Precision::Half, Precision::Int8] {
        let first = tiny_model(DETERMINISTIC[0], 1).to_bytes(precision).unwrap();
        // Eight more: an order that is random is the same by chance once in a while.
        for _ in 0..8 {
            let model = tiny_model(DETERMINISTIC[0], 1);
            assert_eq!(model.to_bytes(precision).unwrap(), first);
        }
        let saved = Checkpoint::of(&tiny_model(DETERMINISTIC[0], 1), precision);
        assert_eq!(saved.bytes(), first);
    }
}

/// Half precision has 11 significant bits, and steps of 2⁻²⁴ near zero.
#[test]
fn half_precision_rounds_and_no_more() {
    for deterministic in DETERMINISTIC {
        let model = tiny_model(deterministic, 1);
        let checkpoint = Checkpoint::of(&model, Precision::Half);
        let loaded = parameters(&checkpoint.load().unwrap());
        let original = parameters(&model);
        assert_eq!(loaded.len(), original.len());
        assert_ne!(loaded, original);
        for (found, expected) in loaded.iter().zip(&original) {
            let rounding = expected.abs() * 2_f32.powi(-11) + 2_f32.powi(-25);
            assert!(
                (found - expected).abs() <= rounding,
                "{found} of {expected}"
            );
        }
        let full = Checkpoint::of(&model, Precision::Full);
        assert!(checkpoint.bytes().len() < full.bytes().len() * 3 / 4);
    }
}

/// A weight is off by at most half a step of its row, a 254th of the row's largest.
#[test]
fn eight_bits_round_each_row_by_its_largest_weight() {
    for deterministic in DETERMINISTIC {
        let model = tiny_model(deterministic, 1);
        let checkpoint = Checkpoint::of(&model, Precision::Int8);
        let loaded = checkpoint.load().unwrap();
        assert_eq!(loaded.config(), model.config());
        let (found, original) = (parameters(&loaded), parameters(&model));
        assert_eq!(found.len(), original.len());
        assert_ne!(found, original);
        let largest = original
            .iter()
            .fold(0.0_f32, |most, weight| most.max(weight.abs()));
        for (found, expected) in found.iter().zip(&original) {
            assert!(
                (found - expected).abs() <= largest / 253.0,
                "{found} of {expected}"
            );
        }
        let half = Checkpoint::of(&model, Precision::Half);
        assert!(checkpoint.bytes().len() < half.bytes().len());
        let again = Checkpoint::of(&loaded, Precision::Int8).load().unwrap();
        for (again, found) in parameters(&again).iter().zip(&found) {
            assert!((again - found).abs() <= 1e-6 * largest);
        }
    }
}

/// Also where the tensor of its name has 32 bits a weight and needs none.
/// Rounded, NaN would be a number, and what half precision cannot hold infinite.
#[test]
fn weights_that_fewer_bits_cannot_hold_are_refused() {
    for (weight, refusing) in [
        (f32::NAN, &[Precision::Half, Precision::Int8][..]),
        (f32::INFINITY, &[Precision::Half, Precision::Int8]),
        (1e5, &[Precision::Half]),
        (65_504.0, &[]),
    ] {
        let full = tiny_model(DETERMINISTIC[0], 1)
            .to_bytes(Precision::Full)
            .unwrap();
        let tensors = SafeTensors::deserialize(&full).unwrap();
        let name = "reward.layers.0.weight";
        let place = tensors.tensor(name).unwrap().data().as_ptr() as usize - full.as_ptr() as usize;
        let mut changed = full.clone();
        changed[place..place + 4].copy_from_slice(&weight.to_le_bytes());
        let model = WorldModel::from_bytes(changed, "changed", &Device::default()).unwrap();
        model.to_bytes(Precision::Full).unwrap();
        for precision in [Precision::Half, Precision::Int8] {
            match (refusing.contains(&precision), model.to_bytes(precision)) {
                (false, written) => drop(written.unwrap()),
                (true, written) => {
                    let error = written.unwrap_err();
                    assert!(matches!(error, CheckpointError::Encode { .. }), "{error}");
                    assert!(error.to_string().contains(name), "{error}");
                }
            }
        }
    }
}

#[test]
fn a_scale_of_nothing_is_refused() {
    let checkpoint = Checkpoint::of(&tiny_model(DETERMINISTIC[0], 1), Precision::Int8);
    for of in ["stranger", "reward.layers.2.weight"] {
        let mut parts = Parts::of(&checkpoint.bytes());
        let name = format!("{of}.scale");
        parts.tensors.push(Part {
            name: name.clone(),
            dtype: Dtype::F32,
            shape: vec![1],
            data: vec![0; 4],
        });
        let error = Checkpoint::tiny().error_of(&parts.bytes());
        assert!(error.to_string().contains(&name), "{error}");
    }
}

#[test]
fn a_checkpoint_of_eight_bits_without_a_scale_is_refused() {
    let checkpoint = Checkpoint::of(&tiny_model(DETERMINISTIC[0], 1), Precision::Int8);
    let mut parts = Parts::of(&checkpoint.bytes());
    let name = "reward.layers.0.weight.scale";
    let count = parts.tensors.len();
    parts.tensors.retain(|tensor| tensor.name != name);
    assert_eq!(parts.tensors.len(), count - 1);
    let error = checkpoint.error_of(&parts.bytes());
    assert!(error.to_string().contains(name), "{error}");
}

#[test]
fn what_was_rounded_once_is_kept() {
    let half = Checkpoint::of(&tiny_model(DETERMINISTIC[0], 1), Precision::Half);
    let rounded = half.load().unwrap();
    let again = Checkpoint::of(&rounded, Precision::Half).load().unwrap();
    assert_eq!(parameters(&again), parameters(&rounded));
}

#[test]
fn saving_over_a_checkpoint_replaces_it() {
    let checkpoint = Checkpoint::tiny();
    let other = tiny_model(DETERMINISTIC[1], 2);
    other.save(&checkpoint.path, Precision::Full).unwrap();
    let loaded = checkpoint.load().unwrap();
    assert_eq!(parameters(&loaded), parameters(&other));
}

#[test]
fn saving_leaves_other_files_alone() {
    for precision in [Precision::Full, Precision::Half, Precision::Int8] {
        let checkpoint = Checkpoint::tiny();
        let other = checkpoint.path.with_extension("tmp");
        fs::write(&other, "something else").unwrap();
        let model = tiny_model(DETERMINISTIC[0], 2);
        model.save(&checkpoint.path, precision).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"something else");
        let folder = checkpoint.path.parent().unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 2, "{precision:?}");
    }
}

/// As any other file that the process makes, whatever its umask.
#[cfg(unix)]
#[test]
fn a_checkpoint_has_the_usual_permissions() {
    use std::os::unix::fs::PermissionsExt;

    for precision in [Precision::Full, Precision::Half, Precision::Int8] {
        let checkpoint = Checkpoint::of(&tiny_model(DETERMINISTIC[0], 1), precision);
        let usual = checkpoint.path.with_extension("usual");
        fs::write(&usual, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&checkpoint.path), mode(&usual), "{precision:?}");
    }
}

#[test]
fn a_missing_file_and_a_missing_folder_are_named() {
    let checkpoint = Checkpoint::tiny();
    fs::remove_file(&checkpoint.path).unwrap();
    let error = checkpoint.load().unwrap_err();
    assert!(matches!(error, CheckpointError::Read { .. }), "{error}");
    assert!(error.to_string().contains("model.safetensors"));
    let nowhere = checkpoint.path.join("no/such/folder/model.safetensors");
    let model = tiny_model(DETERMINISTIC[0], 1);
    let error = model.save(&nowhere, Precision::Full).unwrap_err();
    assert!(matches!(error, CheckpointError::Write { .. }), "{error}");
}

#[test]
fn truncated_files_are_refused() {
    let checkpoint = Checkpoint::tiny();
    let bytes = checkpoint.bytes();
    let header = 8 + header_length(&bytes);
    for length in [
        0,
        1,
        7,
        8,
        9,
        header / 2,
        header - 1,
        header,
        header + 1,
        bytes.len() - 1,
    ] {
        let error = checkpoint.error_of(&bytes[..length]);
        let is_typed = matches!(error, CheckpointError::NotSafetensors { .. });
        assert!(is_typed, "{length} bytes: {error}");
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let checkpoint = Checkpoint::tiny();
    let longer = [checkpoint.bytes(), vec![0; 9]].concat();
    let error = checkpoint.error_of(&longer);
    assert!(
        matches!(error, CheckpointError::NotSafetensors { .. }),
        "{error}"
    );
}

#[test]
fn random_bytes_are_refused() {
    let checkpoint = Checkpoint::tiny();
    for seed in 0..20 {
        let noise = &mut Noise::new(seed);
        let bytes: Vec<u8> = (0..400)
            .map(|_| (127.0 * noise.uniform_scalar()) as i8 as u8)
            .collect();
        let error = checkpoint.error_of(&bytes);
        assert!(
            matches!(error, CheckpointError::NotSafetensors { .. }),
            "{error}"
        );
    }
}

#[test]
fn headers_of_impossible_length_are_refused() {
    let checkpoint = Checkpoint::tiny();
    for length in [0, 1, u64::from(u32::MAX), u64::MAX - 8, u64::MAX] {
        let mut bytes = checkpoint.bytes();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        let error = checkpoint.error_of(&bytes);
        assert!(
            matches!(error, CheckpointError::NotSafetensors { .. }),
            "{error}"
        );
    }
}

fn header_length(bytes: &[u8]) -> usize {
    let (length, _) = bytes.split_first_chunk::<8>().unwrap();
    usize::try_from(u64::from_le_bytes(*length)).unwrap()
}

/// A tensor of a file taken apart.
#[derive(Clone)]
struct Part {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Part {
    /// The same numbers, in single precision until now, as floats of another kind.
    fn convert(&mut self, dtype: Dtype) {
        let (numbers, _) = self.data.as_chunks();
        let numbers = numbers.iter().map(|&number| f32::from_le_bytes(number));
        self.data = match dtype {
            Dtype::BF16 => numbers
                .flat_map(|number| half::bf16::from_f32(number).to_le_bytes())
                .collect(),
            Dtype::F16 => numbers
                .flat_map(|number| half::f16::from_f32(number).to_le_bytes())
                .collect(),
            Dtype::F64 => numbers
                .flat_map(|number| f64::from(number).to_le_bytes())
                .collect(),
            other => panic!("{other:?}"),
        };
        self.dtype = dtype;
    }
}

impl safetensors::View for &Part {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.data.as_slice().into()
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// A checkpoint taken apart, to put together again with a lie in it.
struct Parts {
    tensors: Vec<Part>,
    metadata: HashMap<String, String>,
}

impl Parts {
    fn of(bytes: &[u8]) -> Self {
        let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
        let file = SafeTensors::deserialize(bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| Part {
            name: name.to_owned(),
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            data: view.data().to_vec(),
        });
        Self {
            tensors: tensors.collect(),
            metadata: header.metadata().clone().unwrap(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let tensors = self.tensors.iter().map(|part| (&part.name, part));
        safetensors::serialize(tensors, Some(self.metadata.clone())).unwrap()
    }

    /// Replaces a number in the sizes.
    fn set_size(&mut self, name: &str, value: &str) {
        let sizes = self.metadata.get_mut("latco.world_model").unwrap();
        let mut parsed: serde_json::Value = serde_json::from_str(sizes).unwrap();
        parsed[name] = serde_json::from_str(value).unwrap();
        *sizes = parsed.to_string();
    }
}

/// The error of the tiny checkpoint after `change`.
fn error_after(change: impl FnOnce(&mut Parts)) -> CheckpointError {
    let checkpoint = Checkpoint::tiny();
    let mut parts = Parts::of(&checkpoint.bytes());
    change(&mut parts);
    checkpoint.error_of(&parts.bytes())
}

#[test]
fn taking_apart_and_putting_together_changes_nothing() {
    let checkpoint = Checkpoint::tiny();
    let before = parameters(&checkpoint.load().unwrap());
    let bytes = Parts::of(&checkpoint.bytes()).bytes();
    fs::write(&checkpoint.path, bytes).unwrap();
    assert_eq!(parameters(&checkpoint.load().unwrap()), before);
}

#[test]
fn other_safetensors_files_are_not_checkpoints() {
    let error = error_after(|parts| parts.metadata.clear());
    assert!(matches!(error, CheckpointError::NoConfig { .. }), "{error}");
    let error = error_after(|parts| {
        parts
            .metadata
            .insert("latco.world_model".to_owned(), "{}".to_owned());
    });
    assert!(matches!(error, CheckpointError::NoConfig { .. }), "{error}");
    let error = error_after(|parts| parts.set_size("colour", "3"));
    assert!(matches!(error, CheckpointError::NoConfig { .. }), "{error}");
}

#[test]
fn impossible_sizes_are_refused() {
    for (name, value) in [
        ("image_size", "33"),
        ("stochastic", "0"),
        ("hidden", "1000000000000"),
        ("deterministic", "18446744073709551615"),
        ("depth", "100000"),
    ] {
        let error = error_after(|parts| parts.set_size(name, value));
        assert!(matches!(error, CheckpointError::Config { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    for value in ["-1", "1.5", "null", "\"six\""] {
        let error = error_after(|parts| parts.set_size("hidden", value));
        assert!(matches!(error, CheckpointError::NoConfig { .. }), "{error}");
    }
}

/// The tensors are those of other sizes than the metadata say.
#[test]
fn sizes_that_the_tensors_do_not_have_are_refused() {
    for (name, value) in [
        ("image_size", "64"),
        ("action_size", "3"),
        ("stochastic", "5"),
        ("deterministic", "7"),
        ("deterministic", "0"),
        ("hidden", "9"),
        ("reward_units", "7"),
        ("depth", "3"),
    ] {
        let error = error_after(|parts| parts.set_size(name, value));
        let is_typed = matches!(error, CheckpointError::Tensors { .. });
        assert!(is_typed, "{name} = {value}: {error}");
    }
}

#[test]
fn missing_and_foreign_tensors_are_refused() {
    for index in [0, 5] {
        let error = error_after(|parts| {
            parts.tensors.remove(index);
        });
        assert!(matches!(error, CheckpointError::Tensors { .. }), "{error}");
    }
    let error = error_after(|parts| {
        let mut stranger = parts.tensors[0].clone();
        stranger.name = "stranger".to_owned();
        parts.tensors.push(stranger);
    });
    assert!(matches!(error, CheckpointError::Tensors { .. }), "{error}");
    assert!(error.to_string().contains("stranger"), "{error}");
    let error = error_after(|parts| parts.tensors.clear());
    assert!(matches!(error, CheckpointError::Tensors { .. }), "{error}");
}

#[test]
fn tensors_of_another_shape_are_refused() {
    let error = error_after(|parts| {
        let is_matrix = |part: &&mut Part| part.shape.len() == 2 && part.shape[0] != part.shape[1];
        let matrix = parts.tensors.iter_mut().find(is_matrix);
        matrix.unwrap().shape.reverse();
    });
    assert!(matches!(error, CheckpointError::Tensors { .. }), "{error}");
}

#[test]
fn tensors_of_another_kind_are_refused() {
    for dtype in [Dtype::I32, Dtype::U32] {
        let error = error_after(|parts| parts.tensors[0].dtype = dtype);
        assert!(matches!(error, CheckpointError::Tensors { .. }), "{error}");
    }
}

/// Whether all tensors have them or one alone.
#[test]
fn floats_of_other_sizes_are_read_in_single_precision() {
    const ONE: &str = "reward.layers.0.weight";
    let checkpoint = Checkpoint::tiny();
    let (bytes, model) = (checkpoint.bytes(), checkpoint.load().unwrap());
    let latents = Tensor::<2>::ones([1, model.latent_size()], &Device::default());
    let reward = |model: &WorldModel| model.reward(latents.clone()).into_scalar::<f32>();
    let expected = parameters(&model);
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::F64] {
        for all in [true, false] {
            let mut parts = Parts::of(&bytes);
            let converted = parts.tensors.iter_mut();
            converted
                .filter(|part| all || part.name == ONE)
                .for_each(|part| part.convert(dtype));
            fs::write(&checkpoint.path, parts.bytes()).unwrap();
            let loaded = checkpoint.load().unwrap();
            let what = format!("{dtype:?}, all: {all}");
            // Brain floats have eight significant bits, and half precision steps of 2⁻²⁴ near zero.
            for (found, expected) in parameters(&loaded).iter().zip(&expected) {
                let rounding = expected.abs() * 2_f32.powi(-8) + 2_f32.powi(-25);
                assert!((found - expected).abs() <= rounding, "{what}: {found}");
            }
            let error = (reward(&loaded) - reward(&model)).abs();
            assert!(error < 0.05, "{what}: {error}");
        }
    }
}

/// The table of `docs/checkpoints.md`: names and shapes in terms of the sizes.
fn documented_tensors() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/checkpoints.md");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        (cells[1].to_owned(), cells[2].to_owned())
    })
    .collect()
}

/// A shape such as `[S + A, 2 · S]` in numbers.
fn shape_in_numbers(shape: &str, symbols: &HashMap<&str, usize>) -> Vec<usize> {
    let factor = |text: &str| {
        let text = text.trim();
        symbols
            .get(text)
            .copied()
            .unwrap_or_else(|| text.parse().unwrap())
    };
    let product = |text: &str| text.split('·').map(factor).product::<usize>();
    let side = |text: &str| text.split('+').map(product).sum();
    shape
        .trim_matches(['[', ']'])
        .split(',')
        .map(side)
        .collect()
}

/// Two grey cameras, cropped; actions in newtons; a price for every step, and an end.
#[test]
fn what_a_model_sees_and_does_survives() {
    let device = Device::default();
    let config = WorldModelConfig {
        cameras: 2,
        grey: true,
        raw_size: vec![80, 60],
        crop: vec![10, 0, 60, 60],
        action_low: vec![-2.0, 0.0],
        action_high: vec![2.0, 512.0],
        reward_range: [-1.0, 0.5],
        continuation: true,
        ensemble: 3,
        ..tiny_config(6)
    };
    let model = WorldModel::new(config.clone(), 3, &device).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for precision in [Precision::Full, Precision::Half] {
        model.save(&path, precision).unwrap();
        let loaded = WorldModel::load(&path, &device).unwrap();
        let bytes = fs::read(&path).unwrap();
        let same = WorldModel::from_bytes(bytes, "memory", &device).unwrap();
        assert!(parameters(&same) == parameters(&loaded));
        let error = WorldModel::from_bytes(vec![1, 2, 3], "memory", &device).unwrap_err();
        assert!(error.to_string().contains("memory"), "{error}");
        assert_eq!(loaded.config(), &config);
        assert_eq!(loaded.config().weights(), config.weights());
        let latents = Tensor::<2>::ones([1, config.latent_size()], &device);
        let going_on = |model: &WorldModel| {
            let head = model.continuation_head().unwrap();
            head.probability(latents.clone()).into_scalar::<f32>()
        };
        assert!((going_on(&loaded) - going_on(&model)).abs() < 1e-3);
        let actions = Tensor::<2>::ones([1, config.action_size], &device);
        let uncertainty = |model: &WorldModel| {
            let uncertainty = model.uncertainty(latents.clone(), actions.clone()).unwrap();
            uncertainty.into_scalar::<f32>()
        };
        let (found, expected) = (uncertainty(&loaded), uncertainty(&model));
        assert!(expected > 0.0 && (found / expected - 1.0).abs() < 1e-2);
    }
    let tensors = Parts::of(&model.to_bytes(Precision::Full).unwrap()).tensors;
    let weights = tensors
        .iter()
        .map(|part| part.shape.iter().product::<usize>());
    assert_eq!(weights.sum::<usize>(), config.weights());
}

/// Every tensor is documented with its shape, for each kind of model.
#[test]
fn the_documentation_lists_the_tensors() {
    let documented = documented_tensors();
    let mut found = std::collections::BTreeSet::new();
    for (deterministic, image_size, cameras) in [(6, 64, 1), (0, 64, 1), (6, 32, 2), (0, 32, 1)] {
        let config = WorldModelConfig {
            image_size,
            cameras,
            grey: cameras > 1,
            continuation: cameras > 1,
            ensemble: cameras,
            reward_units: 7,
            ..tiny_config(deterministic)
        };
        let symbols = HashMap::from([
            ("S", config.stochastic),
            ("D", config.deterministic),
            ("Z", config.latent_size()),
            ("A", config.action_size),
            ("H", config.hidden),
            ("U", config.reward_units),
            ("E", config.embedding_size()),
            ("C", config.depth),
            ("K", config.channels()),
        ]);
        let model = WorldModel::new(config, 1, &Device::default()).unwrap();
        for tensor in Parts::of(&model.to_bytes(Precision::Full).unwrap()).tensors {
            let name = tensor.name.replace("heads.0", "heads.k");
            let found_name = name.replace("heads.1", "heads.k");
            let fits = |(name, shape): &&(String, String)| {
                *name == found_name && shape_in_numbers(shape, &symbols) == tensor.shape
            };
            let row = documented.iter().find(fits);
            let row = row.unwrap_or_else(|| panic!("{} {:?}", tensor.name, tensor.shape));
            found.insert(row.clone());
        }
    }
    let invented: Vec<_> = documented
        .iter()
        .filter(|row| !found.contains(*row))
        .collect();
    assert!(
        invented.is_empty(),
        "documented, but in no model: {invented:?}"
    );
}

#[test]
fn python_reads_a_checkpoint() {
    if !python(&["-c", "import safetensors, numpy"]) {
        println!("not checked: no Python with safetensors and numpy here");
        return;
    }
    const SCRIPT: &str = "
import json, sys, safetensors.numpy
with safetensors.safe_open(sys.argv[1], 'numpy') as file:
    sizes = json.loads(file.metadata()['latco.world_model'])
    assert sizes['stochastic'] == 4, sizes
    names = list(file.keys())
    total = sum(file.get_tensor(name).size for name in names)
assert total == int(sys.argv[2]), (total, names)
";
    for precision in [Precision::Full, Precision::Half] {
        let model = tiny_model(DETERMINISTIC[0], 1);
        let checkpoint = Checkpoint::of(&model, precision);
        let count = parameters(&model).len().to_string();
        assert!(python(&["-c", SCRIPT, text(&checkpoint.path), &count]));
    }
}

fn python(arguments: &[&str]) -> bool {
    let run = Command::new("python3").args(arguments).output();
    run.is_ok_and(|output| {
        print!("{}", String::from_utf8_lossy(&output.stderr));
        output.status.success()
    })
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn sizes_tell_the_number_of_weights() {
    let pooled = WorldModelConfig {
        image_size: 64,
        pooling: 1,
        ..tiny_config(6)
    };
    let with_heads = WorldModelConfig {
        ensemble: 5,
        ..tiny_config(6)
    };
    for config in [tiny_config(6), tiny_config(0), pooled, with_heads] {
        let model = WorldModel::new(config.clone(), 0, &Device::default()).unwrap();
        assert_eq!(config.weights(), parameters(&model).len(), "{config:?}");
    }
}

/// As checkpoints were before there were ensembles.
#[test]
fn a_checkpoint_without_a_word_of_an_ensemble_has_none() {
    let checkpoint = Checkpoint::tiny();
    let mut parts = Parts::of(&checkpoint.bytes());
    let sizes = parts.metadata.get_mut("latco.world_model").unwrap();
    assert!(sizes.contains("\"ensemble\":1,"), "{sizes}");
    *sizes = sizes.replace("\"ensemble\":1,", "");
    fs::write(&checkpoint.path, parts.bytes()).unwrap();
    let (old, new) = (checkpoint.load().unwrap(), tiny_model(6, 1));
    assert!(old.ensemble().is_none());
    let inputs = |size| Tensor::<2>::ones([1, size], &Device::default());
    let (latents, actions) = (inputs(old.config().latent_size()), inputs(2));
    assert!(old.uncertainty(latents, actions).is_none());
    // Those that models are given later do not change what was there.
    let extended = new.clone().with_ensemble(5, 3).unwrap();
    let (before, after) = (parameters(&new), parameters(&extended));
    assert_eq!(before, after[..before.len()]);
    assert_eq!(extended.config().weights(), after.len());
}

/// Sizes are believed only as far as the file is long.
#[test]
fn sizes_beyond_the_file_take_no_memory() {
    let checkpoint = Checkpoint::tiny();
    let bytes = checkpoint.bytes();
    let header = header_length(&bytes);
    let text = String::from_utf8(bytes[8..8 + header].to_vec()).unwrap();
    let sizes = |deterministic: usize| format!("\\\"deterministic\\\":{deterministic},");
    assert!(text.contains(&sizes(6)), "{text}");
    let text = text.replace(&sizes(6), &sizes(4096)).into_bytes();
    let mut claiming = (text.len() as u64).to_le_bytes().to_vec();
    claiming.extend(text);
    claiming.extend(&bytes[8 + header..]);
    let error = checkpoint.error_of(&claiming);
    assert!(matches!(error, CheckpointError::Tensors { .. }), "{error}");
    assert!(error.to_string().contains("weights"), "{error}");
}
