#!/usr/bin/env python3
"""What tells a plan that will fail, and what helps: the figures of docs/model-errors.md.

Calls the command `latco` alone; what is there already is not made again.

    python benches/model_errors.py data   --tasks push thermos
    python benches/model_errors.py heads  --tasks push thermos
    python benches/model_errors.py scores --tasks push thermos
    python benches/model_errors.py penalty --tasks push thermos --weights 0 0.1 0.3 1
    python benches/model_errors.py open-loop --tasks push --steps 3000

`data` records what the models are trained further on, `heads` gives the shipped models dynamics heads,
`scores` measures how well each score of a plan tells success from failure, `penalty` plans with a penalty
on the heads' disagreement, `open-loop` trains models from nothing with and without the open-loop
likelihood.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PLANNERS = ["latco", "icem", "mppi", "shooting-gd"]

# Recordings of a task: the episodes of each kind and the seed of the first, with the arguments of `latco collect`.
RECORDINGS = [
    (100, 31_000_000, ["--policy", "scripted", "--noise", "0.4"]),
    (60, 32_000_000, ["--policy", "drifting"]),
    (15, 33_000_000, ["--policy", "CHECKPOINT"]),
    (15, 33_100_000, ["--policy", "CHECKPOINT", "--noise", "0.2"]),
    (20, 33_200_000, ["--policy", "CHECKPOINT", "--planner", "icem", "--noise", "0.2"]),
]

# The scores of a plan, and whether more of it is better.
SCORES = {
    "rollout_reward": 1,
    "robust_return": 1,
    "sampled_return": 1,
    "image_consistency": -1,
    "uncertainty": -1,
}

class Bench:
    def __init__(self, arguments):
        self.latco = arguments.latco
        self.out = Path(arguments.out)
        self.tasks = arguments.tasks
        self.seeds = arguments.seeds
        self.episodes = arguments.episodes
        self.arguments = arguments

    def call(self, *arguments):
        environment = {**os.environ, "RAYON_NUM_THREADS": "1"}
        command = [self.latco, *map(str, arguments), "--json", "--quiet"]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout)

    def shipped(self, task):
        return ROOT / "assets" / "checkpoints" / f"{task}.safetensors"

    def recordings(self, task):
        return self.out / task / "data"

    def run(self, name, task, *arguments):
        """The checkpoint of the training of that name, made or gone on with where it is not there."""
        run = self.out / task / name
        done = run / "done"
        if not done.exists():
            begun = (run / "config.toml").exists()
            self.call("train", "--run", run, *(["--resume"] if begun else arguments))
            done.touch()
        return run / "checkpoint.safetensors"

    def heads(self, task):
        """The shipped model with dynamics heads."""
        return self.out / task / "heads" / "checkpoint.safetensors"

    def evaluated(self, name, task, seed, model, *arguments):
        """The evaluation of that name and its plans, made where it is not there."""
        folder = self.out / task / "eval"
        folder.mkdir(parents=True, exist_ok=True)
        summary, plans = (folder / f"{name}-{seed}.{ending}" for ending in ("json", "jsonl"))
        if not summary.exists():
            found = self.call(
                "eval", "--checkpoint", model, "--env", task, "--episodes", self.episodes,
                "--seed", seed, "--plans", plans, *arguments,
            )
            summary.write_text(json.dumps(found))
        lines = plans.read_text().splitlines()
        return json.loads(summary.read_text()), [json.loads(line) for line in lines]

    def data(self):
        for task in self.tasks:
            there = len(list(self.recordings(task).glob("episode-*.npz")))
            for episodes, seed, arguments in RECORDINGS:
                episodes *= self.arguments.recordings
                # A call that was broken off has left the first ones.
                kept = min(there, episodes)
                there -= kept
                if kept == episodes:
                    continue
                chosen = [str(self.shipped(task)) if a == "CHECKPOINT" else a for a in arguments]
                self.call("collect", "--env", task, "--out", self.recordings(task),
                          "--episodes", episodes - kept, "--seed", seed + kept, *chosen)

    def train_heads(self):
        for task in self.tasks:
            self.run(
                "heads", task, "--data", self.recordings(task), "--from", self.shipped(task),
                "--steps", self.arguments.steps,
                "--set", f"model.ensemble={self.arguments.heads}",
                "--set", "trainer.ensemble_only=true", "--set", "trainer.shards=1",
                "--set", "trainer.learning_rate=3e-3", "--set", "trainer.elbo.decoded_share=0.01",
                "--set", "trainer.elbo.open_loop_scale=0", "--set", "replay.length=20",
                "--set", "replay.batch=12",
            )

    def scores(self):
        """Each score's AUC, over first plans executed open loop."""
        for task in self.tasks:
            pooled, model = [], self.heads(task)
            model = model if model.exists() else self.shipped(task)
            for planner in self.arguments.planners:
                plans = []
                for seed in self.seeds:
                    name = f"open-{planner}-{model.parent.name}"
                    _, found = self.evaluated(name, task, seed, model, "--planner", planner,
                                              "--replan-every", 1000)
                    plans += [plan for plan in found if plan["plan"] == 0]
                self.row(task, planner, plans)
                pooled += plans
            self.row(task, "all", pooled)
            self.selected(task, pooled)

    def selected(self, task, plans):
        """Of each episode the plan of the planner that a score prefers: solved, and the return got."""
        episodes = {}
        for plan in plans:
            episodes.setdefault(plan["seed"], []).append(plan)
        cells = []
        for score, sign in SCORES.items():
            if any(plan[score] is None for plan in plans):
                continue
            chosen = [max(group, key=lambda plan: sign * plan[score]) for group in episodes.values()]
            solved = sum(plan["success"] for plan in chosen) / len(chosen)
            got = sum(plan["return"] for plan in chosen) / len(chosen)
            cells.append(f"{score} {solved:.2f} ({got:.1f})")
        print(f"{task}, chosen among the planners by: {', '.join(cells)}", flush=True)

    def row(self, task, planner, plans):
        solved = sum(plan["success"] for plan in plans) / len(plans)
        got = sum(plan["return"] for plan in plans) / len(plans)
        promised = sum(plan["rollout_reward"] for plan in plans) / len(plans)
        cells = [task, planner, str(len(plans)), f"{solved:.2f}", f"{promised:.1f}", f"{got:.1f}"]
        for score, sign in SCORES.items():
            known = [plan for plan in plans if plan[score] is not None]
            found = auc([(sign * plan[score], plan["success"]) for plan in known])
            cells.append("" if found is None else f"{found:.2f}")
        print(f"| {' | '.join(cells)} |", flush=True)

    def penalty(self):
        """`latco` with a penalty on the model's uncertainty, open loop; no penalty is in `scores`."""
        for task in self.tasks:
            for weight in self.arguments.weights:
                for seed in self.seeds:
                    name = f"penalty-{weight}" if weight > 0 else "open-latco-heads"
                    settings = ("--replan-every", 1000, "--set", f"uncertainty_penalty={weight}")
                    self.outcome(task, seed, name, self.heads(task), *settings)

    def open_loop(self):
        """Models of the same recordings with and without the open-loop likelihood, their plans open loop."""
        for task in self.tasks:
            for scale in (1, 0):
                name = f"open-loop-scale-{scale}"
                model = self.run(
                    name, task, "--data", self.recordings(task), "--steps", self.arguments.steps,
                    "--set", f"trainer.elbo.open_loop_scale={scale}", "--set", "trainer.shards=1",
                    "--set", f"replay.length={self.arguments.length}", "--set", "replay.batch=12",
                )
                for planner in self.arguments.planners:
                    for seed in self.seeds:
                        settings = ("--planner", planner, "--replan-every", 1000)
                        self.outcome(task, seed, f"{name}-{planner}", model, *settings)

    def outcome(self, task, seed, name, model, *arguments):
        found, _ = self.evaluated(name, task, seed, model, *arguments)
        known = lambda key: "" if found[key] is None else f"{found[key]:.2f}"
        cells = [
            task, name, str(seed), f"{found['success_rate']:.2f}", f"{found['rollout_reward_mean']:.1f}",
            known("robust_return_mean"), f"{found['return_mean']:.1f}", known("uncertainty_mean"),
            f"{found['plan_seconds_median']:.2f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def auc(pairs):
    """The chance that a solved episode's plan has the higher score than a failed one's."""
    solved = [score for score, success in pairs if success]
    failed = [score for score, success in pairs if not success]
    if not solved or not failed:
        return None
    wins = sum((a > b) + 0.5 * (a == b) for a in solved for b in failed)
    return wins / (len(solved) * len(failed))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("job", choices=["data", "heads", "scores", "penalty", "open-loop"])
    parser.add_argument("--latco", default=str(ROOT / "target" / "release" / "latco"))
    parser.add_argument("--out", default="out/model_errors")
    parser.add_argument("--tasks", nargs="+", default=["push", "thermos"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1234])
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--recordings", type=int, default=1, help="times the 210 recordings of a task")
    parser.add_argument("--length", type=int, default=40, help="frames of a training sequence of open-loop, at most a recording's (button: 31)")
    parser.add_argument("--heads", type=int, default=5)
    parser.add_argument("--weights", nargs="+", type=float, default=[0.0, 0.1, 0.3, 1.0])
    parser.add_argument("--planners", nargs="+", default=PLANNERS)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    jobs = {
        "data": bench.data, "heads": bench.train_heads, "scores": bench.scores, "penalty": bench.penalty,
        "open-loop": bench.open_loop,
    }
    jobs[arguments.job]()


if __name__ == "__main__":
    main()
