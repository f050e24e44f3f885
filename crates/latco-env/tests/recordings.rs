//! Episodes on disk: ours, numpy's and hostile ones.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use latco_env::{
    ActionSpace, ArrayError, ChaCha8Rng, EnvOptions, Episode, EpisodeFileProblem, EpisodeFolder,
    Image, expert_action, make, record_episode,
};
use rand::Rng;
use rand_chacha::rand_core::SeedableRng;
use tempfile::tempdir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn episode(seed: u64) -> Episode {
    let options = EnvOptions {
        image_size: 16,
        dense_reward: true,
    };
    let mut environment = make("reach", &options).unwrap();
    record_episode(environment.as_mut(), seed, expert_action).unwrap()
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// A `.npy` file with this header and these elements.
fn npy(description: &str, shape: &str, fortran: bool, elements: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let text =
        format!("{{'descr': '{description}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((text.len() as u16).to_le_bytes());
    file.extend(text.bytes());
    file.extend(elements);
    file
}

/// The arrays of a good episode of two frames of 1x1 pixels and one action entry.
fn good_arrays() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("image.npy", npy("|u1", "(2, 1, 1, 3)", false, &[7; 6])),
        ("action.npy", npy("<f4", "(2, 1)", false, &[0; 8])),
        ("reward.npy", npy("<f4", "(2,)", false, &[0; 8])),
        ("discount.npy", npy("<f4", "(2,)", false, &[0; 8])),
    ]
}

fn write_archive(path: &Path, entries: &[(&str, Vec<u8>)]) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in entries {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

/// What is said of a good archive in which one entry is replaced.
fn problem_with(name: &'static str, bytes: Vec<u8>) -> EpisodeFileProblem {
    let folder = tempdir().unwrap();
    let path = folder.path().join("episode.npz");
    let mut entries = good_arrays();
    entries.retain(|(other, _)| *other != name);
    entries.push((name, bytes));
    write_archive(&path, &entries);
    let error = Episode::load(&path).unwrap_err();
    assert_eq!(error.path, path);
    error.problem
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("episode.npz");
    let saved = episode(1);
    saved.save(&path).unwrap();
    assert_eq!(Episode::load(&path).unwrap(), saved);
}

#[test]
fn bounds_and_cameras_are_kept() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("episode.npz");
    let space = ActionSpace::new(vec![0.0, -2.0], vec![512.0, 2.0]).unwrap();
    let picture = Image::from_grey(4, 2, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    let saved = Episode::new(&picture, &space).with_cameras(2);
    saved.save(&path).unwrap();
    let loaded = Episode::load(&path).unwrap();
    assert_eq!(loaded, saved);
    assert_eq!((loaded.action_space(), loaded.cameras()), (&space, 2));
    assert_eq!(loaded.images()[..6], [1, 1, 1, 2, 2, 2]);
}

#[test]
fn grey_images_are_read_as_colour() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("episode.npz");
    for shape in ["(2, 1, 1)", "(2, 1, 1, 1)"] {
        let mut entries = good_arrays();
        entries[0].1 = npy("|u1", shape, false, &[7, 9]);
        write_archive(&path, &entries);
        let images = Episode::load(&path).unwrap().images().to_vec();
        assert_eq!(images, [7, 7, 7, 9, 9, 9]);
    }
}

#[test]
fn numpy_files_are_read() {
    let double = Episode::load(&data("numpy_float64.npz")).unwrap();
    assert_eq!((double.len(), double.action_size()), (5, 2));
    assert_eq!((double.image_height(), double.image_width()), (8, 6));
    assert_eq!(double.images()[250..253], [250, 0, 1]);
    assert_eq!(double.action(0), [-1.0, -7.0 / 9.0]);
    assert_eq!(double.rewards(), [0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(double.discounts()[4], 0.0);
    assert_eq!(double.success(), Some(true));

    let single = Episode::load(&data("numpy_float32.npz")).unwrap();
    assert_eq!(single.images(), double.images());
    assert_eq!(single.actions(), double.actions());
    assert_eq!(single.discounts(), [1.0; 5]);
    assert_eq!(single.sparse_rewards(), None);
}

#[test]
fn fortran_order_is_read() {
    let [columns, rows] = ["numpy_fortran.npz", "numpy_float32.npz"].map(|name| {
        let episode = Episode::load(&data(name)).unwrap();
        (episode.images().to_vec(), episode.actions().to_vec())
    });
    assert_eq!(columns, rows);
}

#[test]
fn numpy_reads_what_we_write() {
    let script = "import numpy, sys\n\
        e = numpy.load(sys.argv[1])\n\
        print(sorted(e.files), e['image'].shape, e['image'].dtype, e['action'].shape,\n\
        e['action'].dtype, int(e['image'].sum(dtype='int64')), float(e['reward'].sum()))";
    let python = |arguments: &[&str]| Command::new("python3").args(arguments).output();
    match python(&["-c", "import numpy"]) {
        Ok(output) if output.status.success() => {}
        _ => return println!("skipped: no python3 with numpy"),
    }
    let folder = tempdir().unwrap();
    let path = folder.path().join("episode.npz");
    let episode = episode(2);
    episode.save(&path).unwrap();
    let output = python(&["-c", script, path.to_str().unwrap()]).unwrap();
    let sum: u64 = episode.images().iter().map(|&value| u64::from(value)).sum();
    let seen = String::from_utf8(output.stdout).unwrap().replace('\n', "");
    let expected = "['action', 'discount', 'image', 'reward', 'sparse_reward'] \
        (31, 16, 16, 3) uint8 (31, 2) float32 ";
    assert!(seen.starts_with(expected), "{seen}");
    assert!(seen.contains(&sum.to_string()), "{seen}");
}

#[test]
fn an_archive_of_good_arrays_is_an_episode() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("episode.npz");
    let mut entries = good_arrays();
    entries.push(("../../escape.npy", vec![0; 10]));
    entries.push(("/etc/image.npy", vec![0; 10]));
    write_archive(&path, &entries);
    assert_eq!(Episode::load(&path).unwrap().len(), 2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn false_claims_are_typed_errors() {
    let terabytes = npy("|u1", "(1000000, 1000, 1000, 3)", false, &[7; 6]);
    assert!(matches!(
        problem_with("image.npy", terabytes),
        EpisodeFileProblem::Array {
            field,
            source: ArrayError::Size { .. }
        } if field == "image"
    ));
    assert!(matches!(
        problem_with("image.npy", npy("<f4", "(2, 1, 1, 3)", false, &[0; 24])),
        EpisodeFileProblem::Array {
            field,
            source: ArrayError::DataType { .. }
        } if field == "image"
    ));
    assert!(matches!(
        problem_with("action.npy", npy("<f4", "(2,)", false, &[0; 8])),
        EpisodeFileProblem::Array {
            field,
            source: ArrayError::Shape { .. }
        } if field == "action"
    ));
    assert!(matches!(
        problem_with("reward.npy", npy("<f4", "(3,)", false, &[0; 12])),
        EpisodeFileProblem::Episode(_)
    ));
    let nan: Vec<u8> = [0.0, f32::NAN]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let problem = problem_with("reward.npy", npy("<f4", "(2,)", false, &nan));
    assert!(problem.to_string().contains("`reward` is NaN at entry 1"));
    assert!(matches!(
        problem_with("discount.npy", b"nonsense".to_vec()),
        EpisodeFileProblem::Array { field, .. } if field == "discount"
    ));
}

#[test]
fn missing_fields_and_files_are_named() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("episode.npz");
    for field in ["image", "action", "reward"] {
        let mut entries = good_arrays();
        entries.retain(|(name, _)| !name.starts_with(field));
        write_archive(&path, &entries);
        let message = Episode::load(&path).unwrap_err().to_string();
        assert!(
            message.contains(&format!("`{field}` is missing")),
            "{message}"
        );
    }
    for (bound, absent) in [
        ("action_low.npy", "action_high"),
        ("action_high.npy", "action_low"),
    ] {
        let mut entries = good_arrays();
        entries.push((bound, npy("<f4", "(1,)", false, &[0; 4])));
        write_archive(&path, &entries);
        let message = Episode::load(&path).unwrap_err().to_string();
        assert!(
            message.contains(&format!("`{absent}` is missing")),
            "{message}"
        );
    }
    let missing = Episode::load(&folder.path().join("none.npz")).unwrap_err();
    assert!(matches!(missing.problem, EpisodeFileProblem::Io(_)));
}

#[test]
fn damaged_files_never_panic() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("episode.npz");
    episode(3).save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(0);
    for round in 0..500 {
        let mut damaged = bytes.clone();
        if round % 2 == 0 {
            damaged.truncate(random.random_range(0..bytes.len()));
        }
        for _ in 0..random.random_range(1..20) {
            let end = damaged.len().max(1);
            if let Some(byte) = damaged.get_mut(random.random_range(0..end)) {
                *byte = random.random();
            }
        }
        fs::write(&path, &damaged).unwrap();
        if round % 2 == 0 {
            assert!(Episode::load(&path).is_err());
        } else {
            let _ = Episode::load(&path);
        }
    }
}

#[test]
fn a_folder_numbers_its_episodes_and_skips_bad_files() {
    let parent = tempdir().unwrap();
    let folder = EpisodeFolder::create(&parent.path().join("episodes")).unwrap();
    let first = folder.save(&episode(0)).unwrap();
    assert_eq!(first.file_name().unwrap(), "episode-000000.npz");
    fs::rename(&first, folder.path().join("episode-000041.npz")).unwrap();
    let next = folder.save(&episode(1)).unwrap();
    assert_eq!(next.file_name().unwrap(), "episode-000042.npz");

    fs::write(folder.path().join("broken.npz"), "no archive").unwrap();
    fs::write(folder.path().join(".partial-x.npz"), "unfinished").unwrap();
    fs::write(folder.path().join("notes.txt"), "not an episode").unwrap();
    let loaded = folder.load_all().unwrap();
    assert_eq!(loaded.episodes.len(), 2);
    assert_eq!(loaded.episodes[1].1, episode(1));
    assert_eq!(loaded.skipped.len(), 1);
    assert!(loaded.skipped[0].to_string().contains("broken.npz"));

    assert!(EpisodeFolder::open(&parent.path().join("elsewhere")).is_err());
}
