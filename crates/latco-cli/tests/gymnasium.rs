//! Benchmarks against the real packages of the interpreter that `LATCO_PYTHON` names. `.ci/gymnasium` makes one.

use std::{path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

/// Whether the interpreter has these packages; says so where it has not.
fn packages(names: &str) -> bool {
    let Some(interpreter) = std::env::var_os("LATCO_PYTHON") else {
        println!("SKIPPED: LATCO_PYTHON names no interpreter");
        return false;
    };
    let import = Command::new(interpreter)
        .args(["-c", &format!("import {names}")])
        .output();
    let found = import.is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED: LATCO_PYTHON lacks {names}");
    }
    found
}

fn latco(folder: &Path, arguments: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_latco"))
        .args(arguments.split_whitespace())
        .args(["--json", "-q"])
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A few steps of the training that a file asks for, its sizes made tiny, and an evaluation of what came of it.
#[test]
fn a_benchmark_is_trained_on_and_evaluated() {
    if !packages("metaworld") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benchmarks/metaworld-reach.toml");
    let benchmark = format!("--benchmark {}", file.display());
    let tiny = "--steps 4 --set collect.prefill=1 --set collect.demonstrations=1 --set collect.warm_up=1 \
                --set collect.every=2 --set collect.planner=cem --set collect.horizon=4 \
                --set replay.batch=2 --set replay.length=4 --set model.deterministic=8 --set model.hidden=8 \
                --set model.stochastic=4 --set model.depth=2 --set trainer.milestones=[2] \
                --env-arg time_limit=12";
    let trained = latco(
        folder.path(),
        &format!("train {benchmark} --run run {tiny}"),
    );
    assert_eq!(trained["env"], "gym:metaworld:Meta-World/MT1");
    assert_eq!(
        (&trained["steps"], &trained["demonstrations"]),
        (&4.into(), &1.into())
    );
    assert!(trained["promised"].is_number() && trained["got"].is_number());
    let call = format!(
        "eval {benchmark} --checkpoint run/checkpoint.safetensors --episodes 1 --planner cem \
         --horizon 4 --replan-every 4 --env-arg time_limit=12"
    );
    let evaluated = latco(folder.path(), &call);
    assert_eq!(
        (&evaluated["env"], &evaluated["seed"]),
        (&"metaworld-reach".into(), &1234.into())
    );
    assert!(evaluated["promised_mean"].is_number());
}
