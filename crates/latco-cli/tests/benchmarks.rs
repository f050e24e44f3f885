//! Benchmarks: every file of the folder is one, wrong files are refused, and what commands make of one.

mod common;

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf};

use common::Fixtures;
use latco_cli::benchmark::{Benchmark, Evaluation};
use latco_env::Episode;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Every benchmark of `benchmarks/`, by its name.
fn files() -> BTreeMap<String, PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benchmarks");
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let benchmarks = paths.filter(|path| path.extension().is_some_and(|kind| kind == "toml"));
    benchmarks
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect()
}

#[test]
fn every_file_is_a_benchmark() {
    let files = files();
    for name in [
        "metaworld-reach",
        "metaworld-thermos",
        "dmc-cup",
        "pendulum",
        "pusht-80",
    ] {
        assert!(files.contains_key(name), "{name}");
    }
    for (name, path) in files {
        let benchmark = Benchmark::load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(benchmark.name, name);
        assert!(benchmark.env.starts_with("gym:"), "{name}");
        let evaluation = &benchmark.evaluation;
        assert!(evaluation.horizon >= evaluation.replan_every && evaluation.replan_every > 0);
        if name.starts_with("metaworld") {
            assert_eq!(benchmark.arguments["reward"], "success", "{name}");
            assert_eq!(benchmark.arguments["camera"].as_array().unwrap().len(), 2);
            let limit = benchmark.arguments["time_limit"].as_u64().unwrap();
            assert!(evaluation.horizon as u64 <= limit, "{name}");
        }
        assert_eq!(
            (evaluation.episodes, evaluation.seed),
            (50, 1234),
            "{name}: the protocol of all results"
        );
    }
}

/// One training, one checkpoint, three lengths of plans.
#[test]
fn push_t_differs_in_the_length_of_plans_alone() {
    let files = files();
    let of = |name: &str| {
        let text = fs::read_to_string(&files[name]).unwrap();
        let mut table: toml::Table = toml::from_str(&text).unwrap();
        table.remove("about");
        let mut evaluation = table.remove("evaluation").unwrap();
        let horizon = evaluation
            .as_table_mut()
            .unwrap()
            .remove("horizon")
            .unwrap();
        (table, evaluation, horizon.as_integer().unwrap())
    };
    let [short, middle, long] = ["pusht-25", "pusht-50", "pusht-80"].map(of);
    assert_eq!([short.2, middle.2, long.2], [25, 50, 80]);
    assert_eq!((&short.0, &short.1), (&middle.0, &middle.1));
    assert_eq!((&short.0, &short.1), (&long.0, &long.1));
    for name in ["pusht-25", "pusht-50", "pusht-80"] {
        assert_eq!(Benchmark::load(&files[name]).unwrap().checkpoint(), "pusht");
    }
}

fn load(text: &str) -> Result<Benchmark, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("mine.toml");
    fs::write(&path, text).unwrap();
    Benchmark::load(&path).map_err(|error| error.to_string())
}

#[test]
fn wrong_files_are_refused_by_file_and_setting() {
    let good = "about = \"Reach.\"\nenv = \"reach\"\n";
    let benchmark = load(good).unwrap();
    assert_eq!(
        (benchmark.name.as_str(), benchmark.checkpoint()),
        ("mine", "mine")
    );
    assert_eq!(benchmark.evaluation, Evaluation::default());
    // Whether it lies within the pictures, only the environment knows.
    load(&format!("{good}[model]\ncrop = [8, 8, 80, 80]\n")).unwrap();
    for (more, named) in [
        ("horizons = 3", "did you mean `collect.horizon`"),
        (
            "[evaluation]\nhorizn = 3",
            "did you mean `evaluation.horizon`",
        ),
        (
            "[evaluation]\nplanner = [\"cem\"]",
            "did you mean `evaluation.planners`",
        ),
        ("[colect]\nprefill = 3", "did you mean `collect`"),
        (
            "[collect]\ndemonstration = 3",
            "did you mean `collect.demonstrations`",
        ),
        ("[evaluation]\nepisodes = 0", "`evaluation.episodes`"),
        ("[evaluation]\nepisodes = -1", "`evaluation.episodes`"),
        (
            "[evaluation]\nplanners = [\"cme\"]",
            "`evaluation.planners`",
        ),
        (
            "[collect]\nplanner = [\"latco\", \"lacto\"]",
            "`collect.planner`",
        ),
        ("[collect]\nevery = 0", "collect.every"),
        ("[collect]\nplanner = 3", "`collect.planner`"),
        ("[trainer]\ndecay = -1", "decay"),
        ("[env_args]\n1 = 2\n[env_args]\n", "not TOML"),
        ("env_args = 3", "`env_args`"),
        ("steps = \"many\"", "`steps`"),
    ] {
        let message = load(&format!("{good}{more}\n")).unwrap_err();
        assert!(message.contains(named), "{more}: {message}");
        assert!(message.contains("mine.toml"), "{message}");
    }
    for (text, named) in [
        ("env = \"reach\"", "`about`"),
        ("about = \"Nothing.\"", "`env`"),
        ("about = \"Reach.\"\nenv = \"raech\"", "reach"),
    ] {
        let message = load(text).unwrap_err();
        assert!(message.contains(named), "{message}");
    }
}

/// What docs/tasks.md shows is a benchmark, and its defaults are the defaults.
#[test]
fn the_file_in_the_documentation_is_a_benchmark() {
    let docs = include_str!("../../../docs/tasks.md");
    let shown = docs.split("```toml").nth(1).unwrap();
    let benchmark = load(shown.split("```").next().unwrap()).unwrap();
    assert_eq!(benchmark.env, "gym:metaworld:Meta-World/MT1");
    assert_eq!(benchmark.arguments["env_name"], "reach-v3");
    assert_eq!(benchmark.evaluation, Evaluation::default());
}

fn told(fixtures: &Fixtures, folder: &TempDir, call: &str) -> Value {
    let output = fixtures.latco(folder.path(), &format!("{call} --json -q"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{call}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn commands_take_the_settings_of_a_benchmark_and_flags_count_above_it() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    let told = |call: &str| told(&fixtures, &folder, call);
    let printed = told("train --benchmark @reach.toml --print-config");
    assert_eq!(printed["env"], "reach");
    assert_eq!(
        (&printed["steps"], &printed["replay"]["batch"]),
        (&3.into(), &2.into())
    );
    let changed = "train --benchmark @reach.toml --print-config --steps 7 --set replay.batch=5";
    let printed = told(changed);
    assert_eq!(
        (&printed["steps"], &printed["replay"]["batch"]),
        (&7.into(), &5.into())
    );

    let trained = told("train --benchmark @reach.toml --run run");
    assert_eq!(
        (&trained["steps"], &trained["env"]),
        (&3.into(), &"reach".into())
    );
    let checkpoint = "--checkpoint run/checkpoint.safetensors";

    let eval = format!("eval {checkpoint} --benchmark @reach.toml --planner random");
    let evaluated = told(&eval);
    assert_eq!(
        (&evaluated["episodes"], &evaluated["seed"]),
        (&2.into(), &77.into())
    );
    let again = told(&format!(
        "{eval} --episodes 1 --seed 3 --horizon 4 --replan-every 2"
    ));
    assert_eq!((&again["episodes"], &again["seed"]), (&1.into(), &3.into()));

    let collect = "collect --episodes 1 --policy scripted --out";
    let collected = told(&format!("{collect} new --benchmark @reach.toml"));
    assert_eq!(collected["success_rate"], 1.0);
    // As training would, small and with its rewards.
    let settings = fs::read_to_string(fixtures.path("reach.toml")).unwrap();
    let options = "[env_options]\nimage_size = 32\ndense_reward = true\n";
    fs::write(
        folder.path().join("dense.toml"),
        format!("{settings}{options}"),
    )
    .unwrap();
    told(&format!("{collect} dense --benchmark dense.toml"));
    let recorded = Episode::load(&folder.path().join("dense/episode-000000.npz")).unwrap();
    assert_eq!(recorded.series().image_width(), 32);
    let mut rewards = recorded.series().rewards().iter();
    assert!(rewards.any(|reward| (0.01..0.99).contains(reward)));
    let shown = told(&format!(
        "demo {checkpoint} --benchmark @reach.toml --planner cem"
    ));
    assert_eq!(
        (&shown["env"], &shown["horizon"]),
        (&"reach".into(), &12.into())
    );
}

#[test]
fn a_suite_of_benchmarks_is_evaluated_as_the_file_says_and_kept() {
    let (fixtures, folder) = (Fixtures::new(), TempDir::new().unwrap());
    fs::create_dir(folder.path().join("checkpoints")).unwrap();
    let shared = folder.path().join("checkpoints/shared.safetensors");
    fs::copy(fixtures.path("model.safetensors"), shared).unwrap();
    let call = "suite --checkpoints checkpoints --benchmark @reach.toml";
    let report = told(&fixtures, &folder, call);
    let tasks = report["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 1, "the benchmarks alone");
    let results = tasks[0]["results"].as_array().unwrap();
    let planners: Vec<_> = results.iter().map(|entry| &entry["planner"]).collect();
    assert_eq!(planners, ["cem", "random"]);
    let figures = ["episodes", "seed", "horizon", "replan_every"].map(|key| &results[0][key]);
    assert_eq!(figures, [&json!(2), &json!(77), &json!(12), &json!(6)]);
    let [promised, rolled_out] =
        ["promised_mean", "rolled_out_mean"].map(|key| results[0][key].as_f64().unwrap());
    assert!(promised > 0.0 && (promised - rolled_out).abs() < 1e-3);
    assert_eq!(
        told(&fixtures, &folder, call)["tasks"],
        report["tasks"],
        "kept"
    );

    let out = folder.path().join("results/benchmarks");
    let table = fs::read_to_string(out.join("suite.md")).unwrap();
    let header = "promised | rolled out | got | got ÷ promised";
    assert!(table.contains(header), "{table}");
    let row = table.lines().find(|line| line.contains("`cem`")).unwrap();
    assert_eq!(row.matches('|').count(), 12, "{row}");
    let data = fs::read_to_string(out.join("suite.csv")).unwrap();
    assert!(
        data.lines()
            .next()
            .unwrap()
            .contains("promised_mean,rolled_out_mean,got_share")
    );
    assert!(out.join("suite.png").is_file());

    // A task is there once, and the same file may be another task.
    let again = told(
        &fixtures,
        &folder,
        &format!("{call} --benchmark @reach.toml"),
    );
    assert_eq!(again["tasks"], report["tasks"]);
    let seconds = |report: &Value| report["tasks"][0]["results"][1]["plan_seconds_max"].clone();
    let (file, text) = (
        fixtures.path("reach.toml"),
        fs::read_to_string(fixtures.path("reach.toml")),
    );
    let text = text.unwrap();
    fs::write(&file, text.replace("\"reach\"", "\"button\"")).unwrap();
    let other = told(&fixtures, &folder, call);
    assert_eq!(other["tasks"][0]["results"][1]["environment"], "button");
    assert_ne!(seconds(&other), seconds(&report), "evaluated anew");
    fs::write(&file, text).unwrap();
    assert_eq!(
        told(&fixtures, &folder, call)["tasks"],
        report["tasks"],
        "still there"
    );

    // Nor are results kept of a planner that has other settings by now, or that shared its cores.
    let file = out.join("reach.json");
    let kept = fs::read_to_string(&file).unwrap();
    let key = "\"settings\": \"";
    fs::write(&file, kept.replace(key, &format!("{key}0"))).unwrap();
    assert_ne!(seconds(&told(&fixtures, &folder, call)), seconds(&report));
    fs::write(&file, &kept).unwrap();
    let shared = told(&fixtures, &folder, &format!("{call} --envs 2"));
    assert_ne!(seconds(&shared), seconds(&report));
    fs::write(&file, &kept).unwrap();

    // Results of planners that are no more stay in the file, and stop nothing.
    let gone = kept.replace("\"planner\": \"random\"", "\"planner\": \"gone\"");
    assert_ne!(gone, kept);
    fs::write(&file, gone).unwrap();
    let report = told(&fixtures, &folder, &format!("{call} --planner cem"));
    let left = report["tasks"][0]["results"].as_array().unwrap();
    assert_eq!((left.len(), &left[0]["planner"]), (1, &"cem".into()));
    fs::write(&file, &kept).unwrap();

    // Results of earlier versions say nothing of promises.
    let mut kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for entry in kept.as_array_mut().unwrap() {
        entry.as_object_mut().unwrap().remove("promised_mean");
        entry.as_object_mut().unwrap().remove("rolled_out_mean");
    }
    fs::write(&file, serde_json::to_vec(&kept).unwrap()).unwrap();
    told(&fixtures, &folder, call);
    let table = fs::read_to_string(out.join("suite.md")).unwrap();
    assert!(table.contains("| – | – |"), "{table}");
}
