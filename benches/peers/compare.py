#!/usr/bin/env python3
"""Runs the same work in JAX and in latco, in turn on the same machine, and prints the ratios.

    pip install jax
    cargo build --release
    python3 benches/peers/compare.py

Each round runs every job in JAX and then in latco, both on the CPU (or both on the GPU, with
`--device vulkan` or another), so that both see the same load of the machine. A run gives the median
milliseconds of one step; the table has the medians over rounds, and as ratio the peer's divided by
ours. `share of peak` is the share of the machine's matrix-product rate that ours reaches, as `latco
bench` measures it. Gauss-Newton stands twice: against the step as published, of dense blocks, and
against our own way of it, one unknown a reward residual, written in JAX. Ours does more in a first-
order iteration and a train step: Adam, dual ascent and figures for observers, where the peer takes
a plain gradient step.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
PEER = HERE / "jax_peer.py"


@dataclass(frozen=True)
class Comparison:
    """One row of the table."""

    job: str
    """The name of the job in both programs."""
    sizes: dict[str, int]
    """The size flags that both programs are given; others keep their common defaults."""
    peer_repeats: int
    our_repeats: int
    double: bool = False
    """Whether the peer computes in float64."""
    peer_job: str | None = None
    """The peer's name of the job, where that differs."""

    @property
    def precision(self):
        return "float64" if self.double else "float32"

    def name(self):
        """The job, and how the peer does it where it has several ways."""
        return f"{self.job} ({self.peer_job})" if self.peer_job else self.job

    def peer_arguments(self):
        precision = ["--x64"] if self.double else []
        return [self.peer_job or self.job, *flags(self.sizes | {"repeats": self.peer_repeats}), *precision]

    def our_arguments(self, device):
        sizes = flags(self.sizes | {"repeats": self.our_repeats})
        return ["bench", "--job", self.job, *sizes, "--device", device, "--json"]


COMPARISONS = [
    Comparison("gauss-newton", {"horizon": 30}, 5, 20, double=True),
    Comparison("gauss-newton", {"horizon": 30}, 5, 20),
    Comparison("gauss-newton", {"horizon": 30}, 50, 20, peer_job="residual-space"),
    Comparison("first-order", {"horizon": 30}, 20, 200),
    Comparison("first-order", {"horizon": 300}, 10, 50),
    Comparison("cem", {"horizon": 30, "samples": 10_000}, 2, 2),
    Comparison("train", {"batch": 16, "length": 20, "image": 64, "depth": 16}, 3, 3),
]


def flags(sizes):
    """Command-line flags for `sizes`."""
    return [word for name, size in sizes.items() for word in (f"--{name}", str(size))]


def fail(message):
    sys.exit(f"error: {message}")


def jax_environment(device):
    """Has JAX compute where latco's `device` does, in full single precision on a GPU too."""
    platform_of = {"flex": "cpu", "ndarray": "cpu"}
    return os.environ | {"JAX_PLATFORMS": platform_of.get(device, "cuda"),
                         "JAX_DEFAULT_MATMUL_PRECISION": "float32"}


def output_of(command, environment=None):
    """What `command` prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    except OSError as error:
        fail(f"{command[0]} cannot be run: {error.strerror}")
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        fail(f"`{' '.join(command)}` failed: {reason}")
    return done.stdout


def jax_versions(python, environment):
    """The version of JAX that `python` has, and the device that it computes on."""
    code = "import jax; print(jax.__version__); print(jax.devices()[0].device_kind)"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, env=environment)
    except OSError as error:
        fail(f"{python} cannot be run: {error.strerror}")
    if done.returncode != 0:
        fail(f"{python} has no JAX for this device: install it with `{python} -m pip install jax`"
             " (`jax[cuda13]` for an NVIDIA GPU)")
    return done.stdout.strip().splitlines()


def default_latco():
    """The release binary that `cargo build --release` leaves."""
    target = os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")
    return Path(target) / "release" / "latco"


def processor():
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores():
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def measure(comparisons, rounds, python, latco, device):
    """The runs of each comparison, a pair `{"peer": …, "ours": …}` for each round."""
    runs = [[] for _ in comparisons]
    environment = jax_environment(device)
    for number in range(1, rounds + 1):
        for comparison, pairs in zip(comparisons, runs):
            print(f"round {number}/{rounds}: {title(comparison)}", file=sys.stderr)
            peer = output_of([python, str(PEER), *comparison.peer_arguments()], environment)
            ours = output_of([str(latco), *comparison.our_arguments(device)])
            pairs.append({"peer": json.loads(peer), "ours": json.loads(ours)[0]})
    return runs


def summarise(comparison, pairs):
    """Medians over the rounds, and their ratio."""

    def median(program, figure):
        return statistics.median(pair[program][figure] for pair in pairs)

    peer, ours = median("peer", "ms"), median("ours", "ms")
    return {
        "job": comparison.name(),
        "sizes": comparison.sizes,
        "peer_precision": comparison.precision,
        "peer_ms": peer,
        "our_ms": ours,
        "ratio": peer / ours,
        "share_of_peak": median("ours", "share_of_peak"),
        "peak_gflops": median("ours", "peak_gflops"),
        "runs": pairs,
    }


def listed(sizes):
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def title(comparison):
    return f"{comparison.name()}, {listed(comparison.sizes)}, against {comparison.precision}"


def rounded(number):
    """Some three digits of `number`."""
    return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f}"


def table(rows):
    """`rows` in markdown."""
    lines = [
        "| job | sizes | JAX | JAX ms | latco ms | JAX ÷ latco | share of peak |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row["job"],
            listed(row["sizes"]),
            row["peer_precision"],
            rounded(row["peer_ms"]),
            rounded(row["our_ms"]),
            rounded(row["ratio"]),
            f"{row['share_of_peak']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def machine():
    """What the figures depend on besides the programs."""
    return {"processor": processor(), "cores": cores(), "system": platform.system()}


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--latco", type=Path, default=default_latco(), metavar="PATH",
                        help="the latco binary (default: that of `cargo build --release`)")
    parser.add_argument("--python", default=sys.executable, metavar="PATH",
                        help="a Python that has JAX (default: the one that runs this script)")
    parser.add_argument("--device", default="flex", metavar="NAME",
                        help="latco's device; JAX computes on the CPU for flex and ndarray, on the GPU"
                             " for others (default: flex)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--job", action="append", dest="jobs", metavar="NAME",
                        choices=sorted({comparison.job for comparison in COMPARISONS}),
                        help="only this job; may be given several times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run to this file")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error("--rounds must be at least 1")
    return given


def main():
    given = arguments()
    if not given.latco.is_file():
        fail(f"no binary {given.latco}: build it with `cargo build --release`, or give --latco")
    jax_version, jax_device = jax_versions(given.python, jax_environment(given.device))
    versions = {"jax": jax_version,
                "latco": output_of([str(given.latco), "--version"]).split()[-1]}
    chosen = [comparison for comparison in COMPARISONS
              if not given.jobs or comparison.job in given.jobs]
    runs = measure(chosen, given.rounds, given.python, given.latco, given.device)
    rows = [summarise(comparison, pairs) for comparison, pairs in zip(chosen, runs)]
    host = machine() | {"device": given.device, "jax_device": jax_device}
    peak = statistics.median(row["peak_gflops"] for row in rows)
    print(f"{host['processor']}, {host['cores']} cores, {host['system']}; latco on {given.device}, "
          f"JAX on {jax_device}; matrix products at {peak:.0f} Gflop/s; JAX {versions['jax']}, "
          f"latco {versions['latco']}; medians of {given.rounds} rounds\n")
    print(table(rows))
    if given.json:
        record = {"machine": host, "versions": versions, "rounds": given.rounds, "rows": rows}
        given.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
