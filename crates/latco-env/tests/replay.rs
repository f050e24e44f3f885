//! What the replay draws.

use std::fs;
use std::sync::Arc;

use latco_env::{
    ActionSpace, ChaCha8Rng, Episode, EpisodeArrays, EpisodeFolder, NpzEpisode, Recorded, Replay,
    ReplayError,
};
use rand_chacha::rand_core::SeedableRng;

/// An episode whose images and actions tell their frame, rewarded in the given frames.
fn episode(length: usize, rewarded: &[usize]) -> Episode {
    let mut rewards = vec![0.0; length];
    for &frame in rewarded {
        rewards[frame] = 1.0;
    }
    with_rewards(rewards, ActionSpace::unit(1))
}

fn with_rewards(rewards: Vec<f32>, action_space: ActionSpace) -> Episode {
    let length = rewards.len();
    Episode::from_arrays(EpisodeArrays {
        image_height: 1,
        image_width: 1,
        cameras: 1,
        action_space,
        images: (0..length).flat_map(|t| [t as u8; 3]).collect(),
        actions: (0..length).map(|t| t as f32).collect(),
        rewards,
        discounts: vec![1.0; length],
        sparse_rewards: None,
    })
    .unwrap()
}

fn replay(episodes: impl IntoIterator<Item = Episode>) -> Replay {
    let mut replay = Replay::new(100_000).unwrap();
    for episode in episodes {
        replay.push(episode).unwrap();
    }
    replay
}

fn random() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// Of what is added, the oldest goes first; the recordings and the newest stay.
#[test]
fn recordings_are_never_dropped() {
    let recordings = [30, 40].map(|length| Arc::new(episode(length, &[])) as Arc<dyn Recorded>);
    let mut replay = Replay::beside(recordings, 25).unwrap();
    let lengths = |replay: &Replay| -> Vec<usize> {
        let episodes = replay.episodes();
        episodes.map(|episode| episode.series().len()).collect()
    };
    assert_eq!(lengths(&replay), [30, 40]);
    for length in [10, 12, 14] {
        replay.push(episode(length, &[])).unwrap();
    }
    assert_eq!(lengths(&replay), [30, 40, 14]);
    replay.push(episode(11, &[])).unwrap();
    assert_eq!(lengths(&replay), [30, 40, 14, 11]);
    replay.push(episode(90, &[])).unwrap();
    assert_eq!(lengths(&replay), [30, 40, 90]);
    assert_eq!(replay.len_steps(), 160);
}

#[test]
fn rows_are_successive_frames() {
    let replay = replay([episode(12, &[7]), episode(20, &[])]);
    let batch = replay.sample_sequences(&mut random(), 64, 5, 0.25).unwrap();
    assert_eq!(batch.images.len(), 64 * 5 * 3);
    for row in 0..64 {
        let actions = &batch.actions[5 * row..5 * (row + 1)];
        assert!(actions.windows(2).all(|pair| pair[1] == pair[0] + 1.0));
        assert_eq!(batch.is_first[row], actions[0] == 0.0);
        let shades: Vec<f32> = batch.images[15 * row..15 * (row + 1)]
            .iter()
            .step_by(3)
            .map(|&shade| f32::from(shade))
            .collect();
        assert_eq!(shades, actions);
    }
}

#[test]
fn starts_are_uniform() {
    let replay = replay([episode(5, &[]), episode(10, &[]), episode(6, &[])]);
    let batch = replay
        .sample_sequences(&mut random(), 9000, 5, 0.0)
        .unwrap();
    // One start in the first episode, six in the second, two in the third.
    let mut counts = [0_usize; 6];
    for start in batch.actions.iter().step_by(5) {
        counts[*start as usize] += 1;
    }
    for (start, expected) in [3000, 2000, 1000, 1000, 1000, 1000].into_iter().enumerate() {
        assert!(counts[start].abs_diff(expected) < 200, "{counts:?}");
    }
    assert!(batch.mask.iter().all(|&recorded| recorded == 1.0));
}

#[test]
fn short_episodes_are_filled_up_and_marked() {
    let replay = replay([episode(3, &[1])]);
    for share in [0.0, 1.0] {
        let batch = replay.sample_sequences(&mut random(), 2, 5, share).unwrap();
        for row in 0..2 {
            let steps = 5 * row..5 * (row + 1);
            assert_eq!(batch.mask[steps.clone()], [1.0, 1.0, 1.0, 0.0, 0.0]);
            assert_eq!(batch.actions[steps.clone()], [0.0, 1.0, 2.0, 0.0, 0.0]);
            assert_eq!(batch.rewards[steps], [0.0, 1.0, 0.0, 0.0, 0.0]);
            let images = &batch.images[15 * row..15 * (row + 1)];
            assert_eq!(images[6..], [2; 9]);
            assert!(batch.is_first[row]);
        }
    }
}

#[test]
fn actions_are_normalised_by_the_bounds() {
    let space = ActionSpace::new(vec![0.0], vec![8.0]).unwrap();
    let replay = replay([with_rewards(vec![0.0; 9], space)]);
    let batch = replay.sample_sequences(&mut random(), 1, 9, 0.0).unwrap();
    let expected: Vec<f32> = (0..9).map(|t| t as f32 / 4.0 - 1.0).collect();
    assert_eq!(batch.actions, expected);
}

#[test]
fn rewarded_is_what_is_above_the_usual() {
    let share = |rewards: &[f32]| {
        let episode = with_rewards(rewards.to_vec(), ActionSpace::unit(1));
        replay([episode]).rewarded_frames()
    };
    // A price for every step until the task is solved; the reset has no reward of its own.
    assert_eq!(
        share(&[0.0, -1.0, -1.0, -1.0, -1.0, -1.0, 0.0, -1.0]),
        1.0 / 8.0
    );
    // Solved most of the time.
    assert_eq!(share(&[0.0, 0.0, 1.0, 1.0, 1.0]), 3.0 / 5.0);
    // The better half of a dense reward.
    assert_eq!(share(&[0.0, 0.1, 0.2, 0.3, 0.4]), 1.0 / 5.0);
    assert_eq!(share(&[0.0, 1.0, 1.0, 1.0]), 0.0);
    assert_eq!(share(&[0.0]), 0.0);
}

#[test]
fn the_rewarded_share_contains_reward() {
    let replay = replay((0..50).map(|n| episode(40, if n == 7 { &[1, 20, 39] } else { &[] })));
    let rewarded = |share| {
        let batch = replay
            .sample_sequences(&mut random(), 400, 8, share)
            .unwrap();
        let rows = batch.rewards.chunks_exact(8);
        rows.filter(|row| row.contains(&1.0)).count()
    };
    assert!(rewarded(0.0) < 20);
    assert!((100..120).contains(&rewarded(0.25)));
    assert_eq!(rewarded(1.0), 400);
    assert!((replay.rewarded_frames() - 3.0 / 2000.0).abs() < 1e-6);
}

#[test]
fn without_reward_all_rows_are_uniform() {
    let replay = replay([episode(10, &[])]);
    assert!(replay.sample_sequences(&mut random(), 16, 10, 1.0).is_ok());
}

#[test]
fn the_oldest_episodes_are_dropped() {
    let mut replay = Replay::new(25).unwrap();
    for length in [10, 11, 12] {
        replay.push(Arc::new(episode(length, &[]))).unwrap();
    }
    assert_eq!(replay.len_steps(), 23);
    let lengths: Vec<usize> = (replay.episodes())
        .map(|episode| episode.series().len())
        .collect();
    assert_eq!(lengths, [11, 12]);
    replay.push(episode(90, &[])).unwrap();
    assert_eq!((replay.len_steps(), replay.episodes().len()), (90, 1));
}

#[test]
fn the_same_generator_state_draws_the_same_batch() {
    let replay = replay([episode(30, &[12])]);
    let mut first = random();
    replay.sample_sequences(&mut first, 4, 6, 0.5).unwrap();
    let state = serde_json::to_string(&first).unwrap();
    let mut resumed: ChaCha8Rng = serde_json::from_str(&state).unwrap();
    assert_eq!(
        replay.sample_sequences(&mut first, 4, 6, 0.5),
        replay.sample_sequences(&mut resumed, 4, 6, 0.5)
    );
}

#[test]
fn bad_requests_are_typed_errors() {
    let mut replay = replay([episode(10, &[])]);
    assert!(matches!(
        Replay::new(10)
            .unwrap()
            .sample_sequences(&mut random(), 4, 11, 0.0),
        Err(ReplayError::Empty)
    ));
    for (batch, length, share) in [(0, 5, 0.0), (4, 0, 0.0), (4, 5, 1.5), (4, 5, f32::NAN)] {
        assert!(matches!(
            replay.sample_sequences(&mut random(), batch, length, share),
            Err(ReplayError::Argument { .. })
        ));
    }
    let other = EpisodeArrays {
        image_height: 2,
        image_width: 1,
        cameras: 1,
        action_space: ActionSpace::unit(1),
        images: vec![0; 6],
        actions: vec![0.0],
        rewards: vec![0.0],
        discounts: vec![1.0],
        sparse_rewards: None,
    };
    let other = Episode::from_arrays(other).unwrap();
    assert!(matches!(
        replay.push(other),
        Err(ReplayError::Mismatch { .. })
    ));
    let space = ActionSpace::new(vec![-2.0], vec![2.0]).unwrap();
    let message = replay.push(with_rewards(vec![0.0], space)).unwrap_err();
    assert!(
        message.to_string().contains("range of actions"),
        "{message}"
    );
}

/// An episode whose images are read from an archive, compressed or not, when they are drawn.
#[test]
fn images_on_disk_are_drawn_as_those_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let episodes: Vec<Episode> = (0..4).map(|n| episode(9 + 5 * n, &[n + 3])).collect();
    let expected = replay(episodes.iter().cloned()).sample_sequences(&mut random(), 32, 6, 0.25);
    let mut compressed = Replay::new(1000).unwrap();
    let mut stored = Replay::new(1000).unwrap();
    for (index, episode) in episodes.iter().enumerate() {
        let path = folder.path().join(format!("{index}.npz"));
        episode.save(&path).unwrap();
        let plain = folder.path().join(format!("{index}-stored.npz"));
        episode.save_stored(&plain).unwrap();
        for (replay, path) in [(&mut compressed, &path), (&mut stored, &plain)] {
            let opened = NpzEpisode::open(path).unwrap();
            assert!(!opened.is_in_memory());
            replay
                .extend([Arc::new(opened) as Arc<dyn Recorded>])
                .unwrap();
        }
    }
    for replay in [&compressed, &stored] {
        assert_eq!(
            replay.sample_sequences(&mut random(), 32, 6, 0.25),
            expected
        );
    }
    // What is gone is named, not a panic.
    fs::remove_file(folder.path().join("3.npz")).unwrap();
    let error = compressed.sample_sequences(&mut random(), 32, 6, 0.25);
    assert!(
        matches!(&error, Err(ReplayError::Images { reason }) if reason.contains("3.npz")),
        "{error:?}"
    );
}

#[test]
fn damaged_images_are_found_wherever_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    episode(40, &[]).save(&path).unwrap();
    let plain = folder.path().join("b.npz");
    episode(40, &[]).save_stored(&plain).unwrap();
    let opened = NpzEpisode::open(&plain).unwrap();
    opened.each_image(&mut |_| {}).unwrap();
    // The images are the first array, of 120 bytes behind a header of 128.
    let mut bytes = fs::read(&plain).unwrap();
    bytes[200] ^= 1;
    fs::write(&plain, bytes).unwrap();
    assert!(opened.each_image(&mut |_| {}).is_err());
    assert!(Episode::load(&plain).is_err());
    let mut found = EpisodeFolder::open(folder.path())
        .unwrap()
        .open_all()
        .unwrap();
    assert_eq!(found.remove_damaged(), [1]);
    assert_eq!((found.episodes.len(), found.skipped.len()), (1, 1));
}
