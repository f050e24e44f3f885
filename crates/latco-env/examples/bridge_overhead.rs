//! What a step costs over the bridge to Gymnasium beside the same step within Python, at 64×64:
//! `LATCO_PYTHON=… cargo run --release -p latco-env --example bridge_overhead`.
//!
//! The step within Python is that of the same file that serves the bridge, with pictures of other
//! sizes resized by OpenCV; both sides alternate, and the figures are medians over all steps.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use latco_env::{EnvError, Environment, process};
use serde_json::{Value, json};

const STEPS: usize = 150;
const ROUNDS: usize = 7;

/// Prints the time of each step within Python in milliseconds.
const WITHIN_PYTHON: &str = r#"
import json, os, sys, time
name, arguments, steps = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
bridge = {"__name__": "bridge"}
exec(os.environ["SOURCE"], bridge)
bridge["choose_renderer"]()
server = bridge["Server"](name, arguments)
action = bytes(4 * server.low.size)
def resized(picture):
    if picture.shape[:2] == (64, 64):
        return picture
    import cv2
    return cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)
def step():
    start = time.perf_counter()
    server.step(action)
    resized(server.picture())
    return time.perf_counter() - start
server.reset(0)
for _ in range(10):
    step()
print(json.dumps([1e3 * step() for _ in range(steps)]))
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("| environment | within Python | over the bridge | overhead |");
    println!("|---|---|---|---|");
    for (id, arguments) in [
        ("Pendulum-v1", json!({})),
        ("shimmy:dm_control/reacher-easy-v0", json!({})),
        ("HalfCheetah-v5", json!({})),
        ("metaworld:Meta-World/MT1", json!({"env_name": "reach-v3"})),
    ] {
        let (mut inside, mut bridged) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bridged.extend(over_the_bridge(id, &arguments)?);
            inside.extend(within_python(id, &arguments)?);
        }
        let (inside, bridged) = (median(inside), median(bridged));
        let overhead = bridged - inside;
        println!("| {id} | {inside:.3} ms | {bridged:.3} ms | {overhead:.3} ms |");
    }
    Ok(())
}

fn over_the_bridge(id: &str, arguments: &Value) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let arguments: BTreeMap<String, Value> = serde_json::from_value(arguments.clone())?;
    let mut environment = process::open(&format!("gym:{id}"), &arguments)?;
    let action = vec![0.0; environment.action_space().size()];
    environment.reset(0)?;
    for _ in 0..10 {
        environment.step(&action)?;
    }
    let times: Result<_, EnvError> = (0..STEPS)
        .map(|_| timed(&mut *environment, &action))
        .collect();
    Ok(times?)
}

fn timed(environment: &mut dyn Environment, action: &[f32]) -> Result<f64, EnvError> {
    let start = Instant::now();
    environment.step(action)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn within_python(id: &str, arguments: &Value) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let interpreter = std::env::var("LATCO_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(interpreter)
        .args(["-c", WITHIN_PYTHON, id])
        .args([arguments.to_string(), STEPS.to_string()])
        .env("SOURCE", include_str!("../src/process/gym.py"))
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
