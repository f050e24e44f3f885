//! LeRobot's videos, which `data/make_videos.py` wrote, and the data sets that are written here.
#![cfg(feature = "lerobot")]

use std::fs;
use std::path::{Path, PathBuf};

use latco_env::{ActionSpace, Episode, EpisodeArrays};
use latco_formats::{LeRobotSettings, LeRobotWriter, Options, open};

const LENGTHS: [usize; 2] = [5, 3];
const SIDE: usize = 64;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn camera(name: &str) -> Options {
    Options {
        map: [("image".to_owned(), name.to_owned())].into(),
    }
}

/// Every frame has a colour of its own above, and is grey below.
fn assert_shows(what: &str, pixels: &[u8], e: usize, t: usize) {
    let top = [40 + 30 * t, 90 + 60 * e, 200 - 30 * t].map(|value| value as u8);
    // The coding is lossy, most of all where the colours meet: ffmpeg shows frames up to 5 apart.
    for (row, expected) in [
        (4, top),
        (SIDE / 2 - 8, top),
        (SIDE / 2 + 8, [128; 3]),
        (SIDE - 4, [128; 3]),
    ] {
        for column in [2, SIDE / 2, SIDE - 3] {
            let start = 3 * (row * SIDE + column);
            let got = &pixels[start..start + 3];
            let apart = got
                .iter()
                .zip(expected)
                .map(|(&got, want)| got.abs_diff(want));
            assert!(
                apart.max() <= Some(6),
                "{what}, episode {e}, frame {t}, row {row}: {got:?}, expected {expected:?}"
            );
        }
    }
}

#[test]
fn videos_show_the_frames_of_their_rows() {
    for (name, options) in [
        ("lerobot_videos", Options::default()),
        ("lerobot_videos_v2", camera("front")),
    ] {
        let found = open(&data(name), &options).unwrap();
        assert_eq!(found.episodes.len(), 2, "{name}");
        for (e, recorded) in found.episodes.iter().enumerate() {
            let episode = Episode::read(recorded.as_ref()).unwrap();
            assert_eq!(episode.len(), LENGTHS[e], "{name}");
            for t in 0..episode.len() {
                assert_shows(name, episode.image(t).pixels(), e, t);
                let alone = recorded.images(t..t + 1).unwrap();
                assert_shows(name, &alone, e, t);
                let action = match t {
                    0 => [0.0, 0.0],
                    t => [e as f32 + t as f32 / 8.0, -(t as f32) / 8.0],
                };
                assert_eq!(episode.action(t), action, "{name}, episode {e}, frame {t}");
                assert_eq!(episode.rewards()[t], t as f32 / 4.0);
            }
        }
        let videos = found
            .files
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == "mp4"));
        assert_eq!(videos.count(), if name == "lerobot_videos" { 1 } else { 2 });
    }
}

#[test]
fn other_encodings_and_cameras_are_named() {
    let problem = |options: &Options| {
        open(&data("lerobot_videos_v2"), options)
            .unwrap_err()
            .to_string()
    };
    let several = problem(&Options::default());
    assert!(
        several.contains("front, side") && several.contains("--map image="),
        "{several}"
    );
    let h264 = problem(&camera("side"));
    assert!(
        h264.contains("not AV1") && h264.contains("episode_000000.mp4"),
        "{h264}"
    );
}

/// What happens to a file.
type Change = fn(&mut Vec<u8>);

/// A copy of a data set, whose first video is changed.
fn changed(change: Change) -> (tempfile::TempDir, Result<(), String>) {
    let folder = tempfile::tempdir().unwrap();
    copy(&data("lerobot_videos"), folder.path());
    let video = folder
        .path()
        .join("videos/observation.image/chunk-000/file-000.mp4");
    let mut bytes = fs::read(&video).unwrap();
    change(&mut bytes);
    fs::write(&video, bytes).unwrap();
    let found = open(folder.path(), &Options::default());
    let read = found.map_err(|error| error.to_string()).and_then(|found| {
        let read = found
            .episodes
            .iter()
            .map(|e| Episode::read(e.as_ref()).map(|_| ()));
        read.collect::<Result<(), _>>()
            .map_err(|error| error.to_string())
    });
    (folder, read)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

#[test]
fn a_damaged_video_is_an_error_that_names_it() {
    let half = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let no_contents = |bytes: &mut Vec<u8>| {
        let at = bytes.windows(4).position(|name| name == b"moov").unwrap();
        bytes[at..at + 4].copy_from_slice(b"free");
    };
    let far_away = |bytes: &mut Vec<u8>| {
        let at = bytes.windows(4).position(|name| name == b"stco").unwrap();
        bytes[at + 12..at + 16].copy_from_slice(&[0x7f; 4]);
    };
    let many_samples = |bytes: &mut Vec<u8>| {
        let at = bytes.windows(4).position(|name| name == b"stsz").unwrap();
        bytes[at + 8..at + 16].copy_from_slice(&[0xff; 8]);
    };
    let noise = |bytes: &mut Vec<u8>| {
        let at = bytes.windows(4).position(|name| name == b"mdat").unwrap();
        bytes[at + 4..at + 200].fill(0x5a);
    };
    let changes: [(&str, Change); 5] = [
        ("half", half),
        ("no contents", no_contents),
        ("far away", far_away),
        ("many samples", many_samples),
        ("noise", noise),
    ];
    for (what, change) in changes {
        let (_folder, read) = changed(change);
        let error = read.expect_err(what);
        assert!(error.contains("file-000.mp4"), "{what}: {error}");
    }
}

/// Not read from another episode's place.
#[test]
fn an_episode_without_a_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    copy(&data("lerobot_videos"), folder.path());
    fs::remove_dir_all(folder.path().join("meta/episodes")).unwrap();
    let found = open(folder.path(), &Options::default());
    let message = found.unwrap_err().to_string();
    assert!(
        message.contains("meta/episodes") && message.contains("episode 0"),
        "{message}"
    );
}

#[test]
fn hidden_files_are_no_recordings() {
    let folder = tempfile::tempdir().unwrap();
    copy(&data("lerobot_videos"), folder.path());
    fs::write(
        folder.path().join("data/chunk-000/._file-000.parquet"),
        b"junk",
    )
    .unwrap();
    assert_eq!(
        open(folder.path(), &Options::default())
            .unwrap()
            .episodes
            .len(),
        2
    );
}

#[test]
fn videos_outside_the_data_set_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    copy(&data("lerobot_videos"), folder.path());
    let info = folder.path().join("meta/info.json");
    let text = fs::read_to_string(&info).unwrap();
    fs::write(&info, text.replace("videos/{video_key}", "../{video_key}")).unwrap();
    let error = open(folder.path(), &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("video_path") && error.contains("info.json"),
        "{error}"
    );
}

/// Nor do the names of cameras lead out of the data set.
#[test]
fn a_camera_outside_the_data_set_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    copy(&data("lerobot_videos"), folder.path());
    let info = folder.path().join("meta/info.json");
    let text = fs::read_to_string(&info).unwrap();
    let outside = text.replace("observation.image", "../../elsewhere");
    fs::write(&info, outside).unwrap();
    let error = open(folder.path(), &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("video_path") && error.contains("info.json"),
        "{error}"
    );
}

#[test]
fn a_video_that_ends_before_its_rows_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    copy(&data("lerobot_videos_v2"), folder.path());
    let videos = folder.path().join("videos/chunk-000/front");
    fs::copy(
        videos.join("episode_000001.mp4"),
        videos.join("episode_000000.mp4"),
    )
    .unwrap();
    let found = open(folder.path(), &camera("front")).unwrap();
    let error = Episode::read(found.episodes[0].as_ref())
        .unwrap_err()
        .to_string();
    assert!(error.contains("3 rows, expected 5"), "{error}");
}

fn episode(e: usize, cameras: usize, action_size: usize) -> Episode {
    let length = LENGTHS[e];
    let count = |size: usize| (0..length * size).map(move |i| i as f32 / 8.0 + e as f32);
    let after_first = |size: usize| {
        let mut values: Vec<f32> = count(size).collect();
        values[..size].fill(0.0);
        values
    };
    Episode::from_arrays(EpisodeArrays {
        image_height: 4,
        image_width: 6 * cameras,
        cameras,
        action_space: ActionSpace::unit(action_size),
        images: (0..length * 4 * 6 * cameras * 3)
            .map(|i| (7 * i + e) as u8)
            .collect(),
        actions: after_first(action_size),
        rewards: after_first(1),
        discounts: vec![1.0; length],
        sparse_rewards: None,
    })
    .unwrap()
}

fn settings() -> LeRobotSettings {
    LeRobotSettings {
        fps: 10,
        task: "push the block".to_owned(),
    }
}

fn written(episodes: &[Episode]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = LeRobotWriter::create(folder.path(), settings()).unwrap();
    for episode in episodes {
        writer.add(episode).unwrap();
    }
    writer.finish().unwrap();
    folder
}

#[test]
fn what_is_written_is_read_again() {
    for action_size in [1, 3] {
        let episodes = [episode(0, 1, action_size), episode(1, 1, action_size)];
        let folder = written(&episodes);
        let found = open(folder.path(), &Options::default()).unwrap();
        let read = found
            .episodes
            .iter()
            .map(|e| Episode::read(e.as_ref()).unwrap());
        assert_eq!(read.collect::<Vec<_>>(), episodes);
    }
}

#[test]
fn each_camera_is_a_feature() {
    let folder = written(&[episode(0, 2, 2)]);
    let images = ["observation.images.0", "observation.images.1"].map(|name| {
        let found = open(folder.path(), &camera(name)).unwrap();
        Episode::read(found.episodes[0].as_ref()).unwrap().image(1)
    });
    let both = latco_env::Image::side_by_side(&images).unwrap();
    assert_eq!(both, episode(0, 2, 2).image(1));
}

#[test]
fn the_description_counts_episodes_frames_and_figures() {
    let folder = written(&[episode(0, 1, 2), episode(1, 1, 2)]);
    let json = |name: &str| -> serde_json::Value {
        let text = fs::read_to_string(folder.path().join("meta").join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let info = json("info.json");
    assert_eq!(info["codebase_version"], "v3.0");
    assert_eq!(
        (&info["total_episodes"], &info["total_frames"]),
        (&2.into(), &8.into())
    );
    assert_eq!(
        info["features"]["observation.image"]["shape"],
        serde_json::json!([4, 6, 3])
    );
    let figures = json("stats.json");
    assert_eq!(figures["next.reward"]["count"], serde_json::json!([8]));
    // Beside the image that they lead from: 1/8 to 4/8, 0; 9/8, 10/8, 0.
    assert_eq!(figures["next.reward"]["max"], serde_json::json!([1.25]));
    assert_eq!(
        figures["next.reward"]["mean"],
        serde_json::json!([(1.25 + 2.375) / 8.0])
    );
}

#[test]
fn episodes_of_another_size_are_refused_and_nothing_is_a_data_set_before_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = LeRobotWriter::create(folder.path(), settings()).unwrap();
    writer.add(&episode(0, 1, 2)).unwrap();
    let error = writer.add(&episode(1, 2, 2)).unwrap_err().to_string();
    assert!(
        error.contains("12x4 pixels of 2 cameras") && error.contains("--size"),
        "{error}"
    );
    assert!(!folder.path().join("meta/info.json").exists());
    writer.finish().unwrap();
    assert_eq!(
        open(folder.path(), &Options::default())
            .unwrap()
            .episodes
            .len(),
        1
    );
    let none = LeRobotWriter::create(&folder.path().join("none"), settings()).unwrap();
    assert!(
        none.finish()
            .unwrap_err()
            .to_string()
            .contains("no episodes")
    );
    let still = LeRobotSettings {
        fps: 0,
        ..settings()
    };
    let none = LeRobotWriter::create(&folder.path().join("still"), still);
    assert!(none.is_err_and(|error| error.to_string().contains("0 frames a second")));
}
