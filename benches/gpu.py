#!/usr/bin/env python3
"""Times planning and training on one device, in its own right: the table of docs/performance.md.

    cargo build --release --features vulkan
    python3 benches/gpu.py --device vulkan

Each row is a process of `latco bench` at the sizes of the LatCo paper; its milliseconds are the median of
one iteration (of a whole plan in the last two rows) after a first run that does not count. How long the
process took tells what compiling shaders adds. `compare.py --device vulkan` sets JAX beside them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Row:
    """One job at one size."""

    job: str
    title: str
    flags: tuple[str, ...]


def side_by_side(job, plans, repeats):
    title = "1 plan" if plans == 1 else f"{plans} plans"
    return Row(job, title, ("--plans", str(plans), "--repeats", str(repeats)))


ROWS = [
    *(side_by_side("gauss-newton", plans, 10) for plans in (1, 16, 256)),
    *(side_by_side("first-order", plans, 100) for plans in (1, 16, 256)),
    Row("cem", "10,000 samples", ("--samples", "10000", "--repeats", "10")),
    Row("train", "16 × 20 frames",
        ("--batch", "16", "--length", "20", "--image", "64", "--depth", "16", "--repeats", "20")),
    Row("plan", "cold", ("--repeats", "3")),
    Row("replan", "warm", ("--repeats", "5")),
]


def measure(row, latco, device):
    """What `latco bench` says of `row`, with the seconds of the process."""
    command = [str(latco), "bench", "--job", row.job, *row.flags, "--device", device, "--json"]
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"error: {latco} cannot be run: {error.strerror}")
    if done.returncode != 0:
        sys.exit(f"error: {row.job}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout)[0] | {"title": row.title, "process_s": time.monotonic() - began}


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    parser.add_argument("--latco", type=Path, default=target / "release" / "latco", metavar="PATH",
                        help="the latco binary (default: that of `cargo build --release`)")
    parser.add_argument("--device", default="auto", metavar="NAME", help="a name of `latco devices`")
    parser.add_argument("--job", action="append", dest="jobs", metavar="NAME",
                        choices=sorted({row.job for row in ROWS}),
                        help="only this job; may be given several times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    return parser.parse_args()


def main():
    given = arguments()
    measured = []
    print("| job | | ms | Gflop/s | share of peak | the process, s |\n|---|---|---|---|---|---|")
    for row in ROWS:
        if given.jobs and row.job not in given.jobs:
            continue
        run = measure(row, given.latco.resolve(), given.device)
        measured.append(run)
        rate = f"{run['gflop'] / run['ms'] * 1e3:.0f}" if run["gflop"] else ""
        share = f"{run['share_of_peak']:.3f}" if run["share_of_peak"] else ""
        print(f"| {row.job} | {row.title} | {run['ms']:.2f} | {rate} | {share} | "
              f"{run['process_s']:.1f} |", flush=True)
    if given.json:
        given.json.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
