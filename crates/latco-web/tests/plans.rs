//! The plans that the page must make too: `web/tests/plans.json` has them as they are made here, and
//! `web/tests/browser.mjs` compares it with what comes out in a browser.
//!
//! `LATCO_WRITE_PLANS=1 cargo test --test plans` writes them anew.

use std::{fs, path::PathBuf};

use latco_web::{Playground, Setup};
use serde::{Deserialize, Serialize};

/// The largest difference of an action: rounding alone differs.
const TOLERANCE: f32 = 1e-3;

/// The first plan of an episode.
#[derive(Serialize, Deserialize)]
struct FirstPlan {
    task: String,
    /// Within the checkout.
    checkpoint: String,
    setup: serde_json::Value,
    seed: u64,
    rollout: f32,
    actions: Vec<f32>,
}

fn checkout(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn cases() -> Vec<(&'static str, &'static str, serde_json::Value)> {
    let reach = "web/models/reach.safetensors";
    let two_room = "assets/checkpoints/two-room.safetensors";
    let latco = serde_json::json!({"planner": "latco", "settings": {"samples": 512}});
    let icem = serde_json::json!({"planner": "icem"});
    let paper = serde_json::json!({"planner": "latco-paper"});
    vec![
        ("reach", reach, latco.clone()),
        ("reach", reach, paper),
        ("reach", reach, icem),
        ("two-room", two_room, latco),
    ]
}

fn first_plan(task: &str, checkpoint: &str, setup: &serde_json::Value, seed: u64) -> FirstPlan {
    let parsed: Setup = serde_json::from_value(setup.clone()).unwrap();
    let bytes = fs::read(checkout(checkpoint)).unwrap();
    let mut playground = Playground::new(task, bytes, parsed).unwrap();
    playground.reset(seed).unwrap();
    let report = playground.think(false, &mut |_| ()).unwrap().unwrap();
    let actions = playground.plan().unwrap().actions.clone();
    FirstPlan {
        task: task.to_owned(),
        checkpoint: checkpoint.to_owned(),
        setup: setup.clone(),
        seed,
        rollout: report.rollout,
        actions: actions.to_data_as::<f32>().iter().collect(),
    }
}

#[test]
fn the_plans_of_the_page_are_those_made_here() {
    let file = checkout("web/tests/plans.json");
    let made: Vec<_> = cases()
        .iter()
        .map(|(task, checkpoint, setup)| first_plan(task, checkpoint, setup, 7))
        .collect();
    if std::env::var_os("LATCO_WRITE_PLANS").is_some() {
        fs::write(&file, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let kept: Vec<FirstPlan> = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept.len(), made.len());
    for (kept, made) in kept.iter().zip(&made) {
        assert_eq!((&kept.task, &kept.setup), (&made.task, &made.setup));
        assert_eq!(kept.actions.len(), made.actions.len());
        let pairs = kept.actions.iter().zip(&made.actions);
        let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let what = format!("{} by {}: {largest}", made.task, made.setup);
        assert!(
            largest <= TOLERANCE,
            "{what}: LATCO_WRITE_PLANS=1 writes the file anew"
        );
    }
}
