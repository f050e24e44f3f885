//! Wrong calls: exit status 2, one line on standard error, nothing written.

mod common;

use std::{fs, path::Path};

use common::Fixtures;
use tempfile::TempDir;

/// Arguments, `@name` standing for a shared file, and what the message must name.
const WRONG_CALLS: &[(&str, &str)] = &[
    // The command itself.
    ("", "subcommand"),
    ("--json", "subcommand"),
    ("nonsense", "nonsense"),
    ("plann", "plan"),
    ("--nonsense", "--nonsense"),
    ("-x", "-x"),
    ("--device flex", "subcommand"),
    // Common options.
    ("envs --device nonsense", "nonsense"),
    ("envs --device", "--device"),
    ("envs --device cuda:9", "cuda:9"),
    ("envs --device remote:ws://gpu:3000", "--features remote"),
    ("device-server --port 3000", "--features remote"),
    ("device-server --port 70000", "--port"),
    ("envs --seed minus", "--seed"),
    ("envs --seed -1", "-1"),
    ("envs --seed 1.5", "--seed"),
    ("envs --seed 99999999999999999999999", "--seed"),
    ("envs --json=yes", "--json"),
    ("envs --json --json", "--json"),
    // Lists.
    ("envs extra", "extra"),
    ("envs --out @folder", "--out"),
    ("envs --out @text/tasks.png", "--out"),
    ("planners --all", "--all"),
    ("planners nonsense", "nonsense"),
    ("planners cem icem", "icem"),
    ("problems extra", "extra"),
    ("devices extra", "extra"),
    // Demo.
    ("demo --env push", "assets/checkpoints/push.safetensors"),
    ("demo extra", "extra"),
    ("demo --out", "--out"),
    ("demo --out=", "--out"),
    ("demo --planner nonsense", "nonsense"),
    ("demo --planner LATCO", "LATCO"),
    (
        "demo --checkpoint missing.safetensors",
        "missing.safetensors",
    ),
    ("demo --checkpoint @folder", "folder"),
    ("demo --checkpoint @image.png", "image.png"),
    ("demo --checkpoint @half.safetensors", "half.safetensors"),
    ("demo --checkpoint @three.safetensors", "three.safetensors"),
    ("demo --checkpoint @model.safetensors --out @text", "--out"),
    (
        "demo --checkpoint @model.safetensors --out @text/below",
        "--out",
    ),
    // What has no effect.
    (
        "plan --checkpoint @model.safetensors --image @image.png --env gym:Nope-v0",
        "gym:Nope-v0",
    ),
    // Endings that contradict the content.
    (
        "eval --checkpoint @model.safetensors --env reach --gif film.png",
        ".gif",
    ),
    ("inspect @recordings --out sheet.jpg", ".png"),
    ("envs --out tasks.gif", ".png"),
    // Seeds whose episodes other runs share, and such as config.toml cannot hold.
    (
        "train --env reach --run new --seed 8796093022208",
        "below 8796093022208",
    ),
    (
        "train --env reach --run new --seed 9223372036854775808",
        "below 8796093022208",
    ),
    // Environments outside this process.
    (
        "collect --env exec:no-such-simulator --episodes 1 --out new",
        "no-such-simulator",
    ),
    ("collect --env exec: --episodes 1 --out new", "exec:"),
    (
        "collect --env reach --env-arg size=64 --episodes 1 --out new",
        "--env-arg size",
    ),
    (
        "collect --env exec:@point.py --env-arg size --episodes 1 --out new",
        "KEY=VALUE",
    ),
    (
        "collect --env exec:@point.py --policy scripted --episodes 1 --out new",
        "expert",
    ),
    (
        "eval --checkpoint @three.safetensors --env exec:@point.py",
        "three.safetensors",
    ),
    ("train --env exec:@point.py --run new --envs 0", "--envs"),
    (
        "train --env exec:@point.py --run new --set env_options.image_size=96",
        "--env-arg size=96",
    ),
    (
        "train --data @recordings --run new --env-arg size=64",
        "--env-arg size",
    ),
    (
        "train --data @recordings --run new --set env_args.size=64",
        "`env_args` is given size",
    ),
    (
        "train --data @recordings --run new --envs 2",
        "`--envs` is 2",
    ),
    (
        "train --env exec:@point.py --run new --set replay.length=60",
        "replay.length",
    ),
    // Settings of planners.
    (
        "plan --checkpoint @model.safetensors --image @image.png --set epsilon",
        "KEY=VALUE",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --set epsilo=1",
        "`epsilon`",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --set elites=9",
        "elites",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --planner latco-gaussian --set dual.threshold=small",
        "dual.threshold",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --planner cem --set samples=0",
        "samples",
    ),
    (
        "eval --checkpoint @model.safetensors --env reach --planner cem --set elites=501",
        "elites",
    ),
    // Plan: flags.
    ("plan", "--checkpoint"),
    ("plan --checkpoint @model.safetensors", "--image"),
    ("plan --image @image.png", "--checkpoint"),
    ("plan @image.png", "image.png"),
    (
        "plan --checkpoint @model.safetensors --image @image.png --image @image.png",
        "--image",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --horizon 0",
        "--horizon",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --horizon -1",
        "-1",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --horizon 1.5",
        "--horizon",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --horizon ten",
        "--horizon",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --horizon 10001",
        "--horizon",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --horizon NaN",
        "--horizon",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --deadline-ms 0",
        "--deadline-ms",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --deadline-ms -5",
        "-5",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --deadline-ms soon",
        "--deadline-ms",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --planner nonsense",
        "nonsense",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --planner=",
        "--planner",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --out @text",
        "--out",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --out @text/below",
        "--out",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --device nonsense",
        "nonsense",
    ),
    // Plan: files.
    (
        "plan --checkpoint @model.safetensors --image missing.png --out out",
        "missing.png",
    ),
    (
        "plan --checkpoint @model.safetensors --image @folder --out out",
        "folder",
    ),
    (
        "plan --checkpoint @model.safetensors --image @empty --out out",
        "empty",
    ),
    (
        "plan --checkpoint @model.safetensors --image @text --out out",
        "text",
    ),
    (
        "plan --checkpoint @model.safetensors --image @half.png --out out",
        "half.png",
    ),
    (
        "plan --checkpoint @model.safetensors --image @wrong-size.png --out out",
        "48×64",
    ),
    (
        "plan --checkpoint @model.safetensors --image @model.safetensors --out out",
        "PNG",
    ),
    (
        "plan --checkpoint missing --image @image.png --out out",
        "missing",
    ),
    (
        "plan --checkpoint @folder --image @image.png --out out",
        "folder",
    ),
    (
        "plan --checkpoint @empty --image @image.png --out out",
        "empty",
    ),
    (
        "plan --checkpoint @text --image @image.png --out out",
        "text",
    ),
    (
        "plan --checkpoint @half.safetensors --image @image.png --out out",
        "half.safetensors",
    ),
    (
        "plan --checkpoint @foreign.safetensors --image @image.png --out out",
        "foreign.safetensors",
    ),
    (
        "plan --checkpoint @huge.safetensors --image @image.png --out out",
        "huge.safetensors",
    ),
    (
        "plan --checkpoint @image.png --image @image.png --out out",
        "image.png",
    ),
    // Eval.
    ("eval", "--checkpoint"),
    ("eval --checkpoint @model.safetensors", "--env"),
    ("eval --env reach", "--checkpoint"),
    (
        "eval --checkpoint @model.safetensors --env nonsense",
        "nonsense",
    ),
    (
        "eval --checkpoint @model.safetensors --env raech",
        "`reach`",
    ),
    (
        "eval --checkpoint @model.safetensors --env Reach",
        "`reach`",
    ),
    (
        "eval --checkpoint @model.safetensors --env reach --episodes 0",
        "--episodes",
    ),
    (
        "eval --checkpoint @model.safetensors --env reach --episodes -3",
        "-3",
    ),
    (
        "eval --checkpoint @model.safetensors --env reach --episodes many",
        "--episodes",
    ),
    (
        "eval --checkpoint @model.safetensors --env reach --episodes 1e3",
        "--episodes",
    ),
    (
        "eval --checkpoint @model.safetensors --env reach --planner nonsense",
        "nonsense",
    ),
    (
        "eval --checkpoint @model.safetensors --env reach --gif @folder",
        "--gif",
    ),
    (
        "eval --checkpoint @model.safetensors --env reach --gif @text/film.gif",
        "--gif",
    ),
    (
        "eval --checkpoint @model.safetensors --env reach --gif ..",
        "--gif",
    ),
    (
        "eval --checkpoint @three.safetensors --env reach --gif film.gif",
        "three.safetensors",
    ),
    (
        "eval --checkpoint @half.safetensors --env reach --gif film.gif",
        "half.safetensors",
    ),
    (
        "eval --checkpoint missing --env reach --gif film.gif",
        "missing",
    ),
    (
        "eval --checkpoint @model.safetensors --env reach --horizon 0",
        "--horizon",
    ),
    (
        "eval --checkpoint @model.safetensors --env reach --replan-every 0",
        "--replan-every",
    ),
    (
        "plan --checkpoint @model.safetensors --image @image.png --env raech",
        "`reach`",
    ),
    // Suite.
    ("suite", "assets/checkpoints"),
    ("suite --checkpoints @text", "--checkpoints"),
    ("suite --checkpoints @folder --env nonsense", "nonsense"),
    (
        "suite --checkpoints @folder --env reach --env-arg size=96",
        "--env-arg size",
    ),
    (
        "suite --checkpoints @folder --env reach --benchmark @reach.toml --out new",
        "reach.json",
    ),
    ("suite --checkpoints @folder --planner nonsense", "nonsense"),
    ("suite --checkpoints @folder --episodes 0", "--episodes"),
    ("suite --checkpoints @folder --out @text", "--out"),
    ("suite --checkpoints @suite-damaged", "reach.safetensors"),
    ("suite --checkpoints @suite-mismatch", "reach.safetensors"),
    (
        "suite --checkpoints @suite --out @suite-results",
        "reach.json",
    ),
    // Solve.
    ("solve", "<NAME>"),
    ("solve all", "quadrotor"),
    ("solve poit", "`point`"),
    ("solve Car", "`car`"),
    ("solve point door", "door"),
    ("solve point --benchmark", "--benchmark"),
    ("solve --benchmark --arg horizon=5", "--benchmark"),
    ("solve point --arg", "--arg"),
    ("solve point --arg size", "KEY=VALUE"),
    ("solve point --arg =3", "size, horizon, width, head"),
    ("solve point --arg heigth=3", "heigth"),
    ("solve point --arg widht=3", "`width`"),
    ("solve point --arg size=0", "1 to 64"),
    ("solve point --arg size=-1", "-1"),
    ("solve point --arg size=65", "1 to 64"),
    ("solve point --arg size=2.5", "whole number"),
    ("solve car --arg size=2", "expected 1, its only size"),
    ("solve point --arg horizon=0", "1 to 10000"),
    ("solve point --arg horizon=10001", "1 to 10000"),
    (
        "solve point --arg horizon=ten",
        "`horizon` of `point` is ten",
    ),
    ("solve point --arg width=0", "`width`"),
    ("solve point --arg width=-0.1", "-0.1"),
    ("solve point --arg width=NaN", "NaN"),
    ("solve point --arg width=inf", "inf"),
    ("solve point --arg head=gaus", "`gauss`"),
    ("solve point --planner nonsense", "nonsense"),
    ("solve point --planner cem --planner nonsense", "nonsense"),
    ("solve point --planner cem --set sampels=3", "`samples`"),
    ("solve point --planner cem --set samples=0", "samples"),
    ("solve point --planner cem --set horizon=5", "--arg horizon"),
    (
        "solve point --planner cem --planner icem --set samples=9",
        "single --planner, found 2",
    ),
    (
        "solve point --arg horizon=2 --planner image-collocation",
        "image space",
    ),
    ("solve point --seeds 0", "--seeds"),
    ("solve point --seeds -1", "-1"),
    ("solve point --deadline-ms 0", "--deadline-ms"),
    // Predict.
    ("predict", "--checkpoint"),
    ("predict --checkpoint @model.safetensors", "--episode"),
    ("predict --episode @recordings", "--checkpoint"),
    (
        "predict --checkpoint missing --episode @recordings",
        "missing",
    ),
    (
        "predict --checkpoint @half.safetensors --episode @recordings",
        "half.safetensors",
    ),
    (
        "predict --checkpoint @three.safetensors --episode @recordings",
        "2 action components",
    ),
    (
        "predict --checkpoint @model.safetensors --episode missing",
        "missing",
    ),
    (
        "predict --checkpoint @model.safetensors --episode @text",
        "text",
    ),
    (
        "predict --checkpoint @model.safetensors --episode @folder",
        "folder",
    ),
    (
        "predict --checkpoint @model.safetensors --episode @damaged",
        "damaged",
    ),
    (
        "predict --checkpoint @model.safetensors --episode @large",
        "48×48",
    ),
    (
        "predict --checkpoint @model.safetensors --episode @large/episode.npz",
        "episode.npz",
    ),
    (
        "predict --checkpoint @model.safetensors --episode @recordings --context 0",
        "--context",
    ),
    (
        "predict --checkpoint @model.safetensors --episode @recordings --context 31",
        "1 to 30",
    ),
    (
        "predict --checkpoint @model.safetensors --episode @recordings --context many",
        "--context",
    ),
    (
        "predict --checkpoint @model.safetensors --episode @recordings --horizon 0",
        "--horizon",
    ),
    (
        "predict --checkpoint @model.safetensors --episode @recordings --out @text",
        "--out",
    ),
    (
        "predict --checkpoint @model.safetensors --episode @recordings --out @text/below",
        "--out",
    ),
    // Train: what from, where to.
    ("train", "--env"),
    ("train --run new", "--env"),
    ("train --env reach", "--run"),
    ("train --data @recordings", "--run"),
    (
        "train --env exec:@point.py --env-arg size=32 --data @recordings --run new",
        "32×32",
    ),
    ("train --env nonsense --run new", "nonsense"),
    ("train --env reach --run @text", "--run"),
    ("train --env reach --run @run", "--resume"),
    ("train --data missing --run new", "missing"),
    ("train --data @text --run new", "text"),
    ("train --data @folder --run new", "folder"),
    ("train --data @damaged --run new", "damaged"),
    ("train --data @mixed --run new", "mixed"),
    ("train --data @beyond --run new", "520x64"),
    (
        "train --data @recordings --run new --set model.image_size=32",
        "image_size",
    ),
    (
        "train --data @recordings --run new --set model.action_size=3",
        "model.action_size",
    ),
    ("train --env reach --run new --from missing", "missing"),
    ("train --env reach --run new --from @text", "text"),
    (
        "train --env reach --run new --from @three.safetensors",
        "`model.action_size`",
    ),
    (
        "train --env reach --run new --from @model.safetensors --set model.stochastic=99",
        "99",
    ),
    (
        "train --run @run --resume --from @model.safetensors",
        "--from",
    ),
    ("train --env reach --run new --steps 0", "--steps"),
    ("train --env reach --run new --steps -1", "-1"),
    ("train --env reach --run new --steps many", "--steps"),
    // Train: settings.
    (
        "train --env reach --run new --config missing.toml",
        "missing.toml",
    ),
    ("train --env reach --run new --config @folder", "folder"),
    (
        "train --env reach --run new --config @image.png",
        "image.png",
    ),
    (
        "train --env reach --run new --config @syntax.toml",
        "syntax.toml",
    ),
    (
        "train --env reach --run new --config @unknown.toml",
        "`trainer.learning_rate`",
    ),
    ("train --env reach --run new --config @nan.toml", "finite"),
    (
        "train --env reach --run new --config @type.toml",
        "whole number",
    ),
    ("train --env reach --run new --config @push.toml", "`env`"),
    ("train --env reach --run new --set", "--set"),
    ("train --env reach --run new --set steps", "KEY=VALUE"),
    ("train --env reach --run new --set =3", "KEY=VALUE"),
    ("train --env reach --run new --set trainer.=3", "KEY=VALUE"),
    ("train --env reach --run new --set nonsense=3", "nonsense"),
    (
        "train --env reach --run new --set replay.bach=3",
        "`replay.batch`",
    ),
    (
        "train --env reach --run new --set replay.batch=0",
        "replay.batch",
    ),
    (
        "train --env reach --run new --set replay.batch=-3",
        "replay.batch",
    ),
    (
        "train --env reach --run new --set replay.batch=2.5",
        "replay.batch",
    ),
    ("train --env reach --run new --set replay=2", "a table"),
    (
        "train --env reach --run new --set trainer.learning_rate=nan",
        "finite",
    ),
    (
        "train --env reach --run new --set trainer.learning_rate=inf",
        "finite",
    ),
    (
        "train --env reach --run new --set trainer.learning_rate=-1",
        "learning_rate",
    ),
    (
        "train --env reach --run new --set trainer.elbo.kl_scale=-1",
        "kl_scale",
    ),
    (
        "train --env reach --run new --set model.reward=uniform",
        "uniform",
    ),
    (
        "train --env reach --run new --set model.action_size=3",
        "model.action_size",
    ),
    (
        "train --env reach --run new --set model.image_size=32",
        "image_size",
    ),
    (
        "train --env reach --run new --set model.image_size=48",
        "image_size",
    ),
    (
        "train --env reach --run new --set collect.planner=nonsense",
        "nonsense",
    ),
    (
        "train --env reach --run new --set collect.demonstration_noise=-1",
        "demonstration_noise",
    ),
    ("train --env reach --run new --set env=push", "`env`"),
    (
        "train --env reach --print-config --set nonsense=3",
        "nonsense",
    ),
    ("train --print-config", "--env"),
    (
        "train --env reach --run new --tensorboard=yes",
        "--tensorboard",
    ),
    (
        "train --env reach --run new --tensorboard --tensorboard",
        "--tensorboard",
    ),
    // Benchmarks.
    ("train --benchmark missing.toml --run new", "missing.toml"),
    ("train --benchmark @syntax.toml --run new", "syntax.toml"),
    (
        "train --benchmark @unknown.toml --run new",
        "`trainer.learning_rate`",
    ),
    ("train --benchmark @type.toml --run new", "a whole number"),
    ("train --benchmark @push.toml --run new", "`about`"),
    (
        "train --benchmark @reach.toml --env push --run new",
        "--env",
    ),
    (
        "train --benchmark @reach.toml --run new --set replay.bach=1",
        "`replay.batch`",
    ),
    (
        "train --run @run --resume --benchmark @reach.toml",
        "--benchmark",
    ),
    (
        "eval --checkpoint @three.safetensors --benchmark @reach.toml",
        "three.safetensors",
    ),
    (
        "eval --checkpoint @model.safetensors --benchmark @reach.toml --env-arg size=64",
        "--env-arg size",
    ),
    (
        "collect --benchmark @reach.toml --env reach --episodes 1 --out new",
        "--env",
    ),
    (
        "suite --benchmark @unknown.toml --checkpoints @folder --out new",
        "`trainer.learning_rate`",
    ),
    // Train: resuming.
    ("train --resume", "--run"),
    ("train --run missing --resume", "missing"),
    ("train --run @folder --resume", "folder"),
    ("train --run @damaged-run --resume", "damaged-run"),
    ("train --run @run --resume --data @recordings", "--data"),
    ("train --run @run --resume --env push", "`env`"),
    ("train --run @run --resume --seed 7", "`seed`"),
    (
        "train --run @run --resume --env reach --env-arg size=96",
        "--env-arg size, expected nothing",
    ),
    (
        "train --run @run --resume --set env_args.size=96",
        "env_args.size",
    ),
    (
        "train --run @run --resume --set replay.batch=3",
        "`replay.batch`",
    ),
    ("train --run @run --resume --config @tiny.toml", "resumed"),
    // Collect.
    ("collect", "--env"),
    ("collect --env reach --episodes 1", "--out"),
    ("collect --env reach --out new", "--episodes"),
    ("collect --episodes 1 --out new", "--env"),
    ("collect --env nonsense --episodes 1 --out new", "nonsense"),
    ("collect --env reach --episodes 0 --out new", "--episodes"),
    ("collect --env reach --episodes 1 --out @text", "--out"),
    (
        "collect --env reach --episodes 1 --out new --policy nonsense",
        "--policy nonsense",
    ),
    (
        "collect --env reach --episodes 1 --out new --policy @folder",
        "--policy",
    ),
    (
        "collect --env reach --episodes 1 --out new --policy @image.png",
        "image.png",
    ),
    (
        "collect --env reach --episodes 1 --out new --policy @three.safetensors",
        "three.safetensors",
    ),
    (
        "collect --env reach --episodes 1 --out new --planner nonsense",
        "nonsense",
    ),
    (
        "collect --env reach --episodes 1 --out new --replan-every 2",
        "--policy random",
    ),
    (
        "collect --env reach --episodes 1 --out new --policy scripted --planner cem",
        "--policy scripted",
    ),
    (
        "collect --env reach --episodes 1 --out new --noise 0.3",
        "--policy scripted",
    ),
    (
        "collect --env reach --episodes 1 --out new --policy drifting --noise 0.3",
        "found drifting",
    ),
    (
        "collect --env reach --episodes 1 --out new --policy scripted --noise -1",
        "-1",
    ),
    (
        "collect --env reach --episodes 1 --out new --policy scripted --noise inf",
        "--noise",
    ),
    // Inspect.
    ("inspect", "<DIR|FILE>"),
    ("inspect missing", "missing"),
    ("inspect @text", "text"),
    ("inspect @image.png", "image.png"),
    ("inspect @folder --out sheet.png", "folder"),
    ("inspect @damaged --out sheet.png", "damaged"),
    ("inspect @recordings --out @folder", "--out"),
    ("inspect @recordings --out @text/sheet.png", "--out"),
    (
        "inspect @recordings --out @recordings/sheet.png",
        "outside of it",
    ),
    ("inspect @image.png --out @image.png", "--out"),
    ("inspect @recordings @recordings", "recordings"),
    // Plot.
    ("plot", "<RUN>"),
    ("plot missing", "metrics.jsonl"),
    ("plot @folder", "metrics.jsonl"),
    ("plot @run missing", "metrics.jsonl"),
    ("plot @run --out curve.jpg", ".svg"),
    ("plot @run --out curve", ".png"),
    ("plot @run --out @folder", "--out"),
    // Import.
    ("import", "<PATH>"),
    ("import @frames", "--out"),
    ("import --out episode.npz", "<PATH>"),
    ("import @frames --out new.npz --size 64", "64x64"),
    ("import @frames --out new.npz --map image", "KEY=NAME"),
    (
        "import @frames --out new.npz --action-low 0,0",
        "--action-high",
    ),
    (
        "import @frames --out new.npz --action-low 0 --action-high 1,1",
        "1 entries here, not 2",
    ),
    ("train --env reach --run new --map image=pixels", "--map"),
    ("train --run @run --resume --map image=pixels", "--map"),
    ("inspect @recordings --map picture=image", "picture"),
    ("import missing --out episode.npz", "missing"),
    ("import @text --out episode.npz", "text"),
    ("import @folder --out episode.npz", "folder"),
    ("import @frameless --out episode.npz", "frameless"),
    ("import @recordings --out episode.npz", "recordings"),
    ("import @frames --out @folder", "--out"),
    ("import @frames --out @text/episode.npz", "--out"),
    // Files where folders are expected, and folders where files are.
    ("inspect @text/x", "part of the path is a file"),
    (
        "eval --checkpoint @text/q --env reach",
        "part of the path is a file",
    ),
    ("plot @text/x", "part of the path is a file"),
    (
        "plan --checkpoint @model.safetensors --image @folder",
        "expected a file",
    ),
    // Export.
    ("export", "<PATH>"),
    ("export @recordings", "--out"),
    ("export @recordings --out @folder --fps 0", "--fps"),
    ("export @recordings --out @run", "not empty"),
    ("export @recordings --out @text/data", "--out"),
    // Convert.
    ("convert", "<WEIGHTS>"),
    ("convert @weights.npz", "--out"),
    ("convert --out new.safetensors", "<WEIGHTS>"),
    ("convert missing.npz --out new.safetensors", "missing.npz"),
    (
        "convert @model.safetensors --int8 --out @model.safetensors",
        "the file that is read",
    ),
    ("convert missing.pt --out new.safetensors", "missing.pt"),
    ("convert @text --out new.safetensors", ".npz"),
    ("convert variables.pkl --out new.safetensors", "--help"),
    (
        "convert @half-weights.npz --out new.safetensors",
        "half-weights.npz",
    ),
    (
        "convert @half-weights.pt --out new.safetensors",
        "half-weights.pt",
    ),
    ("convert @text.pt --out new.safetensors", "text.pt"),
    (
        "convert @half.safetensors --out new.safetensors",
        "half.safetensors",
    ),
    (
        "convert @foreign.safetensors --out new.safetensors",
        "transition_model",
    ),
    (
        "convert @lacking.npz --out new.safetensors",
        "dynamics/cell/bias",
    ),
    (
        "convert @lacking-list.npz --out new.safetensors",
        "dynamics",
    ),
    ("convert @objects.npz --out new.safetensors", "|O"),
    (
        "convert @weights.npz --activation relu --out new.safetensors",
        "--activation",
    ),
    (
        "convert @model.safetensors --activation relu --out new.safetensors",
        "--activation",
    ),
    (
        "convert @recordings/episode-000000.npz --out new.safetensors",
        "dynamics",
    ),
    ("convert @weights.npz --out @folder", "--out"),
    ("convert @weights.npz --out @text/new.safetensors", "--out"),
];

#[test]
fn wrong_calls_get_one_line_and_write_nothing() {
    assert!(WRONG_CALLS.len() >= 100);
    let fixtures = Fixtures::new();
    let failures: Vec<String> = WRONG_CALLS
        .iter()
        .filter_map(|(arguments, named)| {
            let problem = problem_of(&fixtures, arguments, named)?;
            Some(format!("latco {arguments}\n    {problem}"))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What is wrong with the answer to a wrong call, if anything.
fn problem_of(fixtures: &Fixtures, arguments: &str, named: &str) -> Option<String> {
    let folder = TempDir::new().unwrap();
    let output = fixtures.latco(folder.path(), arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors = error.lines().filter(|line| line.starts_with("error: "));
    let others = error.lines().filter(|line| !line.starts_with("warning: "));
    if output.status.code() != Some(2) {
        return Some(format!("status {:?}: {error}", output.status.code()));
    }
    if error.contains("os error") {
        return Some(format!("the system's own words: {error}"));
    }
    if (errors.count(), others.count()) != (1, 1) {
        return Some(format!("not one line: {error}"));
    }
    if !error.contains(named) {
        return Some(format!("does not name `{named}`: {error}"));
    }
    if !output.stdout.is_empty() {
        return Some("wrote to standard output".to_owned());
    }
    (!is_empty(folder.path())).then(|| "wrote files".to_owned())
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}
