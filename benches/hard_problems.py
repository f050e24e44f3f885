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

HORIZONS = [30, 60, 100, 200, 400]
SIZES = [1, 2, 4, 8, 16]


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
    for what, values in (("horizon", HORIZONS), ("size", SIZES)):
        for value in values:
            problem = ["point", "--arg", f"{what}={value}"]
            own = solve(latco, problem, "latco", seeds=seeds)
            limit = int(1000 * statistics.median(row["seconds"] for row in own)) + 1
            found = {"latco": own}
            for name, (planner, settings) in PLANNERS.items():
                if planner != "latco":
                    more = ["iterations=1000"] if planner in ("icem", "mppi", "cem") else []
                    rows = solve(latco, problem, planner, settings + more, seeds, limit)
                    found[name] = rows
            best = max(row["rollout_reward"] for rows in found.values() for row in rows)
            for name, rows in found.items():
                share = statistics.mean(row["rollout_reward"] for row in rows) / best
                results.append({"what": what, "value": value, "method": name, "share": share})
                print(f"{what} {value} {name}: {share:.3f}", flush=True)
    return results


def plot(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    labels = {"horizon": "horizon (steps), point in 4 dimensions", "size": "dimensions, horizon 100"}
    for axis, what in zip(axes, labels):
        for method in dict.fromkeys(row["method"] for row in results):
            rows = [row for row in results if row["method"] == method and row["what"] == what]
            axis.plot(
                [row["value"] for row in rows],
                [row["share"] for row in rows],
                marker="o",
                linewidth=2.5 if method == "latco" else 1.2,
                label=method,
            )
        axis.set_xscale("log", base=2)
        axis.set_xticks([row["value"] for row in rows], [str(row["value"]) for row in rows])
        axis.set_xlabel(labels[what])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("return ÷ best found, equal wall time")
    axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=110)


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
