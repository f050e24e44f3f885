#!/usr/bin/env python3
"""Counts the kernels that an iteration of each planner starts on a GPU.

    cargo build --release --features wgpu
    python3 benches/kernels.py

Each planner runs twice on a shipped model, with a few iterations and with some more, while CubeCL logs
every kernel that it starts. The difference over the iterations between is what one iteration takes;
what a plan takes once is what is left. Any driver will do, also one that computes on the CPU: the
number of kernels depends on the planner and the horizon, not on the device.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PLANNERS = ["latco", "latco-gaussian", "latco-first-order", "latco-particles", "latco-likelihood",
            "latco-kl", "image-collocation", "grasp", "cem", "icem", "mppi", "shooting-gd",
            "shooting-gn", "ilqr"]
ITERATIONS = (2, 4)
LOG = "kernels.log"
CUBECL = f'[profiling.logger]\nlevel = "minimal"\nfile = "{LOG}"\n'


def run(given, planner, iterations):
    """The kernels and iterations of one plan."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "cubecl.toml").write_text(CUBECL)
        command = [given.latco.resolve(), "plan", "--json", "--device", given.device,
                   "--checkpoint", given.checkpoint.resolve(), "--image", given.image.resolve(),
                   "--horizon", str(given.horizon), "--planner", planner,
                   "--set", f"iterations={iterations}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"error: {planner}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        log = Path(folder, LOG)
        lines = log.read_text().splitlines() if log.exists() else []
        started = sum(line.startswith("Executing") for line in lines)
        return started, json.loads(done.stdout)["iterations"]


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    parser.add_argument("--image", type=Path, default=REPOSITORY / "assets" / "images" / "reach.png",
                        metavar="PNG", help="what is seen at first (default: an image of reach)")
    parser.add_argument("--latco", type=Path, default=target / "release" / "latco", metavar="PATH")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE",
                        default=REPOSITORY / "assets" / "checkpoints" / "reach.safetensors")
    parser.add_argument("--device", default="wgpu", metavar="NAME")
    parser.add_argument("--horizon", type=int, default=30, metavar="T")
    parser.add_argument("--planner", action="append", dest="planners", metavar="NAME",
                        help="only this planner; may be given several times")
    return parser.parse_args()


def main():
    given = arguments()
    print("| planner | kernels an iteration | once a plan |\n|---|---|---|")
    for planner in given.planners or PLANNERS:
        (few, first), (more, last) = (run(given, planner, count) for count in ITERATIONS)
        if last == first:
            sys.exit(f"error: {planner} stopped after {first} iterations")
        each = (more - few) / (last - first)
        print(f"| `{planner}` | {each:.0f} | {few - first * each:.0f} |", flush=True)


if __name__ == "__main__":
    main()
