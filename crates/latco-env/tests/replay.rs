//! What the replay draws.

use std::sync::Arc;

use latco_env::{ChaCha8Rng, Episode, EpisodeArrays, Replay, ReplayError};
use rand_chacha::rand_core::SeedableRng;

/// An episode whose images and actions tell their frame, rewarded in the given frames.
fn episode(length: usize, rewarded: &[usize]) -> Episode {
    let mut rewards = vec![0.0; length];
    for &frame in rewarded {
        rewards[frame] = 1.0;
    }
    Episode::from_arrays(EpisodeArrays {
        image_height: 1,
        image_width: 1,
        action_size: 1,
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
fn starts_are_uniform_and_short_episodes_are_left_out() {
    let replay = replay([episode(4, &[]), episode(10, &[]), episode(6, &[])]);
    let batch = replay
        .sample_sequences(&mut random(), 8000, 5, 0.0)
        .unwrap();
    // Six starts in the second episode and two in the third: 0 and 1 twice as often as 2 to 5.
    let mut counts = [0_usize; 6];
    for start in batch.actions.iter().step_by(5) {
        counts[*start as usize] += 1;
    }
    for (start, expected) in [2000, 2000, 1000, 1000, 1000, 1000].into_iter().enumerate() {
        assert!(counts[start].abs_diff(expected) < 150, "{counts:?}");
    }
}

#[test]
fn the_rewarded_share_contains_reward() {
    let replay = replay((0..50).map(|n| episode(40, if n == 7 { &[0, 20, 39] } else { &[] })));
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
    let lengths: Vec<usize> = replay.episodes().map(|episode| episode.len()).collect();
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
        replay.sample_sequences(&mut random(), 4, 11, 0.0),
        Err(ReplayError::TooShort {
            length: 11,
            episodes: 1,
            longest: 10
        })
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
        action_size: 1,
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
    assert!(Replay::new(0).is_err());
}
