"""What planners find on the analytic problems of `latco solve`: tables, ablations, and how they scale.

    python benches/hard_problems.py table                 planners on the benchmark, five seeds
    python benches/hard_problems.py ablations             latco with one part changed at a time
    python benches/hard_problems.py sweep --plot FILE     return against horizon and dimension (matplotlib)

Each writes its data as JSON to results/hard_problems/ and a Markdown table to standard output. Times are
comparable within one run alone.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

OUT = pathlib.Path("results/hard_problems")

PLANNERS = {
    "latco": ("latco", []),
    "latco-paper": ("latco-paper", []),
    "icem-gn": ("icem-gn", []),
    "icem": ("icem", []),
    "icem, 8 × the samples": ("icem", ["samples=4000"]),
    "mppi": ("mppi", []),
    "cem": ("cem", []),
    "shooting-gd": ("shooting-gd", []),
    "ilqr": ("ilqr", []),
    "best-of-n": ("best-of-n", []),
}

ABLATIONS = {
    "latco": [],
    "no goal starts": ["plans=0"],
    "goal starts alone": ["samples=0"],
    "no relaxation (λ = 1e7 throughout)": ["multiplier=1e7", "dual=fixed"],
    "penalty without multipliers": ["dual=continuation"],
    "reward in place of log return": ["surrogate=reward"],
    "softplus residual": ["surrogate=softplus"],
    "no polish": ["iterations=1"],
}

# What is varied, over which values, on which problem.
PANELS = [
    ("horizon", [30, 60, 100, 200, 400], ["point"], "point, 4 dimensions"),
    ("horizon", [30, 60, 100, 200, 400], ["pendulum"], "pendulum"),
    ("horizon", [30, 60, 100, 200, 400], ["door"], "door"),
    ("size", [1, 2, 4, 8, 16], ["point"], "point, horizon 100"),
    ("size", [1, 2, 4, 8, 16], ["effectors", "--arg", "horizon=50"], "effectors, horizon 50"),
    ("horizon", [30, 60, 100, 200, 400], ["car"], "car"),
]

# Methods that have latents among their variables are drawn solid, gradient methods on actions dashed,
# samplers dotted.
STYLES = {
    "latco": ("tab:blue", "-", "o"),
    "latco-paper": ("tab:cyan", "-", "s"),
    "icem-gn": ("tab:green", "--", "^"),
    "ilqr": ("tab:olive", "--", "v"),
    "shooting-gd": ("tab:gray", "--", "D"),
    "icem": ("tab:red", ":", "o"),
    "icem, 8 × the samples": ("tab:purple", ":", "s"),
    "mppi": ("tab:brown", ":", "^"),
    "cem": ("tab:pink", ":", "v"),
    "best-of-n": ("tab:orange", ":", "x"),
}


def solve(latco, problem, planner, settings=(), seeds=1, deadline_ms=None):
    command = [latco, "solve", *problem, "--planner", planner, "--seeds", str(seeds), "--json"]
    for setting in settings:
        command += ["--set", setting]
    if deadline_ms:
        command += ["--deadline-ms", str(deadline_ms)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def summary(rows):
    shares = [row["share_of_best"] for row in rows]
    problems = {}
    for row in rows:
        problems.setdefault(row["problem"] + str(row["settings"]), []).append(row["share_of_best"])
    return {
        "mean": statistics.mean(shares),
        "worst_problem": min(map(statistics.mean, problems.values())),
        "above_half": sum(share > 0.5 for share in shares) / len(shares),
        "seconds": statistics.median(row["seconds"] for row in rows),
    }


def benchmark(latco, methods, seeds):
    """Every method on the ten problems; prints a row as it comes."""
    print("| method | mean of rollout ÷ best | worst problem | runs above half | seconds, median |")
    print("|---|---|---|---|---|")
    results = {}
    for name, (planner, settings) in methods.items():
        rows = solve(latco, ["--benchmark"], planner, settings, seeds)
        of = results[name] = {"rows": rows, **summary(rows)}
        print(
            f"| {name} | {of['mean']:.3f} | {of['worst_problem']:.3f} | {of['above_half']:.2f} "
            f"| {of['seconds']:.2f} |",
            flush=True,
        )
    return results


def sweep(latco, seeds):
    """Each planner gets the time that `latco` takes on the same problem."""
    results = []
    for what, values, problem, title in PANELS:
        for value in values:
            arguments = [*problem, "--arg", f"{what}={value}"]
            own = solve(latco, arguments, "latco", seeds=seeds)
            limit = int(1000 * statistics.median(row["seconds"] for row in own)) + 1
            found = {"latco": own}
            for name, (planner, settings) in PLANNERS.items():
                if planner != "latco":
                    more = ["iterations=1000"] if planner in ("icem", "mppi", "cem") else []
                    rows = solve(latco, arguments, planner, settings + more, seeds, limit)
                    found[name] = rows
            best = max(row["rollout_reward"] for rows in found.values() for row in rows)
            for name, rows in found.items():
                share = statistics.mean(row["rollout_reward"] for row in rows) / best
                of = {"title": title, "what": what, "value": value, "milliseconds": limit}
                results.append({**of, "method": name, "share": share})
                print(f"{title}, {what} {value}, {limit} ms, {name}: {share:.3f}", flush=True)
    return results


def plot(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, 3, figsize=(13, 6.4), sharey=True)
    labels = {"horizon": "horizon (steps)", "size": "size (dimensions, effectors)"}
    for axis, (what, values, _, title) in zip(grid.flat, PANELS):
        # Behind the others first, so that methods of equal return stay visible.
        for place, (method, (colour, line, marker)) in enumerate(reversed(STYLES.items())):
            rows = {
                row["value"]: row["share"]
                for row in results
                if (row["method"], row["title"]) == (method, title)
            }
            axis.plot(
                [value * 1.02 ** (place - 5) for value in rows],
                list(rows.values()),
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=5,
                linewidth=2.4 if method == "latco" else 1.2,
                label=method,
            )
        axis.set_title(title, fontsize=10)
        axis.set_xscale("log", base=2)
        axis.set_xticks(values, map(str, values))
        axis.minorticks_off()
        axis.set_xlabel(labels[what])
        axis.grid(alpha=0.3)
    for row in grid:
        row[0].set_ylabel("return ÷ best found")
    handles, names = grid[0][0].get_legend_handles_labels()
    figure.legend(handles[::-1], names[::-1], fontsize=9, loc="center right", frameon=False)
    figure.tight_layout(rect=(0, 0, 0.84, 1))
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["table", "ablations", "sweep"])
    parser.add_argument("--latco", default="target/release/latco")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plot", type=pathlib.Path)
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if arguments.what == "table":
        results = benchmark(arguments.latco, PLANNERS, arguments.seeds)
    elif arguments.what == "ablations":
        methods = {name: ("latco", settings) for name, settings in ABLATIONS.items()}
        methods["best-of-n alone"] = ("best-of-n", [])
        results = benchmark(arguments.latco, methods, arguments.seeds)
    else:
        results = sweep(arguments.latco, arguments.seeds)
        if arguments.plot:
            plot(results, arguments.plot)
    text = json.dumps(results, separators=(",", ":"))
    (OUT / f"{arguments.what}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
