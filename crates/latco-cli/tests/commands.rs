//! Right calls: what each command prints and writes.

mod common;

use std::{collections::BTreeSet, fs, path::Path, process::Output};

use burn::tensor::Device;
use common::Fixtures;
use latco_env::{ActionSpace, Episode, Image};
use latco_model::{Precision, WorldModel, WorldModelConfig};
use serde_json::Value;
use tempfile::TempDir;

/// Runs a command that must succeed.
fn done(fixtures: &Fixtures, folder: &Path, arguments: &str) -> Output {
    let output = fixtures.latco(folder, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "latco {arguments}: {error}");
    output
}

/// Runs a command that must print one JSON value and nothing else.
fn json(fixtures: &Fixtures, folder: &Path, arguments: &str) -> Value {
    let output = done(fixtures, folder, &format!("{arguments} --json"));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn lists_are_arrays_of_names_and_descriptions() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    for (list, name) in [("envs", "reach"), ("planners", "cem")] {
        let entries = json(&fixtures, folder.path(), list);
        let entries = entries.as_array().unwrap();
        assert!(entries.iter().any(|entry| entry["name"] == name));
        for entry in entries {
            assert_eq!(keys(entry), BTreeSet::from(["about", "name"]));
        }
        assert!(text(&done(&fixtures, folder.path(), list)).contains(name));
    }
    assert!(
        !json(&fixtures, folder.path(), "devices")
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn problems_are_listed_with_the_defaults_of_their_arguments() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let entries = json(&fixtures, folder.path(), "problems");
    let names = "point effectors push door pendulum cartpole car quadrotor";
    let listed: Vec<_> = entries.as_array().unwrap().iter().collect();
    assert!(
        listed
            .iter()
            .map(|entry| &entry["name"])
            .eq(names.split(' '))
    );
    for entry in listed {
        assert_eq!(keys(entry), BTreeSet::from(["about", "arguments", "name"]));
        assert!(!entry["about"].as_str().unwrap().is_empty());
    }
    let defaults = serde_json::json!({"size": 4, "horizon": 100, "width": 0.2, "head": "gauss"});
    assert_eq!(entries[0]["arguments"], defaults);
    assert!(text(&done(&fixtures, folder.path(), "problems")).contains("quadrotor"));
}

#[test]
fn help_has_examples_and_version_a_number() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let commands = [
        "",
        "demo",
        "plan",
        "eval",
        "suite",
        "solve",
        "train",
        "collect",
        "inspect",
        "import",
        "export",
        "predict",
        "plot",
        "envs",
        "planners",
        "problems",
        "completions",
    ];
    for command in commands {
        let help = text(&done(
            &fixtures,
            folder.path(),
            &format!("{command} --help"),
        ));
        assert!(help.contains("Example"), "{command}");
        assert!(help.contains("--device"), "{command}");
    }
    let version = text(&done(&fixtures, folder.path(), "--version"));
    assert_eq!(
        version.trim(),
        format!("latco {}", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_planners_settings_are_shown_and_changed() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let shown = text(&done(&fixtures, folder.path(), "planners cem"));
    assert!(shown.contains("samples = 500"), "{shown}");
    let settings = json(&fixtures, folder.path(), "planners latco-gaussian");
    assert_eq!(settings["transcription"]["gaussian"]["samples"], 50);
    let call = "plan --checkpoint @model.safetensors --image @image.png --planner cem --horizon 3";
    let iterations = |changes: &str| {
        let plan = json(&fixtures, folder.path(), &format!("{call} {changes}"));
        plan["iterations"].as_u64().unwrap()
    };
    assert_eq!(iterations(""), 10);
    assert_eq!(iterations("--set iterations=2 --set samples=60"), 2);
}

#[test]
fn every_shell_gets_completions_that_know_the_options() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&done(
            &fixtures,
            folder.path(),
            &format!("completions {shell}"),
        ));
        assert!(script.contains("replan-every"), "{shell}");
        let report = json(&fixtures, folder.path(), &format!("completions {shell}"));
        assert_eq!(
            report["script"].as_str().map(str::trim),
            Some(script.trim())
        );
    }
}

#[test]
fn a_plan_is_reported_and_written_only_where_asked_to() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "plan --checkpoint @model.safetensors --image @image.png --planner cem --horizon 3";
    let plan = json(&fixtures, folder.path(), call);
    let expected = "planner device seed horizon actions virtual_reward rollout_reward \
                    violation_max robust_return uncertainty leaves_data iterations seconds stop";
    assert_eq!(keys(&plan), expected.split_whitespace().collect());
    let actions = plan["actions"].as_array().unwrap();
    assert_eq!(actions.len(), 3);
    for component in actions.iter().flat_map(|action| action.as_array().unwrap()) {
        assert!(component.as_f64().unwrap().abs() <= 1.0);
    }
    assert!(names(folder.path()).is_empty());
    let again = json(&fixtures, folder.path(), &format!("{call} --out a/b"));
    assert_eq!(again["actions"], plan["actions"]);
    assert_eq!(
        names(&folder.path().join("a/b")),
        ["imagined.gif", "plan.json", "plan.png"]
    );
    let written = fs::read(folder.path().join("a/b/plan.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), again);
    let random = call.replace("cem", "random");
    let of_seed = |seed| json(&fixtures, folder.path(), &format!("{random} --seed {seed}"));
    assert_eq!(of_seed(0)["actions"], of_seed(0)["actions"]);
    assert_ne!(of_seed(0)["actions"], of_seed(1)["actions"]);
    assert!(text(&done(&fixtures, folder.path(), call)).contains("rolled out"));
}

#[test]
fn every_planner_plans() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let planners = json(&fixtures, folder.path(), "planners");
    for planner in planners.as_array().unwrap() {
        let name = planner["name"].as_str().unwrap();
        let call = format!(
            "plan --checkpoint @model.safetensors --image @image.png --horizon 2 \
             --deadline-ms 300 --planner {name} --out {name}"
        );
        let plan = json(&fixtures, folder.path(), &call);
        assert_eq!(plan["planner"], name);
        assert_eq!(plan["horizon"], 2);
    }
}

#[test]
fn problems_are_solved_by_each_planner_with_each_seed() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "solve point --arg size=2 --arg horizon=10 --arg width=0.5 --arg head=cauchy \
                --planner random --planner cem --seeds 2 --seed 5";
    let solutions = json(&fixtures, folder.path(), call);
    let solutions = solutions.as_array().unwrap();
    let found: Vec<_> = solutions
        .iter()
        .map(|solution| {
            (
                solution["planner"].as_str().unwrap(),
                solution["seed"].as_u64(),
            )
        })
        .collect();
    let expected = [("random", 5), ("random", 6), ("cem", 5), ("cem", 6)];
    assert_eq!(found, expected.map(|(planner, seed)| (planner, Some(seed))));
    let expected = "problem settings planner seed rollout_reward virtual_reward violation_max \
                    seconds model_steps iterations stop";
    let arguments = serde_json::json!({"size": 2, "horizon": 10, "width": 0.5, "head": "cauchy"});
    for solution in solutions {
        assert_eq!(keys(solution), expected.split_whitespace().collect());
        assert_eq!(solution["problem"], "point");
        assert_eq!(solution["settings"], arguments);
        let reward = solution["rollout_reward"].as_f64().unwrap();
        assert!((0.0..=10.0).contains(&reward), "{reward}");
    }
    let [random, cem] = [0, 2].map(|index| solutions[index]["rollout_reward"].as_f64());
    assert!(random < cem, "{random:?}, {cem:?}");

    let again = json(&fixtures, folder.path(), call);
    for (again, before) in again.as_array().unwrap().iter().zip(solutions) {
        assert_eq!(again["rollout_reward"], before["rollout_reward"]);
    }
    let output = done(&fixtures, folder.path(), call);
    let table = text(&output);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.contains("point size=2 horizon=10 width=0.5 head=cauchy  cem"));
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(progress.contains("cem, seed 6"), "{progress}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn settings_change_the_planner_of_a_problem() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "solve door --arg horizon=5 --planner cem --set iterations=3 --set samples=50";
    let solutions = json(&fixtures, folder.path(), call);
    assert_eq!(solutions[0]["iterations"], 3);
    assert_eq!(solutions[0]["stop"], "iterations");
    let call =
        "solve pendulum --arg horizon=20 --planner cem --set iterations=100000 --deadline-ms 50";
    let solutions = json(&fixtures, folder.path(), call);
    assert_eq!(solutions[0]["stop"], "deadline");
}

#[test]
fn the_benchmark_is_compared_with_the_best_known() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "solve --benchmark --planner random";
    let solutions = json(&fixtures, folder.path(), call);
    let solutions = solutions.as_array().unwrap();
    assert_eq!(solutions.len(), 10);
    for solution in solutions {
        let share = solution["share_of_best"].as_f64().unwrap();
        assert!((0.0..0.5).contains(&share), "{solution}");
    }
    let table = text(&done(&fixtures, folder.path(), call));
    assert_eq!(table.lines().count(), 1 + 10 + 1 + 2, "{table}");
    assert!(table.contains("all problems"));
    let call = "solve pendulum --arg horizon=100 --arg width=0.3 --planner random";
    let known = json(&fixtures, folder.path(), call);
    assert!(known[0]["share_of_best"].is_number());
}

#[test]
fn an_evaluation_has_the_promised_figures() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "eval --checkpoint @model.safetensors --env reach --planner random --episodes 3";
    let evaluation = json(
        &fixtures,
        folder.path(),
        &format!("{call} --seed 5 --gif new/film.gif"),
    );
    let expected = "env planner device seed episodes success_rate return_mean return_std \
                    promised_mean rolled_out_mean \
                    plan_seconds_median plan_seconds_max model_steps_per_plan \
                    virtual_reward_mean rollout_reward_mean robust_return_mean \
                    uncertainty_mean leaves_data_share violation_max backed_share";
    assert_eq!(keys(&evaluation), expected.split_whitespace().collect());
    assert_eq!(evaluation["seed"], 5);
    assert_eq!(evaluation["episodes"], 3);
    let film = fs::read(folder.path().join("new/film.gif")).unwrap();
    assert!(film.starts_with(b"GIF89a"));
    // Side by side or one after the other, the episodes and the film are the same.
    let beside = format!("{call} --seed 5 --envs 2 --gif again.gif");
    let again = json(&fixtures, folder.path(), &beside);
    assert_eq!(again["return_mean"], evaluation["return_mean"]);
    assert!(fs::read(folder.path().join("again.gif")).unwrap() == film);
}

#[test]
fn the_demonstration_writes_its_pictures() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "demo --checkpoint @model.safetensors --planner cem";
    let report = json(&fixtures, folder.path(), call);
    assert_eq!(report["env"], "reach");
    assert_eq!(report["files"].as_array().unwrap().len(), 3);
    assert_eq!(
        names(&folder.path().join("out")),
        ["demo.gif", "first.png", "plan.png"]
    );
    // Plans that a setting makes shorter than the task's are all followed.
    let report = json(
        &fixtures,
        folder.path(),
        &format!("{call} --set horizon=10"),
    );
    assert_eq!(
        (&report["horizon"], &report["plans"]),
        (&10.into(), &3.into())
    );
}

#[test]
fn recordings_are_collected_described_and_imported() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "collect --env reach --episodes 2 --out recordings";
    for (index, policy) in ["random", "drifting", "scripted", "@model.safetensors"]
        .into_iter()
        .enumerate()
    {
        let planner = match policy.starts_with('@') {
            true => "--planner random",
            false => "",
        };
        let call = format!("{call} --policy {policy} {planner}");
        let report = json(&fixtures, folder.path(), &call);
        assert_eq!(report["episodes"], 2);
        assert_eq!(
            names(&folder.path().join("recordings")).len(),
            2 * (index + 1)
        );
    }
    // Each call has seeds of its own, none of which an evaluation begins with.
    let seeds = |first: u64| (first >> 30 == 1).then_some(first);
    let next = json(
        &fixtures,
        folder.path(),
        "collect --env reach --episodes 1 --out apart",
    );
    let later = json(
        &fixtures,
        folder.path(),
        "collect --env reach --episodes 1 --out apart",
    );
    let [next, later] = [next, later].map(|report| seeds(report["seed"].as_u64().unwrap()));
    assert_eq!(next.map(|seed| seed + 1), later);
    // Also where one of them was removed.
    fs::remove_file(folder.path().join("apart/episode-000000.npz")).unwrap();
    let call = "collect --env reach --episodes 1 --out apart";
    let last = json(&fixtures, folder.path(), call);
    assert_eq!(last["seed"].as_u64(), later.map(|seed| seed + 1));
    done(
        &fixtures,
        folder.path(),
        "import @frames --out recordings/other.npz",
    );
    let figures = json(
        &fixtures,
        folder.path(),
        "inspect recordings --out sheets/sheet.png",
    );
    assert_eq!(figures["episodes"], 9);
    assert_eq!(names(&folder.path().join("sheets")), ["sheet.png"]);
    let figures = json(&fixtures, folder.path(), "inspect recordings/other.npz");
    assert_eq!(figures["frames"], 2);
    let figures = json(&fixtures, folder.path(), "inspect @mixed");
    assert_eq!(figures["episodes"], 4);
    assert_eq!(figures["skipped"].as_array().unwrap().len(), 1);
}

#[test]
fn tasks_are_drawn_where_asked_to() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let listed = json(&fixtures, folder.path(), "envs --out new/tasks.png");
    assert_eq!(listed, json(&fixtures, folder.path(), "envs"));
    let picture = Image::load_png(&folder.path().join("new/tasks.png")).unwrap();
    assert!(picture.width() > 10 * picture.height() / 4);
}

#[test]
fn a_checkpoint_collects_with_noise_and_replanned_as_asked_for() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let actions = |out: &str, flags: &str| {
        let call = format!(
            "collect --env reach --episodes 1 --out {out} --policy @model.safetensors \
             --planner random --seed 3 {flags}"
        );
        done(&fixtures, folder.path(), &call);
        let path = folder.path().join(out).join("episode-000000.npz");
        Episode::load(&path).unwrap().actions().to_vec()
    };
    let planned = actions("planned", "");
    assert_eq!(actions("silent", "--noise 0"), planned);
    assert_ne!(actions("disturbed", "--noise 0.4"), planned);
    let replanned = actions("replanned", "--replan-every 10");
    assert_eq!(
        replanned[..20],
        planned[..20],
        "ten steps of two components"
    );
    assert_ne!(replanned[20..], planned[20..]);
}

#[test]
fn the_expert_is_disturbed_by_noise() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let actions = |out: &str, noise: &str| {
        let call = format!(
            "collect --env reach --episodes 1 --out {out} --policy scripted --seed 3 {noise}"
        );
        done(&fixtures, folder.path(), &call);
        let path = folder.path().join(out).join("episode-000000.npz");
        Episode::load(&path).unwrap().actions().to_vec()
    };
    let expert = actions("expert", "");
    assert_eq!(actions("silent", "--noise 0"), expert);
    let disturbed = actions("disturbed", "--noise 0.4");
    assert_ne!(disturbed, expert);
    assert!(disturbed.iter().all(|action| action.abs() <= 1.0));
    assert_eq!(actions("again", "--noise 0.4"), disturbed);
}

#[test]
fn predictions_are_reported_by_frame_and_drawn() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "predict --checkpoint @model.safetensors --episode @recordings";
    let report = json(&fixtures, folder.path(), &format!("{call} --out a/b"));
    let expected = "device context episodes imagined_frames image_error still_error \
                    shown_image_error reward_error reward_mean predicted_reward_mean recordings \
                    skipped files";
    assert_eq!(keys(&report), expected.split_whitespace().collect());
    assert_eq!(
        (&report["context"], &report["episodes"]),
        (&5.into(), &3.into())
    );
    assert_eq!(report["imagined_frames"], 3 * 26);
    for recording in report["recordings"].as_array().unwrap() {
        for list in ["image_error", "still_error", "reward", "predicted_reward"] {
            assert_eq!(recording[list].as_array().unwrap().len(), 31, "{list}");
        }
    }
    assert_eq!(
        names(&folder.path().join("a/b")),
        ["errors.png", "predict.gif", "predict.png"]
    );
    let film = fs::read(folder.path().join("a/b/predict.gif")).unwrap();
    assert!(film.starts_with(b"GIF89a"));

    let one = "predict --checkpoint @model.safetensors --context 1 --horizon 4 \
               --episode @recordings/episode-000001.npz";
    let report = json(&fixtures, folder.path(), one);
    assert_eq!(report["imagined_frames"], 4);
    assert_eq!(
        report["recordings"][0]["reward"].as_array().unwrap().len(),
        5
    );
    assert_eq!(names(&folder.path().join("out")).len(), 3);
    assert!(text(&done(&fixtures, folder.path(), one)).contains("if nothing moved"));
}

#[test]
fn unusable_recordings_of_a_folder_are_left_out_of_predictions() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "predict --checkpoint @model.safetensors --episode @mixed";
    let report = json(&fixtures, folder.path(), call);
    assert_eq!(report["episodes"], 3);
    let skipped = report["skipped"].as_array().unwrap();
    let names = skipped.iter().map(|line| line.as_str().unwrap());
    let names: String = names.collect::<Vec<_>>().join(", ");
    assert_eq!(skipped.len(), 2, "{names}");
    assert!(
        names.contains("episode-000003.npz") && names.contains("32×32"),
        "{names}"
    );
}

#[test]
fn a_suite_is_evaluated_piece_by_piece() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let checkpoints = folder.path().join("checkpoints");
    fs::create_dir(&checkpoints).unwrap();
    for task in ["reach", "push"] {
        let copy = checkpoints.join(format!("{task}.safetensors"));
        fs::copy(fixtures.path("model.safetensors"), copy).unwrap();
    }
    let call = "suite --checkpoints checkpoints --episodes 2 --planner random";
    let report = json(&fixtures, folder.path(), &format!("{call} --env reach"));
    let results = |report: &Value, task: usize| report["tasks"][task]["results"].clone();
    let first = results(&report, 0);
    assert_eq!(first.as_array().unwrap().len(), 1);
    assert_eq!(
        (&first[0]["seed"], &first[0]["replan_every"]),
        (&1234.into(), &30.into())
    );
    assert!(first[0]["success_low"].as_f64() <= first[0]["success_rate"].as_f64());
    assert_eq!(results(&report, 4).as_array().unwrap().len(), 0);
    assert!(report["tasks"][1]["checkpoint"].is_null());

    // The wall times tell what was kept from what was evaluated anew.
    let report = json(&fixtures, folder.path(), call);
    assert_eq!(results(&report, 0), first);
    assert_eq!(results(&report, 4)[0]["horizon"], 50);
    assert_eq!(
        names(&folder.path().join("results")),
        [
            ".lock",
            "push.json",
            "reach.json",
            "suite.csv",
            "suite.md",
            "suite.png"
        ]
    );
    // Junk that nobody asked for is no reason to stop.
    fs::write(checkpoints.join("drawer.safetensors"), "junk").unwrap();
    let asked = json(&fixtures, folder.path(), &format!("{call} --env reach"));
    assert_eq!(results(&asked, 0), first);
    fs::remove_file(checkpoints.join("drawer.safetensors")).unwrap();
    let forced = json(
        &fixtures,
        folder.path(),
        &format!("{call} --env reach --force"),
    );
    assert_ne!(results(&forced, 0), first);
    let table = fs::read_to_string(folder.path().join("results/suite.md")).unwrap();
    assert!(
        table.contains("| `reach` | `random` |") && table.contains("| `drawer` | no checkpoint |")
    );
    let data = fs::read_to_string(folder.path().join("results/suite.csv")).unwrap();
    assert!(data.starts_with("env,planner,episodes"));
    assert_eq!(data.lines().count(), 3);

    // Results of another checkpoint are not mixed in.
    let other = WorldModel::load(&fixtures.path("model.safetensors"), &Device::default()).unwrap();
    other
        .save(&checkpoints.join("push.safetensors"), Precision::Half)
        .unwrap();
    let report = json(&fixtures, folder.path(), &format!("{call} --env reach"));
    assert_eq!(results(&report, 4).as_array().unwrap().len(), 0);
    // They stay, for whoever asks for that checkpoint again.
    let one = format!("{call} --env push");
    assert_eq!(
        results(&json(&fixtures, folder.path(), &one), 4)
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let push = fs::read(folder.path().join("results/push.json")).unwrap();
    let push: Vec<Value> = serde_json::from_slice(&push).unwrap();
    assert_eq!(push.len(), 2);
    assert_ne!(push[0]["checkpoint"], push[1]["checkpoint"]);
    let again = done(
        &fixtures,
        folder.path(),
        &format!("{call} --env reach --seed 7"),
    );
    let told = String::from_utf8(again.stderr).unwrap();
    assert!(
        told.contains("2 episodes from seed 1234 is replaced by one of 2 from 7"),
        "{told}"
    );
}

#[test]
fn suites_side_by_side_lose_no_result() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let checkpoints = folder.path().join("checkpoints");
    fs::create_dir(&checkpoints).unwrap();
    let model = fixtures.path("model.safetensors");
    fs::copy(model, checkpoints.join("reach.safetensors")).unwrap();
    let planners = ["cem", "icem", "mppi", "random"];
    std::thread::scope(|scope| {
        for planner in planners {
            let call = "suite --checkpoints checkpoints --episodes 1 --env reach --planner";
            let (fixtures, folder) = (&fixtures, folder.path());
            scope.spawn(move || done(fixtures, folder, &format!("{call} {planner}")));
        }
    });
    let results = fs::read(folder.path().join("results/reach.json")).unwrap();
    let results: Value = serde_json::from_slice(&results).unwrap();
    let found = results.as_array().unwrap().iter();
    let mut found: Vec<_> = found
        .map(|entry| entry["planner"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, planners);
}

#[test]
fn printed_settings_of_other_environments_are_a_configuration() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let printed = |arguments: &str| {
        let call = format!("train --env exec:@point.py {arguments} --print-config");
        text(&done(&fixtures, folder.path(), &call))
    };
    let settings = printed("--env-arg shade=2");
    fs::write(folder.path().join("point.toml"), &settings).unwrap();
    assert_eq!(printed("--config point.toml"), settings);
    assert_eq!(printed("--set env_args.shade=2"), settings);
    assert_eq!(
        printed("--config point.toml --set env_args.shade=1 --env-arg shade=2"),
        settings
    );

    let call = "train --env reach --set env_options.image_size=32 --print-config";
    let printed = json(&fixtures, folder.path(), call);
    assert_eq!(printed["model"]["raw_size"], serde_json::json!([32, 32]));
}

#[test]
fn printed_settings_are_a_configuration() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "train --env push --set replay.batch=7 --print-config";
    let printed = text(&done(&fixtures, folder.path(), call));
    assert!(printed.contains("batch = 7"));
    fs::write(folder.path().join("push.toml"), &printed).unwrap();
    let call = "train --env push --config push.toml --print-config";
    assert_eq!(text(&done(&fixtures, folder.path(), call)), printed);
    assert_eq!(json(&fixtures, folder.path(), call)["replay"]["batch"], 7);
}

#[test]
fn a_run_is_trained_and_resumed_with_more_steps() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let report = json(
        &fixtures,
        folder.path(),
        "train --env reach --run runs/a --config @tiny.toml --seed 4",
    );
    assert_eq!(report["steps"], 3);
    assert!(
        folder
            .path()
            .join("runs/a/checkpoint.safetensors")
            .is_file()
    );
    let report = json(
        &fixtures,
        folder.path(),
        "train --run runs/a --resume --steps 5",
    );
    assert_eq!((&report["steps"], &report["seed"]), (&5.into(), &4.into()));
    let report = json(&fixtures, folder.path(), "train --run runs/a --resume");
    assert_eq!(report["steps"], 5);
    done(
        &fixtures,
        folder.path(),
        "eval --checkpoint runs/a/checkpoint.safetensors --env reach --planner random --episodes 1",
    );
}

#[test]
fn recordings_and_own_episodes_are_learnt_from_in_one_run() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "train --env reach --data @recordings --run run --config @tiny.toml";
    let report = json(&fixtures, folder.path(), call);
    assert_eq!(report["env"], "reach");
    let recordings = report["recordings"].as_u64().unwrap();
    assert!(recordings > 0);
    assert!(report["promised"].is_number() && report["got"].is_number());
    assert!(folder.path().join("run/data.json").is_file());
    let own = names(&folder.path().join("run/episodes"));
    assert!(
        own.iter().all(|name| name.starts_with("episode-")),
        "{own:?}"
    );
    let call = "train --run run --resume --steps 5";
    let report = json(&fixtures, folder.path(), call);
    assert_eq!(
        (&report["steps"], &report["recordings"]),
        (&5.into(), &recordings.into())
    );
    // Recordings of another environment.
    let call = "train --env exec:@point.py --env-arg size=32 --data @recordings --run other";
    let refused = fixtures.latco(folder.path(), call);
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        message.contains("expected recordings of 32×32"),
        "{message}"
    );
    assert!(!folder.path().join("other").exists());
}

#[test]
fn recordings_of_a_call_that_was_broken_off_are_forgotten() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "train --data @recordings --run first --config @tiny.toml";
    done(&fixtures, folder.path(), call);
    let noted = folder.path().join("run/data.json");
    fs::create_dir(folder.path().join("run")).unwrap();
    fs::copy(folder.path().join("first/data.json"), &noted).unwrap();
    done(
        &fixtures,
        folder.path(),
        "train --env reach --run run --config @tiny.toml",
    );
    assert!(!noted.exists());
    let resumed = json(
        &fixtures,
        folder.path(),
        "train --run run --resume --steps 5",
    );
    assert_eq!(resumed["recordings"], 0);
}

#[test]
fn demonstrations_are_labelled() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "train --env reach --run run --config @tiny.toml --set collect.demonstrations=2";
    assert_eq!(json(&fixtures, folder.path(), call)["demonstrations"], 2);
    let metrics = fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    let count = |label: &str| metrics.lines().filter(|line| line.contains(label)).count();
    assert_eq!(count("\"demonstration\":true"), 2);
    let config = fs::read_to_string(folder.path().join("run/config.toml")).unwrap();
    assert!(config.contains("demonstrations = 2"));
    json(&fixtures, folder.path(), "plot run");
}

#[test]
fn recordings_are_enough_to_train_on() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "train --data @recordings --run run --config @tiny.toml";
    assert_eq!(json(&fixtures, folder.path(), call)["steps"], 3);
    let report = json(
        &fixtures,
        folder.path(),
        "train --run run --resume --steps 4",
    );
    assert_eq!(report["steps"], 4);
}

/// The values of a safetensors file: a length of eight bytes, a header of that length, floats.
fn weights(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let values = &rest[u64::from_le_bytes(*length) as usize..];
    let (values, []) = values.as_chunks() else {
        panic!("{} holds half a value", path.display());
    };
    values.iter().copied().map(f32::from_le_bytes).collect()
}

/// A step of Adam moves a weight by at most its rate.
#[test]
fn a_run_starts_from_the_weights_of_another() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "train --env reach --run run --config @tiny.toml --from @model.safetensors --steps 1 \
                --set trainer.learning_rate=1e-6";
    assert_eq!(json(&fixtures, folder.path(), call)["steps"], 1);
    let written = weights(&folder.path().join("run/checkpoint.safetensors"));
    let given = weights(&fixtures.path("model.safetensors"));
    assert_eq!(written.len(), given.len());
    assert_ne!(written, given, "no step was taken");
    let moved = |(written, given): (&f32, &f32)| (written - given).abs();
    let farthest = written.iter().zip(&given).map(moved).fold(0.0, f32::max);
    assert!(
        farthest <= 2e-6,
        "other weights than those given: {farthest}"
    );
}

/// Pictures of another size than the defaults', a part of them, and heads that only the checkpoint has.
#[test]
fn settings_are_held_against_what_the_run_begins_with() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let device = &Device::default();
    let model = WorldModel::load(&fixtures.path("model.safetensors"), device).unwrap();
    let sizes = WorldModelConfig {
        raw_size: vec![32, 32],
        ..model.config().clone()
    };
    let small = WorldModel::new(sizes, 0, device).unwrap();
    let heads = model.with_ensemble(2, 0).unwrap();
    for (name, model) in [("small", small), ("heads", heads)] {
        let path = folder.path().join(format!("{name}.safetensors"));
        model.save(&path, Precision::Full).unwrap();
    }
    let printed = |arguments: &str| {
        let call = format!("train --env reach {arguments} --print-config");
        json(&fixtures, folder.path(), &call)["model"].clone()
    };
    let small = printed("--set env_options.image_size=32 --from small.safetensors");
    assert_eq!(small["raw_size"], serde_json::json!([32, 32]));
    let part = printed("--set env_options.image_size=96 --set model.crop=[8,8,80,80]");
    assert_eq!(part["crop"], serde_json::json!([8, 8, 80, 80]));
    let heads = printed("--from heads.safetensors --set trainer.ensemble_only=true");
    assert_eq!(heads["ensemble"], 2);
}

/// Event files are begun by each process, and hold scalars, a sheet (PNG) and a film (GIF).
#[test]
fn a_run_writes_event_files_where_asked_to() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let call = "train --env reach --run run --config @tiny.toml --tensorboard --steps 10";
    done(&fixtures, folder.path(), call);
    let events = folder.path().join("run/tensorboard");
    let [name] = &names(&events)[..] else {
        panic!("{:?}", names(&events));
    };
    assert!(name.starts_with("events.out.tfevents."), "{name}");
    let bytes = fs::read(events.join(name)).unwrap();
    for part in [
        "brain.Event:2",
        "train/loss",
        "episode/return",
        "episode/promised",
        "episode/rolled_out",
        "predict/film",
        "GIF89a",
        "predict/frames",
        "PNG",
    ] {
        let is_there = bytes
            .windows(part.len())
            .any(|bytes| bytes == part.as_bytes());
        assert!(is_there, "{part}");
    }
    done(
        &fixtures,
        folder.path(),
        "train --run run --resume --steps 12",
    );
    assert_eq!(names(&events).len(), 1);
    let call = "train --run run --resume --steps 14 --tensorboard";
    done(&fixtures, folder.path(), call);
    assert_eq!(names(&events).len(), 2);
}

#[test]
fn runs_are_plotted_alone_and_together() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    for seed in 0..3 {
        let call = format!("train --env reach --run run-{seed} --config @tiny.toml --steps 30");
        done(&fixtures, folder.path(), &format!("{call} --seed {seed}"));
    }
    let alone = json(&fixtures, folder.path(), "plot run-0 --out alone.png");
    assert_eq!(alone["gradient_steps"], 30.0);
    let together = json(
        &fixtures,
        folder.path(),
        "plot run-0 run-1 run-2 --out together.png",
    );
    assert_eq!(together["runs"].as_array().unwrap().len(), 3);
    let picture = |name: &str| Image::load_png(&folder.path().join(name)).unwrap();
    assert_ne!(picture("alone.png"), picture("together.png"));
    done(
        &fixtures,
        folder.path(),
        "plot run-0 run-1 run-2 --out curves/together.svg",
    );
    let svg = fs::read_to_string(folder.path().join("curves/together.svg")).unwrap();
    assert!(svg.starts_with("<svg"), "{}", &svg[..40]);
    assert!(svg.trim_end().ends_with("</svg>"));
    for part in [
        "3 runs",
        "95 % interval",
        "KL(posterior, prior)",
        "<polygon",
    ] {
        assert!(svg.contains(part), "{part}");
    }
    assert!(!svg.contains("latco sans"));
}

#[test]
fn foreign_weights_become_checkpoints() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let device = &Device::default();
    for (weights, activation) in [
        ("weights.npz", "elu"),
        ("list.npz", "elu"),
        ("weights.pt", "relu"),
        ("weights.pt --activation elu", "elu"),
    ] {
        let call = format!("convert @{weights} --out new/converted.safetensors");
        let report = json(&fixtures, folder.path(), &call);
        let path = folder.path().join("new/converted.safetensors");
        let model = WorldModel::load(&path, device).unwrap();
        assert_eq!(report["action_size"], 2);
        assert_eq!(report["activation"], activation);
        assert_eq!(report["weights"], model.config().weights());
        assert_eq!(model.config().latent_size(), 7);
        let full = fs::metadata(&path).unwrap().len();
        done(&fixtures, folder.path(), &format!("{call} --half"));
        assert!(fs::metadata(&path).unwrap().len() < full * 3 / 4);
    }
    // A checkpoint is written anew; half of its weights' bits are gone for good.
    let half = fs::metadata(folder.path().join("new/converted.safetensors"))
        .unwrap()
        .len();
    let call = "convert new/converted.safetensors --out new/full.safetensors";
    let report = json(&fixtures, folder.path(), call);
    assert_eq!(report["action_size"], 2);
    let full = folder.path().join("new/full.safetensors");
    assert!(fs::metadata(full).unwrap().len() > half);
    // The files are of one model.
    let call = "plan --checkpoint new/converted.safetensors --image @image.png --planner random";
    done(&fixtures, folder.path(), call);
}

/// The simulator of docs/environments.md, wherever an environment is taken.
#[cfg(unix)]
/// It fails long before the first of the saves that come every minute.
#[test]
fn a_run_whose_environment_fails_is_saved_as_far_as_it_came() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let point = fs::read_to_string(fixtures.path("point.py")).unwrap();
    let reset = "        random.seed(request[\"seed\"])\n";
    assert!(point.contains(reset));
    let ends =
        "        resets = globals().get('resets', 0) + 1\n        if resets == 8: sys.exit(3)\n";
    fs::write(
        fixtures.path("point.py"),
        point.replace(reset, &format!("{ends}{reset}")),
    )
    .unwrap();
    let call =
        "train --env exec:@point.py --run run --config @tiny.toml --steps 50 --set collect.every=1";
    let output = fixtures.latco(folder.path(), call);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    fs::write(fixtures.path("point.py"), point).unwrap();
    let done = json(
        &fixtures,
        folder.path(),
        "train --run run --resume --steps 1",
    );
    assert!(done["steps"].as_u64() > Some(1), "{done}");
}

#[test]
fn an_environment_in_another_language_goes_through_every_command() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let json = |arguments: &str| json(&fixtures, folder.path(), arguments);
    let collected = json("collect --env exec:@point.py --episodes 2 --out recordings");
    assert_eq!(
        (&collected["episodes"], &collected["frames"]),
        (&2.into(), &102.into())
    );
    let trained = json("train --env exec:@point.py --run run --envs 2 --config @tiny.toml");
    assert_eq!(trained["steps"], 3);
    // How many there are side by side decides when episodes come, and the run knows it.
    let resumed = json("train --run run --resume --steps 5");
    assert_eq!(resumed["steps"], 5);
    let refused = fixtures.latco(folder.path(), "train --run run --resume --envs 1 --steps 6");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("collect.environments"), "{message}");
    // What is done stays done.
    assert_eq!(json("train --run run --resume --steps 4")["steps"], 5);
    let settings = json("train --run run --resume --print-config");
    assert_eq!(settings["steps"], 5);
    let again = json("train --data run/episodes --run again --config @tiny.toml");
    assert_eq!(again["steps"], 3);

    let planned = "--env exec:@point.py --planner random --horizon 5 --replan-every 5";
    let checkpoint = "--checkpoint run/checkpoint.safetensors";
    let evaluated = json(&format!(
        "eval {checkpoint} {planned} --episodes 2 --gif film.gif"
    ));
    assert_eq!(evaluated["episodes"], 2);
    assert!(evaluated["env"].as_str().unwrap().starts_with("exec:"));
    let policy = "--policy run/checkpoint.safetensors";
    let collected = json(&format!(
        "collect {policy} {planned} --episodes 1 --out planned"
    ));
    assert_eq!(collected["frames"], 51);
    let shown = json(&format!("demo {checkpoint} {planned} --out shown"));
    assert_eq!(shown["plans"], 10);
    assert_eq!(names(&folder.path().join("shown")).len(), 3);

    let name = format!("exec:{}", fixtures.path("point.py").display());
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '-'
        }
    };
    let stem: String = name.chars().map(plain).collect();
    fs::create_dir(folder.path().join("checkpoints")).unwrap();
    fs::copy(
        folder.path().join("run/checkpoint.safetensors"),
        folder
            .path()
            .join(format!("checkpoints/{stem}.safetensors")),
    )
    .unwrap();
    let row = |arguments: &str| {
        let suite = "suite --checkpoints checkpoints --env exec:@point.py --planner random";
        let suite = json(&format!("{suite} --episodes 1 {arguments}"));
        let mut tasks = suite["tasks"].as_array().unwrap().iter();
        let task = tasks.find(|task| task["env"] == name.as_str()).unwrap();
        task["results"][0].clone()
    };
    let first = row("");
    assert_eq!(first["horizon"], 50);
    // The wall times tell what was kept from what was evaluated anew, in another environment.
    assert_eq!(row(""), first);
    let other = row("--env-arg shade=2");
    assert_eq!(other["arguments"]["shade"], 2);
    assert_ne!(other["plan_seconds_max"], first["plan_seconds_max"]);
    // Neither costs the other its result.
    assert_eq!((row(""), row("--env-arg shade=2")), (first, other));
}

#[test]
fn recordings_tell_what_becomes_of_them() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let path = folder.path().join("mixed");
    let collect = "collect --env reach --episodes 1 --out mixed";
    json(&fixtures, folder.path(), collect);
    let recorded = path.join("episode-000000.npz");
    let whole = Episode::load(&recorded).unwrap();
    let mut arrays = whole.clone().into_arrays();
    arrays.images.truncate(10 * 64 * 64 * 3);
    arrays.actions.truncate(20);
    arrays.rewards.truncate(10);
    arrays.discounts.truncate(10);
    arrays.sparse_rewards = None;
    let short = Episode::from_arrays(arrays.clone()).unwrap();
    short.save(&path.join("short.npz")).unwrap();
    let tiny = "--config @tiny.toml --set replay.length=20";
    let output = done(
        &fixtures,
        folder.path(),
        &format!("train --data mixed --run run {tiny}"),
    );
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(
        warning.contains("1 of 2 recordings are shorter"),
        "{warning}"
    );

    // Nothing is long enough: refused, and nothing is left behind.
    let refused = |arguments: &str, about: &str| {
        let output = fixtures.latco(folder.path(), arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
        assert!(error.contains(about), "{error}");
        assert!(!folder.path().join("refused").exists());
    };
    fs::create_dir(folder.path().join("shorts")).unwrap();
    short.save(&folder.path().join("shorts/a.npz")).unwrap();
    let refuse = |data: &str| format!("train --data {data} --run refused {tiny}");
    refused(&refuse("shorts"), "--set replay.length=10");

    // Actions in pixels, without and with their bounds.
    let whole_again = whole.clone();
    let mut arrays = whole.into_arrays();
    let entries = arrays.actions.iter_mut();
    entries.for_each(|entry| *entry = 256.0 * (*entry + 1.0));
    fs::create_dir(folder.path().join("pixels")).unwrap();
    let pixels = Episode::from_arrays(arrays).unwrap();
    pixels.save(&folder.path().join("pixels/a.npz")).unwrap();
    refused(&refuse("pixels"), "model.action_low=[0, 0]");
    let bounds = "--set model.action_low=[0,0] --set model.action_high=[512,512]";
    let told = format!("train --data pixels --run told {tiny} {bounds}");
    done(&fixtures, folder.path(), &told);
    let device = Device::default();
    let checkpoint = folder.path().join("told/checkpoint.safetensors");
    let model = WorldModel::load(&checkpoint, &device).unwrap();
    assert_eq!(model.config().action_high, [512.0, 512.0]);
    // The recordings stay where they are; a resumed run wants the same ones.
    assert!(
        !folder
            .path()
            .join("told/episodes/episode-000000.npz")
            .exists()
    );
    let resume = "train --run told --resume --steps 4";
    done(&fixtures, folder.path(), resume);
    pixels.save(&folder.path().join("pixels/b.npz")).unwrap();
    let output = done(&fixtures, folder.path(), &resume.replace('4', "5"));
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.contains("1 recordings have come"), "{warning}");
    let [here, there] = ["pixels", "moved"].map(|name| folder.path().join(name));
    fs::rename(&here, &there).unwrap();
    let refused = |arguments: &str, about: &str| {
        let output = fixtures.latco(folder.path(), arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
        assert!(error.contains(about), "{error}");
    };
    let resume = "train --run told --resume --steps 6";
    refused(resume, "told by --data");
    done(&fixtures, folder.path(), &format!("{resume} --data moved"));
    // That is their place from then on.
    done(&fixtures, folder.path(), resume);
    whole_again.save(&there.join("a.npz")).unwrap();
    refused(&format!("{resume} --data moved"), "has changed");
}

/// With and without an environment beside the recordings.
#[test]
fn ends_of_recordings_are_learnt_where_there_are_any() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let recorded = fixtures.path("recordings/episode-000000.npz");
    let mut arrays = Episode::load(&recorded).unwrap().into_arrays();
    arrays.discounts[30] = 0.0;
    fs::create_dir(folder.path().join("ended")).unwrap();
    let ended = Episode::from_arrays(arrays).unwrap();
    ended.save(&folder.path().join("ended/a.npz")).unwrap();
    for (data, expected) in [("ended", true), ("@recordings", false)] {
        for env in ["", "--env reach"] {
            let call = format!("train --data {data} {env} --print-config");
            let settings = json(&fixtures, folder.path(), &call);
            assert_eq!(settings["model"]["continuation"], expected, "{call}");
        }
    }
    let call = "train --data ended --env reach --set model.continuation=false --print-config";
    let settings = json(&fixtures, folder.path(), call);
    assert_eq!(settings["model"]["continuation"], false);
}

#[test]
fn runs_that_are_refused_change_nothing() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let refused = |source: &str, about: &str| {
        let call = format!("train {source} --config @tiny.toml");
        let output = fixtures.latco(folder.path(), &call);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{call}");
        assert!(error.contains(about), "{error}");
    };
    let range = "--set model.reward_range=[0,0.5]";
    for source in ["--data @recordings", "--data @recordings --env reach"] {
        let call = format!("{source} --run new {range}");
        refused(&call, "model.reward_range");
        assert!(!folder.path().join("new").exists());
    }
    // Episodes that a run would write over.
    let collect = "collect --env reach --episodes 1 --out run/episodes";
    done(&fixtures, folder.path(), collect);
    for source in ["--env reach", "--data @recordings --env reach"] {
        refused(&format!("{source} --run run"), "episode-000000.npz");
        assert_eq!(names(&folder.path().join("run")), ["episodes"]);
    }
}

#[test]
fn recordings_of_other_formats_are_described_and_imported() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../latco-formats/tests/data");
    let figures = json(&fixtures, folder.path(), &format!("inspect {data}/swm.h5"));
    assert_eq!(
        (&figures["episodes"], &figures["frames"]),
        (&2.into(), &8.into())
    );
    assert_eq!(figures["actions"][0]["maximum"], 1.25);
    let import = format!(
        "import {data}/minari_dict --map image=observations/pixels --out episodes --stored \
         --size 32x24 --action-low=-4,-4 --action-high=4,4"
    );
    let report = json(&fixtures, folder.path(), &import);
    assert_eq!(
        (&report["episodes"], &report["frames"]),
        (&2.into(), &8.into())
    );
    let names = names(&folder.path().join("episodes"));
    assert_eq!(names, ["episode-000000.npz", "episode-000001.npz"]);
    let episode = Episode::load(&folder.path().join("episodes").join(&names[1])).unwrap();
    assert_eq!((episode.image_width(), episode.image_height()), (32, 24));
    assert_eq!(
        (episode.len(), episode.action_space().high()),
        (3, &[4.0, 4.0][..])
    );
    assert_eq!(episode.rewards(), [0.0, 0.25, 0.5]);
    // Nothing is written over, several episodes do not go into one file, and large images have to be made smaller.
    let wide = Image::new(640, 16, vec![0; 640 * 16 * 3]).unwrap();
    let wide = Episode::new(&wide, &ActionSpace::unit(1));
    wide.save(&folder.path().join("wide.npz")).unwrap();
    for (call, about) in [
        ("train --data wide.npz --run wide", "--size 128x96"),
        (import.as_str(), "not empty"),
        (&format!("import {data}/swm.h5 --out one.npz"), "2 episodes"),
    ] {
        let output = fixtures.latco(folder.path(), call);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(about), "{error}");
    }
}

/// Random actions move the effector at once, so that a shift by one row shows.
#[test]
fn actions_in_the_wrong_row_are_told() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let collect = "collect --env reach --episodes 4 --policy random --out right";
    done(&fixtures, folder.path(), collect);
    let [right, wrong] = ["right", "wrong"].map(|name| folder.path().join(name));
    fs::create_dir(&wrong).unwrap();
    for name in names(&right) {
        let mut arrays = Episode::load(&right.join(&name)).unwrap().into_arrays();
        arrays.actions.rotate_left(2);
        let shifted = Episode::from_arrays(arrays).unwrap();
        shifted.save(&wrong.join(&name)).unwrap();
    }
    for (recordings, shift) in [("right", None), ("wrong", Some("early"))] {
        let told = json(&fixtures, folder.path(), &format!("inspect {recordings}"));
        assert_eq!(told["shift"].as_str(), shift, "{}", told["alignment"]);
        let output = fixtures.latco(folder.path(), &format!("inspect {recordings}"));
        let warning = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            warning.contains("shifted by one"),
            shift.is_some(),
            "{warning}"
        );
    }
}

/// The program holds a checkpoint of its own.
#[test]
fn the_demonstration_runs_in_an_empty_folder() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let shown = json(
        &fixtures,
        folder.path(),
        "demo --planner random --out shown",
    );
    assert_eq!(
        (&shown["env"], &shown["horizon"]),
        (&"reach".into(), &30.into())
    );
    assert_eq!(names(&folder.path().join("shown")).len(), 3);
}

#[test]
fn metrics_of_skipped_steps_do_not_end_a_curve() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let line = |step: usize, loss: &str| {
        format!(
            r#"{{"kind":"train","step":{step},"seconds":{step},"loss":{loss},"image":1.0,"reward":{loss},"kl":1.0,"gradient_norm":{loss},"skipped":false}}"#
        )
    };
    let lines = [
        line(10, "1.0"),
        line(20, "null"),
        "half a li".to_owned(),
        line(30, "1.0"),
    ];
    fs::create_dir(folder.path().join("run")).unwrap();
    fs::write(folder.path().join("run/metrics.jsonl"), lines.join("\n")).unwrap();
    let plotted = json(&fixtures, folder.path(), "plot run --out curve.png");
    assert_eq!(plotted["gradient_steps"], 30.0);
}

/// A folder whose name is no text; and a call that was killed while it copied recordings, as it did
/// before they stayed where they are.
#[cfg(unix)]
#[test]
fn odd_names_and_broken_copies_stop_nothing() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt, process::Command};

    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let odd = folder.path().join(OsStr::from_bytes(b"caf\xe9"));
    let output = Command::new(env!("CARGO_BIN_EXE_latco"))
        .args([
            "collect",
            "--env",
            "reach",
            "--episodes",
            "2",
            "--json",
            "--out",
        ])
        .arg(&odd)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told["out"].as_str().unwrap().contains("caf"));

    let copied = folder.path().join("run/episodes/episode-000000.npz");
    fs::create_dir_all(copied.parent().unwrap()).unwrap();
    fs::copy(odd.join("episode-000000.npz"), &copied).unwrap();
    let train = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latco"));
        command
            .current_dir(folder.path())
            .args(["train", "--run", "run"]);
        command.args(arguments);
        command
    };
    let tiny = fixtures.path("tiny.toml");
    let tiny = ["--config", tiny.to_str().unwrap(), "--data"];
    let output = train(&tiny).arg(&odd).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = train(&["--resume", "--steps", "4"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
