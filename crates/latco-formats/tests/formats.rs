//! What becomes of recordings that other libraries wrote: `data/make.py` says what is in them.

use std::fs;
use std::path::{Path, PathBuf};

use latco_env::{Episode, Recorded, Recordings};
use latco_formats::{Options, open};

const LENGTHS: [usize; 2] = [5, 3];
const HEIGHT: usize = 4;
const WIDTH: usize = 6;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn mapped(pairs: &[(&str, &str)]) -> Options {
    let pairs = pairs.iter();
    Options {
        map: pairs
            .map(|(key, name)| (key.to_string(), name.to_string()))
            .collect(),
    }
}

fn read(name: &str, options: &Options) -> Recordings {
    let found = open(&data(name), options).unwrap();
    assert!(found.skipped.is_empty(), "{name}: {:?}", found.skipped);
    found
}

fn image(e: usize, t: usize) -> Vec<u8> {
    (0..HEIGHT)
        .flat_map(|row| [(16 * e + t) as u8, t as u8, row as u8].repeat(WIDTH))
        .collect()
}

/// What differs from format to format.
struct Kept {
    rewards: bool,
    /// Whether the end of each episode is told to be a terminal state.
    terminal: [bool; 2],
}

fn assert_episode(name: &str, e: usize, recorded: &dyn Recorded, kept: &Kept) {
    let episode = Episode::read(recorded).unwrap();
    let length = LENGTHS[e];
    let what = format!("episode {e} of {name}");
    assert_eq!(episode.len(), length, "{what}");
    assert_eq!(
        (episode.image_height(), episode.image_width()),
        (HEIGHT, WIDTH)
    );
    let images: Vec<u8> = (0..length).flat_map(|t| image(e, t)).collect();
    assert_eq!(episode.images(), images, "images of {what}");
    let action = |t: usize| match t {
        0 => [0.0, 0.0],
        t => [e as f32 + t as f32 / 8.0, -(t as f32) / 8.0],
    };
    let actions: Vec<f32> = (0..length).flat_map(action).collect();
    assert_eq!(episode.actions(), actions, "actions of {what}");
    let reward = |t: usize| if kept.rewards { t as f32 / 4.0 } else { 0.0 };
    let rewards: Vec<f32> = (0..length).map(reward).collect();
    assert_eq!(episode.rewards(), rewards, "rewards of {what}");
    let mut discounts = vec![1.0; length];
    if kept.terminal[e] {
        discounts[length - 1] = 0.0;
    }
    assert_eq!(episode.discounts(), discounts, "discounts of {what}");
    // From the midst, out of order.
    for frames in [1..length, 0..1, length - 1..length] {
        let size = HEIGHT * WIDTH * 3;
        let expected = &images[frames.start * size..frames.end * size];
        assert_eq!(*recorded.images(frames).unwrap(), *expected, "{what}");
    }
}

fn assert_read(name: &str, options: &Options, kept: &Kept) {
    let found = read(name, options);
    assert_eq!(found.episodes.len(), LENGTHS.len(), "{name}");
    for (e, episode) in found.episodes.iter().enumerate() {
        assert_episode(name, e, episode.as_ref(), kept);
    }
    let files: Vec<_> = found.files.iter().map(PathBuf::as_path).collect();
    assert!(
        found.episodes.iter().all(|e| files.contains(&e.path())),
        "{name}"
    );
}

const ENDS: Kept = Kept {
    rewards: true,
    terminal: [false, true],
};

#[test]
fn ogbench() {
    let kept = Kept {
        rewards: false,
        terminal: [false, false],
    };
    assert_read("ogbench.npz", &Options::default(), &kept);
    assert_read("ogbench_stored.npz", &Options::default(), &kept);
    let random_access = |name| {
        let found = read(name, &Options::default());
        found.episodes.iter().all(|e| e.is_random_access())
    };
    assert!(random_access("ogbench_stored.npz") && !random_access("ogbench.npz"));
}

#[test]
fn dreamer() {
    assert_read("dreamerv3.npz", &Options::default(), &ENDS);
    assert_read("dreamerv2.npz", &Options::default(), &ENDS);
}

/// Where no `is_terminal` is there an episode ends where its discount is 0.
#[test]
fn dreamer_with_discounts_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.npz");
    let mut arrays = Episode::load(&data("vd4rl.npz")).unwrap().into_arrays();
    let frames = arrays.rewards.len();
    let at = |place: usize, value: f32| {
        let mut values = vec![1.0 - value; frames];
        values[place] = value;
        values
    };
    // An array of this name is what is taken for `is_first`.
    arrays.sparse_rewards = Some(at(0, 1.0));
    arrays.discounts = at(frames - 1, 0.0);
    Episode::from_arrays(arrays).unwrap().save(&file).unwrap();
    let found = open(&file, &mapped(&[("first", "sparse_reward")])).unwrap();
    assert_eq!(found.episodes.len(), 1);
    assert_eq!(found.episodes[0].series().discounts(), at(frames - 1, 0.0));
}

/// What cannot be read is told with its remedy, and by one sentence a file.
#[test]
fn hdf5_that_cannot_be_read_says_why() {
    let blosc =
        "`pixels` is packed by Blosc (filter 32001), expected deflate, LZF or nothing: `h5repack";
    let half = "`reward` has elements other(f16), expected integers, or floats of 32 or 64 bits";
    for (name, expected) in [("swm_blosc.h5", blosc), ("swm_half.h5", half)] {
        let error = open(&data(name), &Options::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// A copy of a file, in which `old` is written `new`, as many bytes.
fn rewritten(name: &str, old: &str, new: &str) -> (tempfile::TempDir, PathBuf) {
    assert_eq!(old.len(), new.len());
    let mut bytes = fs::read(data(name)).unwrap();
    let places = bytes.windows(old.len()).enumerate();
    let places = places.filter(|(_, found)| *found == old.as_bytes());
    let places: Vec<_> = places.map(|(place, _)| place).collect();
    for &place in &places {
        bytes[place..place + old.len()].copy_from_slice(new.as_bytes());
    }
    assert!(!places.is_empty(), "{name}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, bytes).unwrap();
    (folder, file)
}

/// Whatever its arrays are called. (Those of HDF5 lie in the order of their names, and must stay there.)
#[test]
fn a_file_with_another_name_of_an_array_is_of_its_format() {
    for (name, key, old, new) in [
        ("dreamerv3.npz", "action", "action.npy", "motion.npy"),
        ("dreamerv3.npz", "first", "is_first.npy", "is_start.npy"),
        ("ogbench.npz", "last", "terminals.npy", "timelimit.npy"),
        ("swm.h5", "length", "ep_len", "ep_lem"),
        ("swm.h5", "offset", "ep_offset", "ep_origin"),
        ("vd4rl.hdf5", "action", "action", "actioN"),
        ("vd4rl.hdf5", "first", "step_type", "step_typo"),
    ] {
        let (_folder, file) = rewritten(name, old, new);
        let told = new.trim_end_matches(".npy");
        let found = open(&file, &mapped(&[(key, told)])).unwrap();
        let expected = read(name, &Options::default());
        assert_eq!(found.episodes.len(), expected.episodes.len(), "{name}");
        for (found, expected) in found.episodes.iter().zip(&expected.episodes) {
            assert_eq!(found.series(), expected.series(), "{name}, {key}");
        }
    }
}

#[test]
fn v_d4rl() {
    assert_read("vd4rl.hdf5", &Options::default(), &ENDS);
    let found = read("vd4rl.npz", &Options::default());
    let kept = Kept {
        rewards: true,
        terminal: [true, false],
    };
    assert_episode("vd4rl.npz", 0, found.episodes[0].as_ref(), &kept);
}

#[test]
fn stable_worldmodel() {
    for name in ["swm.h5", "swm_lzf.h5", "swm_plain.h5"] {
        assert_read(name, &Options::default(), &ENDS);
    }
}

#[test]
fn minari() {
    assert_read("minari", &Options::default(), &ENDS);
    assert_read("minari/data/main_data.hdf5", &Options::default(), &ENDS);
    let named = mapped(&[("image", "observations/pixels")]);
    assert_read("minari_dict", &named, &ENDS);
}

#[cfg(feature = "lerobot")]
#[test]
fn lerobot() {
    let kept = Kept {
        rewards: true,
        terminal: [false, false],
    };
    assert_read("lerobot", &Options::default(), &kept);
    let nowhere = problem("lerobot", &mapped(&[("image", "front")]));
    assert!(
        nowhere.contains("`front`") && nowhere.contains("episode_index"),
        "{nowhere}"
    );
    let unpaid = problem("lerobot", &mapped(&[("reward", "nowhere")]));
    assert!(unpaid.contains("`nowhere`"), "{unpaid}");
}

#[cfg(not(feature = "lerobot"))]
#[test]
fn lerobot_is_told_to_be_left_out() {
    let message = problem("lerobot", &Options::default());
    assert!(message.contains("--features lerobot"), "{message}");
}

#[test]
fn folders_of_frames() {
    let found = read("frames", &Options::default());
    assert_episode("frames", 0, found.episodes[0].as_ref(), &ENDS);
    let pictures = Episode::read(found.episodes[1].as_ref()).unwrap();
    assert_eq!((pictures.len(), pictures.image_width()), (3, 16));
    for t in 0..3 {
        let image = pictures.image(t);
        let apart = |&byte: &u8| byte.abs_diff(40 * t as u8);
        assert!(
            image.pixels().iter().map(apart).max() <= Some(2),
            "JPEG {t}"
        );
    }
    assert_eq!(found.files.len(), 10);
    let told = problem("frames", &mapped(&[("action", "action_0")]));
    assert!(
        told.contains("--map action") && told.contains("fixed names"),
        "{told}"
    );
}

#[test]
fn a_folder_holds_files_of_several_formats() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["swm.h5", "vd4rl.npz", "ogbench.npz"] {
        fs::copy(data(name), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("broken.hdf5"), b"\x89HDF\r\n\x1a\n").unwrap();
    fs::write(folder.path().join("._ogbench.npz"), b"").unwrap();
    let found = open(folder.path(), &Options::default()).unwrap();
    assert_eq!(found.episodes.len(), 5);
    assert_eq!(found.files.len(), 3);
    assert_eq!(found.skipped.len(), 1, "{:?}", found.skipped);
    assert!(found.skipped[0].0.path.ends_with("broken.hdf5"));
}

/// The message where something is not as the format says.
fn problem(name: &str, options: &Options) -> String {
    open(&data(name), options).unwrap_err().to_string()
}

#[test]
fn errors_name_the_array_and_say_what_to_do() {
    let dictionary = problem("minari_dict", &Options::default());
    assert!(
        dictionary.contains("`observations`") && dictionary.contains("--map image="),
        "{dictionary}"
    );
    let elsewhere = problem("swm.h5", &mapped(&[("image", "nowhere")]));
    assert!(
        elsewhere.contains("`nowhere`") && elsewhere.contains("pixels"),
        "{elsewhere}"
    );
    let numbers = problem("swm.h5", &mapped(&[("image", "action")]));
    assert!(numbers.contains("uint8"), "{numbers}");
    // Where arrays may be missing, none is taken for what was told.
    for (name, key) in [
        ("ogbench.npz", "reward"),
        ("swm.h5", "terminal"),
        ("vd4rl.hdf5", "discount"),
        ("vd4rl.npz", "discount"),
        ("minari", "terminal"),
    ] {
        let missing = problem(name, &mapped(&[(key, "nowhere")]));
        assert!(missing.contains("`nowhere`"), "{name}: {missing}");
    }
    let group = problem("minari", &mapped(&[("terminal", "nowhere")]));
    assert!(group.contains("group `episode_0`"), "{group}");
    let unknown = problem("ogbench.npz", &mapped(&[("picture", "observations")]));
    assert!(
        unknown.contains("picture") && unknown.contains("image, action"),
        "{unknown}"
    );
    let lines = problem("swm.h5", &mapped(&[("action", "ep_len")]));
    assert!(lines.contains("2 rows, expected 8"), "{lines}");
    let more = problem("swm.h5", &mapped(&[("length", "step_idx")]));
    assert!(more.contains("`step_idx` has 8 rows, expected 2"), "{more}");
    let pairs = problem("dreamerv3.npz", &mapped(&[("reward", "action")]));
    assert!(pairs.contains("one number a row"), "{pairs}");
    let both = [("length", "step_idx"), ("offset", "step_idx")];
    let overlapping = problem("swm.h5", &mapped(&both));
    assert!(overlapping.contains("1..2 and 1..2 of 8"), "{overlapping}");
    let beyond = problem("swm.h5", &mapped(&[("length", "ep_offset")]));
    assert!(beyond.contains("rows 0 to 0 of 8"), "{beyond}");
}

/// Found by the mutation tests: a piece that claims 2.8 GB of a small file, which the library would
/// have made room for.
#[test]
fn a_piece_beyond_the_file_is_refused() {
    let message = problem("claims_a_huge_chunk.h5", &Options::default());
    assert!(
        message.contains("claims") && message.contains("bytes"),
        "{message}"
    );
}

/// Any cut and many a changed byte: an error or a value, never a panic or a large allocation.
#[test]
fn damaged_files_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "swm.h5",
        "vd4rl.hdf5",
        "dreamerv3.npz",
        "ogbench_stored.npz",
    ] {
        let bytes = fs::read(data(name)).unwrap();
        let path = folder.path().join(name);
        let mut accepted = 0;
        // A linear congruential generator: Knuth's.
        let mut state = 1_u64;
        let mut below = |limit: usize| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as usize % limit
        };
        for round in 0..400 {
            let mut damaged = bytes.clone();
            if round % 4 == 0 {
                damaged.truncate(below(bytes.len()));
            }
            for _ in 0..=below(8) {
                let place = below(damaged.len().max(1));
                if let Some(byte) = damaged.get_mut(place) {
                    *byte = below(256) as u8;
                }
            }
            fs::write(&path, &damaged).unwrap();
            if let Ok(mut found) = open(&path, &Options::default()) {
                found.remove_damaged();
                accepted += usize::from(!found.episodes.is_empty());
            }
        }
        assert!((1..400).contains(&accepted), "{name}: {accepted} accepted");
    }
}
