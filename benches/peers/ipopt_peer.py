#!/usr/bin/env python3
"""Solves latco's analytic problems by IPOPT and by latco, and prints returns and times side by side.

    pip install casadi numpy
    cargo build --release
    python3 benches/peers/ipopt_peer.py --problem point --problem pendulum --seeds 3

IPOPT (through CasADi, exact second derivatives, float64) solves the multiple-shooting problem on the
same discrete dynamics as `latco solve`:

    max Σ_t r(z_t)   subject to   z_{t+1} = f(z_t, a_t),   |a_t| ≤ 1,

with all latents and actions as variables. A seed is a start: the best of some smooth random rollouts
by Σ log r. From there IPOPT maximises Σ log r, then Σ log (r + 0.01), then Σ r itself, since the reward
alone is flat away from the goal. What counts for both is the return of the actions rolled out.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent

try:
    import casadi as ca
    import numpy as np
except ImportError as error:
    sys.exit(f"error: {error.name} is missing: install it with `pip install casadi numpy`")

STARTS = 64
"""Random rollouts that a start is chosen from."""

FLOOR = 0.01
"""What the second stage adds to a reward: steps without reward no longer count, those with some do."""


@dataclass(frozen=True)
class Model:
    """Symbolic dynamics and distances."""

    latent: ca.SX
    action: ca.SX
    following: ca.SX
    squares: ca.SX
    """The squared distances d² to the parts of the goal."""


def point(h, size):
    z, a = ca.SX.sym("z", 2 * size), ca.SX.sym("a", size)
    speed = z[size:] + 3.33 * h * a
    position = z[:size] + 3.33 * h * speed
    goal = ca.DM([1 if index % 2 == 0 else -1 for index in range(size)])
    return Model(z, a, ca.vertcat(position, speed), ca.sumsqr(z[:size] - goal))


def effectors(h, size):
    z, a = ca.SX.sym("z", 2 * size), ca.SX.sym("a", 2 * size)
    goal = ca.DM([f(2.4 * index) for index in range(size) for f in (math.cos, math.sin)])
    return Model(z, a, z + 2 * h * a, ca.sum1(ca.reshape((z - goal) ** 2, 2, size)).T)


def pendulum(h, _):
    z, a, dt = ca.SX.sym("z", 2), ca.SX.sym("a", 1), 5 * h
    speed = z[1] + dt / 4 * (4 * a - 9.81 * ca.sin(z[0]))
    angle = z[0] + 4 * dt * speed
    return Model(z, a, ca.vertcat(angle, speed), 2 * (1 + ca.cos(z[0])) + z[1] ** 2 / 4)


def cartpole(h, _):
    z, a, dt = ca.SX.sym("z", 4), ca.SX.sym("a", 1), 4 * h
    cart, pole, length, gravity = 1.0, 0.3, 0.5, 9.81
    sine, cosine = ca.sin(z[1]), ca.cos(z[1])
    force = 8 * a + length * pole * (4 * z[3]) ** 2 * sine
    mass = cart + pole - pole * cosine**2
    speed = z[2] + dt / 2 * (force + pole * gravity * cosine * sine) / mass
    turn = -(force * cosine + (cart + pole) * gravity * sine) / (mass * length)
    spin = z[3] + dt / 4 * turn
    position, angle = z[0] + 2 * dt * speed, z[1] + 4 * dt * spin
    square = 2 * (1 + cosine) + z[0] ** 2 + 0.1 * z[3] ** 2
    return Model(z, a, ca.vertcat(position, angle, speed, spin), square)


def car(h, _):
    z, a = ca.SX.sym("z", 4), ca.SX.sym("a", 2)
    speed = z[3] * (1 - h) + 8 * h * a[0]
    way = 2 * h * speed
    heading = z[2] + 2.5 * way * a[1]
    x, y = z[0] + way * ca.cos(heading), z[1] + way * ca.sin(heading)
    square = z[0] ** 2 + (z[1] - 0.8) ** 2 + 2 * (1 - ca.cos(z[2])) + z[3] ** 2 / 4
    return Model(z, a, ca.vertcat(x, y, heading, speed), square)


def quadrotor(h, _):
    z, a, dt = ca.SX.sym("z", 6), ca.SX.sym("a", 2), 3 * h
    thrust = 9.81 + 4.9 * (a[0] + a[1])
    spin = z[5] + 15 * dt / 4 * (a[1] - a[0])
    across = z[3] - dt / 2 * thrust * ca.sin(z[2])
    upward = z[4] + dt / 2 * (thrust * ca.cos(z[2]) - 9.81)
    pose = ca.vertcat(z[0] + 2 * dt * across, z[1] + 2 * dt * upward, z[2] + 4 * dt * spin)
    square = (z[0] - 1) ** 2 + (z[1] - 0.5) ** 2 + 2 * (1 - ca.cos(z[2]))
    return Model(z, a, ca.vertcat(pose, across, upward, spin), square)


def log_gauss(squares, width):
    return -squares / (2 * width**2)


def log_cauchy(squares, width):
    return -ca.log1p(squares / width**2)


def log_sigmoid(squares, width):
    logits = 4 - 4 / width * ca.sqrt(squares + 1e-6)
    return ca.fmin(logits, 0) - ca.log1p(ca.exp(-ca.fabs(logits)))


HEADS = {"gauss": log_gauss, "cauchy": log_cauchy, "sigmoid": log_sigmoid}


@dataclass(frozen=True)
class Problem:
    """A problem with the arguments that both programs are given."""

    name: str
    model: Callable[[float, int], Model]
    size: int
    horizon: int
    width: float
    head: str = "gauss"

    def arguments(self):
        """As `latco solve --arg` takes them."""
        names = ("size", "horizon", "width", "head")
        return [f"{name}={getattr(self, name)}" for name in names]


PROBLEMS = [
    Problem("point", point, 4, 200, 0.1),
    Problem("point", point, 16, 100, 0.2),
    Problem("point", point, 8, 100, 0.1, "cauchy"),
    Problem("effectors", effectors, 8, 50, 0.3, "sigmoid"),
    Problem("pendulum", pendulum, 1, 200, 0.2),
    Problem("car", car, 1, 100, 0.2),
    Problem("quadrotor", quadrotor, 1, 100, 0.2),
    Problem("cartpole", cartpole, 1, 200, 0.3),
]


class Collocation:
    """Multiple shooting of one problem, each stage's objective compiled once."""

    def __init__(self, problem, iterations):
        self.problem = problem
        model = problem.model(1 / problem.horizon, problem.size)
        self.latent, self.action = model.latent.shape[0], model.action.shape[0]
        log_reward = ca.sum1(HEADS[problem.head](model.squares, problem.width))
        self.step = ca.Function("step", [model.latent, model.action], [model.following])
        self.log_reward = ca.Function("log_reward", [model.latent], [log_reward])
        self.solvers = self.compiled(iterations)

    def compiled(self, iterations):
        """A solver for each stage, in turn."""
        steps = self.problem.horizon
        latents = ca.MX.sym("latents", self.latent, steps)
        actions = ca.MX.sym("actions", self.action, steps)
        before = ca.horzcat(ca.DM.zeros(self.latent), latents[:, :-1])
        defects = latents - self.step.map(steps)(before, actions)
        logs = self.log_reward.map(steps)(latents)
        rewards = ca.exp(logs)
        stages = {"log": logs, "floored": ca.log(rewards + FLOOR), "reward": rewards}
        variables = ca.veccat(latents, actions)
        options = {"ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": False,
                   "ipopt.max_iter": iterations}
        return [
            ca.nlpsol(name, "ipopt",
                      {"x": variables, "f": -ca.sum2(terms), "g": ca.vec(defects)}, options)
            for name, terms in stages.items()
        ]

    def roll_out(self, actions):
        """The latents `[latent, steps]` that `actions` `[action, steps]` lead to from zero."""
        return self.step.mapaccum(actions.shape[1])(np.zeros(self.latent), actions).full()

    def logs(self, latents):
        return self.log_reward.map(latents.shape[1])(latents).full().ravel()

    def start(self, seed):
        """The best of some smooth random rollouts, latents and actions in one vector."""
        generator = np.random.default_rng(seed)
        shape = (STARTS, self.action, self.problem.horizon)
        walks = np.cumsum(generator.normal(size=shape), axis=2) / math.sqrt(self.problem.horizon)
        rollouts = [(self.roll_out(actions), actions) for actions in walks.clip(-1, 1)]
        latents, actions = max(rollouts, key=lambda rollout: self.logs(rollout[0]).sum())
        return np.concatenate([latents.ravel("F"), actions.ravel("F")])

    def solve(self, seed):
        """Return of the actions found rolled out, and seconds without compilation."""
        begun = time.perf_counter()
        variables = self.start(seed)
        free = self.latent * self.problem.horizon
        bounds = np.ones(len(variables))
        bounds[:free] = np.inf
        for solver in self.solvers:
            found = solver(x0=variables, lbx=-bounds, ubx=bounds, lbg=0, ubg=0)
            variables = found["x"].full().ravel()
        seconds = time.perf_counter() - begun
        actions = variables[free:].reshape(self.action, -1, order="F").clip(-1, 1)
        return float(np.exp(self.logs(self.roll_out(actions))).sum()), seconds


def fail(message):
    sys.exit(f"error: {message}")


def of_latco(latco, problem, planner, seeds):
    """Pairs of return and seconds, one for each seed."""
    given = [word for argument in problem.arguments() for word in ("--arg", argument)]
    command = [str(latco), "solve", problem.name, *given, "--planner", planner,
               "--seeds", str(seeds), "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        fail(f"`{' '.join(command)}` failed: {reason}")
    return [(plan["rollout_reward"], plan["seconds"]) for plan in json.loads(done.stdout)]


def compare(given):
    """What each program found, problem by problem."""
    runs = []
    for problem in (problem for problem in PROBLEMS if problem.name in given.problems):
        title = " ".join([problem.name, *problem.arguments()])
        print(f"{title}: IPOPT", file=sys.stderr)
        collocation = Collocation(problem, given.iterations)
        peer = [collocation.solve(seed) for seed in range(given.seeds)]
        print(f"{title}: latco", file=sys.stderr)
        ours = of_latco(given.latco, problem, given.planner, given.seeds)
        runs.append({"problem": title, "ipopt": peer, "latco": ours})
    return runs


def cells(pairs):
    """Best and mean return, and median seconds."""
    returns, seconds = zip(*pairs)
    return [f"{max(returns):.2f}", f"{statistics.mean(returns):.2f}",
            f"{statistics.median(seconds):.2f}"]


def table(runs):
    """`runs` in markdown."""
    lines = [
        "| problem | IPOPT best | mean | seconds | latco best | mean | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        row = [run["problem"], *cells(run["ipopt"]), *cells(run["latco"])]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def default_latco():
    """The release binary that `cargo build --release` leaves."""
    target = os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")
    return Path(target) / "release" / "latco"


def arguments():
    names = sorted({problem.name for problem in PROBLEMS})
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--latco", type=Path, default=default_latco(), metavar="PATH",
                        help="the latco binary (default: that of `cargo build --release`)")
    parser.add_argument("--planner", default="latco", metavar="NAME",
                        help="latco's planner (default: latco)")
    parser.add_argument("--problem", action="append", dest="problems", metavar="NAME", choices=names,
                        help=f"one of {', '.join(names)}; may be given several times (default: all)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--iterations", type=int, default=500, metavar="N",
                        help="iterations of each of IPOPT's three stages, at most (default: 500)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run to this file")
    given = parser.parse_args()
    given.problems = given.problems or names
    for name in ("seeds", "iterations"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return given


def main():
    given = arguments()
    if not given.latco.is_file():
        fail(f"no binary {given.latco}: build it with `cargo build --release`, or give --latco")
    runs = compare(given)
    print(f"CasADi {ca.__version__}; {given.seeds} seeds\n")
    print(table(runs))
    if given.json:
        given.json.write_text(json.dumps(runs, indent=2) + "\n")


if __name__ == "__main__":
    main()
