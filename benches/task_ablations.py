"""What each part of `latco` is worth on the native tasks, planned from pixels with the shipped checkpoints.

    python benches/task_ablations.py [--episodes 20] [--latco target/release/latco]

Writes results/task_ablations.json, row by row (what is there already of as many episodes is kept), and prints a Markdown
table: the share of episodes solved, and in brackets the mean of what whole plans promised and of what the episodes
returned.
"""

import argparse
import json
import pathlib
import subprocess

OUT = pathlib.Path("results/task_ablations.json")

# Each with the horizon and the replanning interval of `latco suite`.
TASKS = {
    "reach": (30, 30),
    "button": (30, 30),
    "drawer": (30, 30),
    "window": (30, 5),
    "push": (50, 5),
    "hammer": (50, 5),
    "thermos": (50, 5),
    "two-room": (50, 10),
    "lottery": (30, 30),
}

ABLATIONS = {
    "latco": ("latco", []),
    "no smoothing": ("latco", ["noise_scale=0", "plans=0"]),
    "no smoothing, goal starts": ("latco", ["noise_scale=0"]),
    "twice the noise": ("latco", ["noise_scale=2"]),
    "no polish (one step)": ("latco", ["iterations=1"]),
    "no rollouts to start from": ("latco", ["samples=0"]),
    "log return in place of the reward": ("latco", ["surrogate=log_return"]),
    "softplus residual": ("latco", ["surrogate=softplus"]),
    "best-of-n alone": ("best-of-n", []),
    "latco-paper": ("latco-paper", []),
}


def evaluate(latco, task, planner, settings, episodes):
    horizon, interval = TASKS[task]
    command = [latco, "eval", "--checkpoint", f"assets/checkpoints/{task}.safetensors", "--env", task]
    command += ["--planner", planner, "--horizon", str(horizon), "--replan-every", str(interval)]
    command += ["--episodes", str(episodes), "--seed", "1234", "--json"]
    for setting in settings:
        command += ["--set", setting]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def table(rows):
    print("| " + " | ".join(["", *(f"`{task}`" for task in TASKS), "mean"]) + " |")
    print("|---" * (len(TASKS) + 2) + "|")
    for name in ABLATIONS:
        found = [rows.get(f"{name} on {task}") for task in TASKS]
        cells = [
            f"{row['success_rate']:.2f} ({row['virtual_reward_mean']:.1f}, {row['return_mean']:.1f})"
            if row
            else ""
            for row in found
        ]
        solved = [row["success_rate"] for row in found if row]
        mean = f"{sum(solved) / len(solved):.2f}" if len(solved) == len(TASKS) else ""
        print("| " + " | ".join([name, *cells, mean]) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--latco", default="target/release/latco")
    parser.add_argument("--episodes", type=int, default=20)
    arguments = parser.parse_args()
    rows = json.loads(OUT.read_text()) if OUT.exists() else {}
    for name, (planner, settings) in ABLATIONS.items():
        for task in TASKS:
            key = f"{name} on {task}"
            if rows.get(key, {}).get("episodes") != arguments.episodes:
                rows[key] = evaluate(arguments.latco, task, planner, settings, arguments.episodes)
                OUT.write_text(json.dumps(rows, indent=1) + "\n")
    table(rows)


if __name__ == "__main__":
    main()
