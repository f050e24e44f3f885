//! Hostile files: whatever is in them, readers answer with a value or an error, in bounded memory
//! and time, and write nothing.
//!
//! Each target changes files of `tests/data/fuzz` and feeds the result to a reader. A short run is
//! part of the tests; `LATCO_FUZZ_INPUTS=1000000 cargo test --workspace --test fuzz` is a long one.
//! An input that fails is left in the folder that the run names at its start, and its number
//! determines it.

mod common {
    pub mod foreign;
    pub mod mutation;
}

use std::{
    env, fs,
    io::{Cursor, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use burn::tensor::Device;
use common::{
    foreign::{Foreign, Sizes, write_npz, write_pt},
    mutation::Mutation,
};
use crc::{CRC_32_ISCSI, CRC_32_ISO_HDLC, Crc};
use latco_agent::{RunConfig, RunFolder, TrainingRun};
use latco_env::{
    EnvOptions, Environment, Episode, FloatArray, Image, import_folder, make, read_arrays,
};
use latco_model::{
    Activation, WorldModel, WorldModelConfig,
    convert::{self, HostArray, name_in_order, read_state_dict},
};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// Inputs of a short run.
const SHORT_RUN: u64 = 3_000;

/// What reading one of these small files may take, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// All memory of the process, which the largest claims exceed many times over.
const MEMORY: u64 = 4 << 30;

/// What a reader made of an input.
type Answer = Result<(), String>;

/// A reader and the files it is tried on.
struct Target {
    name: &'static str,
    /// Words of the format.
    tokens: &'static [&'static str],
    /// Makes an input from a file of the corpus.
    vary: fn(&mut Mutation, &[u8]) -> Vec<u8>,
    /// The file that the input is put into, below the run's folder.
    file: &'static str,
    /// Reads it.
    read: fn(&Path) -> Answer,
}

impl Target {
    /// The committed files.
    fn corpus(&self) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/fuzz")
            .join(self.name);
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        files.iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// Feeds as many inputs as asked for, made from the committed files.
    fn run(&self, prepare: impl Fn(&Path)) {
        self.run_on(&self.corpus(), 1, prepare);
    }

    /// Feeds so many times fewer inputs than asked for, and reports what came of them.
    fn run_on(&self, corpus: &[Vec<u8>], fewer: u64, prepare: impl Fn(&Path)) {
        limit_memory();
        let asked = env::var("LATCO_FUZZ_INPUTS").map(|text| text.parse::<u64>().unwrap());
        let inputs = asked.unwrap_or(SHORT_RUN) / fewer;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(self.file);
        prepare(folder.path());
        println!("{}: the input being read is {}", self.name, path.display());
        for file in corpus {
            fs::write(&path, file).unwrap();
            (self.read)(&path).unwrap_or_else(|error| panic!("corpus of {}: {error}", self.name));
        }
        let files = names(folder.path());
        let started = Instant::now();
        let (mut accepted, mut longest) = (0_u64, Duration::ZERO);
        for number in 0..inputs {
            let mut mutation = Mutation::new(number, self.tokens);
            let seed = &corpus[mutation.below(corpus.len())];
            fs::write(&path, (self.vary)(&mut mutation, seed)).unwrap();
            let begun = Instant::now();
            accepted += u64::from((self.read)(&path).is_ok());
            longest = longest.max(begun.elapsed());
            assert!(longest < PATIENCE, "input {number} took {longest:?}");
        }
        assert_eq!(names(folder.path()), files, "a reader wrote something");
        println!(
            "{}: {inputs} inputs in {:.0?}, {accepted} accepted, the longest took {longest:.1?}; {}",
            self.name,
            started.elapsed(),
            peak_memory()
        );
        assert!(accepted > 0 && accepted < inputs, "{accepted} accepted");
    }
}

/// Every file below a folder.
fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(self::names(&path));
        }
        names.push(path);
    }
    names.sort();
    names
}

/// An allocation beyond the limit ends the process, which fails the test.
fn limit_memory() {
    #[cfg(target_os = "linux")]
    rlimit::setrlimit(rlimit::Resource::AS, MEMORY, MEMORY).unwrap();
}

/// The process's largest size in memory so far, where the system tells.
fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let size = line.and_then(|line| line.split_once(':'));
    let size = size.map_or("unknown", |(_, size)| size.trim());
    format!("peak memory of the process {size}")
}

fn described<T, E: std::fmt::Display>(answer: Result<T, E>) -> Answer {
    answer.map(drop).map_err(|error| error.to_string())
}

fn raw(mutation: &mut Mutation, file: &[u8]) -> Vec<u8> {
    let mut input = file.to_vec();
    mutation.mutate(&mut input);
    input
}

/// Mostly ASCII: a single byte beyond it ends the reading of a text.
fn text(mutation: &mut Mutation, file: &[u8]) -> Vec<u8> {
    let mut input = raw(mutation, file);
    if mutation.below(8) > 0 {
        input.iter_mut().for_each(|byte| *byte &= 0x7f);
    }
    input
}

/// The header and the tensors by themselves, the header's length mostly right.
fn checkpoint(mutation: &mut Mutation, file: &[u8]) -> Vec<u8> {
    if mutation.below(4) == 0 {
        return raw(mutation, file);
    }
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    let (header, tensors) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = text(mutation, header);
    let mut input = (header.len() as u64).to_le_bytes().to_vec();
    input.extend(header);
    input.extend(tensors);
    input
}

/// One array by itself, in an archive that is sound.
fn episode(mutation: &mut Mutation, file: &[u8]) -> Vec<u8> {
    if mutation.below(4) == 0 {
        return raw(mutation, file);
    }
    let entries = ZipArchive::new(Cursor::new(file)).unwrap().len();
    let changed = mutation.below(entries);
    rebuilt(file, |index, name, array| {
        if index == changed {
            // The header is what is believed or not; elements are only numbers.
            let mut header: Vec<u8> = array.drain(..array.len().min(128)).collect();
            mutation.mutate(&mut header);
            array.splice(0..0, header);
            if mutation.below(16) == 0 {
                *name = format!("../{name}");
            }
        }
    })
}

/// The pickle by itself, in an archive that is sound.
fn pickled(mutation: &mut Mutation, file: &[u8]) -> Vec<u8> {
    if mutation.below(4) == 0 {
        return raw(mutation, file);
    }
    rebuilt(file, |_, name, bytes| {
        if name.ends_with(".pkl") {
            mutation.mutate(bytes);
        }
    })
}

/// An archive after a change of its entries: number, name, bytes.
fn rebuilt(file: &[u8], mut change: impl FnMut(usize, &mut String, &mut Vec<u8>)) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(file)).unwrap();
    let mut input = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let mut name = entry.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        change(index, &mut name, &mut bytes);
        input.start_file(name, options).unwrap();
        input.write_all(&bytes).unwrap();
    }
    input.finish().unwrap().into_inner()
}

/// Chunks with right checksums, which alone are looked into.
fn image(mutation: &mut Mutation, file: &[u8]) -> Vec<u8> {
    let input = raw(mutation, file);
    if mutation.below(4) == 0 {
        return input;
    }
    with_checksums(input)
}

/// A PNG whose chunks, as far as they can be followed, have the checksums of what they hold.
fn with_checksums(mut png: Vec<u8>) -> Vec<u8> {
    let mut start = 8;
    while let Some(length) = png.get(start..start + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let end = start.saturating_add(8).saturating_add(length);
        let Some(chunk) = png.get(start + 4..end) else {
            break;
        };
        let checksum = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(chunk);
        let Some(place) = png.get_mut(end..end + 4) else {
            break;
        };
        place.copy_from_slice(&checksum.to_be_bytes());
        start = end + 4;
    }
    png
}

#[test]
fn checkpoints() {
    Target {
        name: "checkpoint",
        tokens: &[
            "\\\"deterministic\\\":4096",
            "\\\"hidden\\\":4096",
            "\\\"depth\\\":256",
            "\"shape\":[99999999999]",
            "\"data_offsets\":[0,18446744073709551615]",
            "F16",
            "F64",
            "I64",
            "{",
            "}",
            "latco.world_model",
            "-1",
            "1e400",
        ],
        vary: checkpoint,
        file: "model.safetensors",
        read: |path| described(WorldModel::load(path, &Device::default())),
    }
    .run(|_| ());
}

#[test]
fn episodes() {
    Target {
        name: "episode",
        tokens: &[
            "(999999999999,)",
            "(9223372036854775807, 9, 9, 3)",
            "(0,)",
            "(-1,)",
            "'<f8'",
            "'<f4'",
            "'|u1'",
            "'|O'",
            "True",
            "'shape':",
            "'descr':",
            "\x01\x00",
            "\x03\x00",
            "PK\x05\x06",
            "PK\x01\x02",
        ],
        vary: episode,
        file: "episode.npz",
        read: |path| described(Episode::load(path)),
    }
    .run(|_| ());
}

/// Recordings that other libraries wrote.
fn recordings(names: &[&str]) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/latco-formats/tests/data");
    let files = names
        .iter()
        .map(|name| fs::read(folder.join(name)).unwrap());
    files.collect()
}

/// Opens whatever there is, and reads every image.
fn read_recordings(path: &Path) -> Answer {
    let found = latco_formats::open(path, &latco_formats::Options::default());
    let mut found = found.map_err(|error| error.to_string())?;
    found.remove_damaged();
    match found.episodes.is_empty() {
        true => Err("no episode".to_owned()),
        false => Ok(()),
    }
}

#[test]
fn recordings_of_other_formats_in_archives() {
    let corpus = recordings(&["dreamerv3.npz", "ogbench.npz", "ogbench_stored.npz"]);
    Target {
        name: "recordings in archives",
        tokens: &[
            "(999999999999,)",
            "(9223372036854775807, 9, 9, 3)",
            "(8, 4, 6, 3)",
            "(0,)",
            "(-1,)",
            "'<f8'",
            "'|b1'",
            "'|u1'",
            "'|O'",
            "True",
            "'shape':",
            "PK\x05\x06",
            "PK\x01\x02",
        ],
        vary: episode,
        file: "recordings.npz",
        read: read_recordings,
    }
    .run_on(&corpus, 1, |_| ());
}

#[test]
fn recordings_in_hdf5() {
    let corpus = recordings(&[
        "swm.h5",
        "swm_lzf.h5",
        "swm_plain.h5",
        "vd4rl.hdf5",
        "minari/data/main_data.hdf5",
    ]);
    Target {
        name: "recordings in HDF5",
        tokens: &[
            "TREE",
            "HEAP",
            "SNOD",
            "OHDR",
            "OCHK",
            "FRHP",
            "\u{89}HDF\r\n\x1a\n",
            "pixels",
            "ep_len",
            "\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f",
        ],
        vary: raw,
        file: "recordings.h5",
        read: read_recordings,
    }
    .run_on(&corpus, 3, |_| ());
}

/// Weights of other implementations, the smallest that have every array.
fn foreign_weights(write: impl Fn(&Path, &Foreign)) -> Vec<u8> {
    let sizes = Sizes {
        stochastic: 1,
        deterministic: 1,
        hidden: 1,
        reward_units: 1,
        action: 1,
        depth: 1,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    write(&path, &Foreign::random(sizes, 0));
    fs::read(path).unwrap()
}

#[test]
fn lists_of_weights() {
    let list = foreign_weights(|path, model| write_npz(path, &model.tensorflow_in_order()));
    Target {
        name: "weights of TensorFlow",
        tokens: &[
            "(999999999999,)",
            "(9223372036854775807, 9, 9, 3)",
            "(1, 3)",
            "()",
            "'|O'",
            "'<f8'",
            "'shape':",
        ],
        vary: episode,
        file: "weights.npz",
        read: |path| {
            let arrays = read_arrays(path).map_err(|error| error.to_string())?;
            let host = |array: FloatArray| HostArray {
                shape: array.shape,
                values: array.values,
            };
            let named = name_in_order(arrays.into_iter().map(host).collect());
            let named = named.map_err(|error| error.to_string())?;
            described(convert::tensorflow(&named, &Device::default()))
        },
    }
    .run_on(&[list], 1, |_| ());
}

#[test]
fn state_dictionaries() {
    let state = foreign_weights(|path, model| write_pt(path, &model.pytorch()));
    Target {
        name: "weights of PyTorch",
        tokens: &[
            "cos\nsystem\n",
            "ctorch\nFloatStorage\n",
            "ctorch\nDoubleStorage\n",
            "J\u{7f}\u{7f}\u{7f}\u{7f}",
            "tQ",
            "tR",
            "((((((((",
            "}}}}}}}}",
            "u.",
            "R",
            "h\0",
        ],
        vary: pickled,
        file: "weights.pt",
        read: |path| {
            let arrays = read_state_dict(path).map_err(|error| error.to_string())?;
            described(convert::pytorch(
                &arrays,
                Activation::Relu,
                &Device::default(),
            ))
        },
    }
    .run_on(&[state], 1, |_| ());
}

#[test]
fn images() {
    Target {
        name: "image",
        tokens: &[
            "IHDR", "IDAT", "IEND", "PLTE", "tRNS", "zTXt", "iCCP", "acTL", "fcTL", "fdAT",
        ],
        vary: image,
        file: "image.png",
        read: |path| described(Image::load_png(path)),
    }
    .run(|_| ());
}

#[test]
fn configurations() {
    Target {
        name: "config",
        tokens: &[
            "nan",
            "inf",
            "-1",
            "1e400",
            "18446744073709551616",
            "9223372036854775807",
            "[model]",
            "[[model]]",
            "\"\"\"",
            "= { ",
            "[[[[[[[[[[[[[[[[",
            "true",
            "'reach'",
            "0x7fffffffffffffff",
        ],
        vary: text,
        file: "config.toml",
        read: |path| {
            let folder = RunFolder::new(path.parent().unwrap());
            let config: RunConfig = folder.read_config().map_err(|error| error.to_string())?;
            described(config.validate())
        },
    }
    .run(|_| ());
}

const CELLS: &[&str] = &[
    "nan", "inf", "-inf", "1e400", "-0", ",", ",,", "\n", "\r", "\"", "\"\"", "action_0",
    "action_9", "reward", "discount", "[", "]", "{", "}", "null", "[[[[[[[[",
];

/// Two frames beside the table.
fn frames(folder: &Path) {
    let frames = folder.join("frames");
    fs::create_dir(&frames).unwrap();
    for index in 0..2_u8 {
        let frame = Image::new(4, 4, vec![index; 48]).unwrap();
        frame
            .save_png(&frames.join(format!("{index}.png")))
            .unwrap();
    }
}

#[test]
fn imports_with_csv() {
    Target {
        name: "import-csv",
        tokens: CELLS,
        vary: text,
        file: "frames/table.csv",
        read: |path| described(import_folder(path.parent().unwrap())),
    }
    .run(frames);
}

#[test]
fn imports_with_json() {
    Target {
        name: "import-json",
        tokens: CELLS,
        vary: text,
        file: "frames/table.json",
        read: |path| described(import_folder(path.parent().unwrap())),
    }
    .run(frames);
}

/// The state of a tiny run, damaged where the checksum does not tell.
#[test]
fn training_states() {
    let run = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(run.path());
    let mut training =
        TrainingRun::new(reach(), tiny_run(), folder.clone(), &Device::default()).unwrap();
    while !training.is_finished() {
        training.advance().unwrap();
    }
    training.save().unwrap();
    drop(training);
    let state = fs::read(folder.state()).unwrap();
    Target {
        name: "state",
        tokens: &[
            "model",
            "optimizer",
            "\u{ff}\u{ff}\u{ff}\u{ff}\u{ff}",
            "\0\0\0\0",
        ],
        vary: |mutation, file| {
            let mut input = raw(mutation, &file[..file.len() - 4]);
            // The checksum is of what follows the version's mark.
            let body = input.strip_prefix(b"latco.state.2\n").unwrap_or(&input);
            let checksum = Crc::<u32>::new(&CRC_32_ISCSI).checksum(body);
            input.extend(checksum.to_le_bytes());
            input
        },
        file: "training.state",
        read: |path| {
            let folder = RunFolder::new(path.parent().unwrap());
            described(TrainingRun::resume(reach(), folder, &Device::default()))
        },
    }
    // Each input makes a model and a trainer, and leaves some 60 KB of memory in use.
    .run_on(&[state], 50, |path| {
        let copy = RunFolder::new(path);
        fs::create_dir(copy.episodes()).unwrap();
        for file in names(run.path()) {
            if file.is_file() {
                fs::copy(&file, path.join(file.strip_prefix(run.path()).unwrap())).unwrap();
            }
        }
    });
}

fn reach() -> Box<dyn Environment> {
    let options = EnvOptions {
        image_size: 32,
        ..EnvOptions::default()
    };
    make("reach", &options).unwrap()
}

fn tiny_run() -> RunConfig {
    let mut config = RunConfig::small(reach().as_ref());
    config.steps = 2;
    config.model = WorldModelConfig {
        image_size: 32,
        pooling: 1,
        stochastic: 2,
        deterministic: 2,
        hidden: 4,
        reward_units: 4,
        depth: 1,
        ..config.model
    };
    config.env_options.image_size = 32;
    config.replay.batch = 2;
    config.replay.length = 4;
    config.collect.prefill = 1;
    config.collect.planner = vec!["random".to_owned()];
    config
}

#[test]
fn imports_with_frames() {
    Target {
        name: "image",
        tokens: &["IHDR", "IDAT", "IEND"],
        vary: image,
        file: "frames/2.png",
        read: |path| described(import_folder(path.parent().unwrap())),
    }
    .run(|folder| {
        frames(folder);
        fs::write(
            folder.join("frames/table.csv"),
            "action_0,reward\n0,0\n1,1\n1,0\n",
        )
        .unwrap();
    });
}
