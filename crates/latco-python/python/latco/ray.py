"""Collecting, evaluation, suites and trainings spread over a Ray cluster.

Each episode of `collect` and `evaluate` and each row of `suite` is a task of its own, with its seeds: one whose worker is
killed runs again on another, with the same outcome. Workers only compute; what comes back is written by the caller
alone, whole or not at all, so that nothing is written twice, and a folder that is half full is filled up by the same
call. A training is a task that writes its run's folder, and goes on there if it is killed.

>>> ray.init("auto")
>>> latco.ray.evaluate(agent, make_env, episodes=100)
>>> latco.ray.collect(make_env, "recordings", episodes=1000)
>>> latco.ray.suite(["reach", "push"], ["latco", "icem"])
>>> latco.ray.train(make_env, "runs", seeds=range(3), steps=5000)
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import ray

from . import _latco, _train
from ._agent import Agent
from ._environment import Source, opened
from ._errors import RunError, whole
from ._train import _Line

try:
    import fcntl
except ImportError:  # On Windows one caller at a time has to do.
    fcntl = None

#: How often an episode runs again after its worker was lost.
RETRIES = 5

#: Where the seeds of recordings begin, as those of `latco collect`: evaluations are of other scenes.
RECORDED_SEEDS = 2**30


@functools.lru_cache(maxsize=4)
def _agent(digest: str, arguments: str) -> Agent:
    path = pathlib.Path(tempfile.gettempdir()) / f"latco-{digest}.safetensors"
    return Agent.load(path, **json.loads(arguments))


def _unpacked(packed: dict[str, Any]) -> Agent:
    """The agent on a worker, which keeps it for its next episodes."""
    path = pathlib.Path(tempfile.gettempdir()) / f"latco-{packed['digest']}.safetensors"
    if not path.exists():
        _write(path, packed["checkpoint"])
    agent = _agent(packed["digest"], packed["arguments"])
    agent.set_goal(packed["goal"])
    return agent


def _packed(agent: Agent) -> dict[str, Any]:
    arguments = dict(agent._arguments)
    checkpoint = arguments.pop("checkpoint")
    if not isinstance(checkpoint, bytes):
        checkpoint = pathlib.Path(checkpoint).read_bytes()
    return {
        "digest": hashlib.sha256(checkpoint).hexdigest()[:24],
        "checkpoint": checkpoint,
        # Numbers of numpy are numbers.
        "arguments": json.dumps(arguments, sort_keys=True, default=lambda number: number.tolist()),
        "goal": agent._goal,
    }


def _identity(packed: dict[str, Any], env: Source, arguments: Mapping[str, Any] | None) -> str:
    """Tells evaluations of another agent or goal, or in another environment of a name, apart."""
    goal = packed["goal"]
    told = [
        packed["digest"],
        packed["arguments"],
        None if goal is None else [str(goal.dtype), goal.shape, goal.tobytes().hex()],
        env if isinstance(env, str) else None,
        dict(arguments or {}),
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode()).hexdigest()[:24]


def _write(path: pathlib.Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all, for all to read who may read new files."""
    part = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@ray.remote(max_retries=RETRIES)
def _evaluated(
    packed: dict[str, Any], env: Source, arguments: Mapping[str, Any] | None, seed: int
) -> dict[str, Any]:
    agent = _unpacked(packed)
    with opened(env, arguments, agent=agent._inner) as (environment,):
        return _latco.evaluate(agent._inner, environment, seed, 1, None, None)


@ray.remote(max_retries=RETRIES)
def _recorded(
    packed: dict[str, Any] | None,
    policy: str,
    env: Source,
    arguments: Mapping[str, Any] | None,
    seed: int,
) -> tuple[bytes, dict[str, Any]]:
    agent = None if packed is None else _unpacked(packed)._inner
    made = opened(env, arguments, agent=agent)
    with tempfile.TemporaryDirectory() as folder, made as (environment,):
        path = os.path.join(folder, "episode.npz")
        told = _latco.record(environment, agent, policy, seed, path)
        return pathlib.Path(path).read_bytes(), told


def _done(tasks: dict[Any, int]) -> Iterator[tuple[int, Any]]:
    """The answers of tasks as they come, with their indices."""
    waiting = list(tasks)
    while waiting:
        ready, waiting = ray.wait(waiting)
        for task in ready:
            yield tasks[task], ray.get(task)


def evaluate(
    agent: Agent,
    env: str | Callable[[], Any],
    *,
    episodes: int = 10,
    seed: int = 1234,
    env_args: Mapping[str, Any] | None = None,
    cpus: float = 1,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """As `latco.evaluate`, with an episode a task; deadlines apart, the figures are the same.

    Args:
        agent: Who acts: its checkpoint goes to the workers once each.
        env: A function that makes the environment on a worker, or a name.
        episodes: How many.
        seed: The first episode's.
        env_args: As in `latco.train`.
        cpus: CPUs that an episode asks the cluster for.
        folder: Where each episode's result is kept, `seed-N.json`; those that are there, of the same agent and
            arguments, are not run again. Environments that are functions are taken for the same.
        progress: Whether to show a line of progress.
    """
    episodes, seed = whole("episodes", episodes, 1), whole("seed", seed)
    line, packed = _Line(progress), _packed(agent)
    identity = _identity(packed, env, env_args)
    seeds = range(seed, seed + episodes)
    kept: dict[int, pathlib.Path] = {}
    if folder is not None:
        os.makedirs(folder, exist_ok=True)
        kept = {one: pathlib.Path(folder) / f"seed-{one}.json" for one in seeds}
    there = {one: json.loads(path.read_text()) for one, path in kept.items() if path.exists()}
    results = {one: result for one, result in there.items() if result.get("agent") == identity}
    task, agent_there = _evaluated.options(num_cpus=cpus), ray.put(packed)
    tasks = {task.remote(agent_there, env, env_args, one): one for one in seeds if one not in results}
    try:
        for one, result in _done(tasks):
            if one in kept:
                _write(kept[one], json.dumps(result | {"agent": identity}).encode())
            results[one] = result
            line.show(f"{len(results)} of {episodes} episodes")
    finally:
        line.end()
    ordered = [results[one] for one in seeds]
    episodes_of = [result["results"][0] for result in ordered]
    first = ordered[0]
    return _latco.summarise(first["env"], first["planner"], first["device"], seed, episodes_of)


def collect(
    env: str | Callable[[], Any],
    folder: str | os.PathLike[str],
    *,
    episodes: int,
    policy: str | Agent = "drifting",
    seed: int = RECORDED_SEEDS,
    env_args: Mapping[str, Any] | None = None,
    cpus: float = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Records episodes as `latco collect` does, `episode-NNNNNN.npz` with the seed `seed + NNNNNN`.

    Args:
        env: A function that makes the environment on a worker, or a name.
        folder: Where the recordings go; those that are there are not made again.
        episodes: How many there are to be.
        policy: `random`, `drifting`, `scripted`, or an agent.
        seed: The first episode's; by itself beyond those of evaluations, as for `latco collect`.
        env_args: As in `latco.train`.
        cpus: CPUs that an episode asks the cluster for.
        progress: Whether to show a line of progress.

    Returns:
        `episodes` and `frames` that were recorded now, their `success_rate` and `return_mean`.
    """
    episodes, seed = whole("episodes", episodes), whole("seed", seed)
    line = _Line(progress)
    root = pathlib.Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    packed: Any = None
    if isinstance(policy, Agent):
        packed, policy = ray.put(_packed(policy)), "agent"
    task = _recorded.options(num_cpus=cpus)
    paths = {index: root / f"episode-{index:06}.npz" for index in range(episodes)}
    tasks = {
        task.remote(packed, policy, env, env_args, seed + index): index
        for index, path in paths.items()
        if not path.exists()
    }
    told = []
    try:
        for index, (content, figures) in _done(tasks):
            _write(paths[index], content)
            told.append(figures)
            line.show(f"{len(told)} of {len(tasks)} episodes")
    finally:
        line.end()
    count = max(1, len(told))
    return {
        "episodes": len(told),
        "frames": sum(figures["frames"] for figures in told),
        "success_rate": sum(figures["success"] for figures in told) / count,
        "return_mean": sum(figures["return"] for figures in told) / count,
    }


def _command(arguments: list[str]) -> Any:
    """What the command reports."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    call = [sys.executable, "-m", "latco", *arguments, "--json", "--quiet"]
    done = subprocess.run(call, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RunError(done.stderr.strip() or f"latco {arguments[0]} ended with {done.returncode}")
    return json.loads(done.stdout)


class _Task:
    """A task of a suite: a name, or a benchmark's file."""

    def __init__(self, source: str | os.PathLike[str], checkpoints: pathlib.Path):
        text = os.fspath(source)
        self.benchmark = pathlib.Path(text) if text.endswith(".toml") else None
        checkpoint = name = self.benchmark.stem if self.benchmark else text
        if self.benchmark:
            told = tomllib.loads(self.benchmark.read_text()).get("evaluation", {})
            checkpoint = told.get("checkpoint") or name
        self.flags = ["--benchmark", text] if self.benchmark else ["--env", text]
        self.results = f"{self._plain(name)}.json"
        self.checkpoint = checkpoints / f"{self._plain(checkpoint)}.safetensors"

    @staticmethod
    def _plain(name: str) -> str:
        return re.sub(r"[^A-Za-z0-9._-]", "-", name)

    def files(self, out: pathlib.Path) -> dict[str, bytes]:
        """What a worker needs: the checkpoint, the benchmark, results that are there already."""
        try:
            found = {f"checkpoints/{self.checkpoint.name}": self.checkpoint.read_bytes()}
        except OSError as error:
            raise RunError(f"the task {self.flags[1]} has no checkpoint: {error}") from error
        if self.benchmark:
            found[self.benchmark.name] = self.benchmark.read_bytes()
        with contextlib.suppress(FileNotFoundError):
            found[f"results/{self.results}"] = (out / self.results).read_bytes()
        return found


@ray.remote(max_retries=RETRIES)
def _row(files: dict[str, bytes], flags: list[str], results: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        own = [str(root / flag) if flag in files else flag for flag in flags]
        folders = ["--out", str(root / "results"), "--checkpoints", str(root / "checkpoints")]
        _command(["suite", *own, *folders])
        return json.loads((root / "results" / results).read_text())


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
    """As `latco suite` holds a folder of results while it adds one."""
    with open(path, "a") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _add(out: pathlib.Path, results: str, planner: str, entries: list[dict[str, Any]]) -> None:
    path = out / results
    with _locked(out / ".lock"):
        there = json.loads(path.read_text()) if path.exists() else []
        others = [entry for entry in there if entry["planner"] != planner]
        own = [entry for entry in entries if entry["planner"] == planner]
        _write(path, json.dumps(others + own, indent=2).encode())


def suite(
    tasks: Iterable[str | os.PathLike[str]],
    planners: Iterable[str],
    *,
    checkpoints: str | os.PathLike[str] = "assets/checkpoints",
    out: str | os.PathLike[str] = "results",
    episodes: int | None = None,
    seed: int | None = None,
    cpus: float = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """As `latco suite`, with a task and a planner a worker, into the same folder.

    Args:
        tasks: Names of environments, or files of benchmarks (`.toml`).
        planners: Names of `latco planners`.
        checkpoints: The folder with a checkpoint a task, `NAME.safetensors`.
        out: The folder of the results. Those that are there, of the same checkpoint, are kept.
        episodes: How many of each planner; as many as `latco suite`, unless told otherwise.
        seed: The first episode's.
        cpus: CPUs that a row asks the cluster for.
        progress: Whether to show a line of progress.

    Returns:
        The report of `latco suite --json`.

    Raises:
        RunError: A task has no checkpoint of its own, or a planner is not known.
    """
    line, folder = _Line(progress), pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    entrants = [_Task(task, pathlib.Path(checkpoints)) for task in tasks]
    planners = list(planners)
    common = [] if episodes is None else ["--episodes", str(episodes)]
    common += [] if seed is None else ["--seed", str(seed)]
    task = _row.options(num_cpus=cpus)
    rows, asked = [(entrant, planner) for entrant in entrants for planner in planners], {}
    for index, (entrant, planner) in enumerate(rows):
        named = entrant.flags[:1] + [entrant.benchmark.name if entrant.benchmark else entrant.flags[1]]
        flags = [*named, "--planner", planner, *common]
        asked[task.remote(entrant.files(folder), flags, entrant.results)] = index
    try:
        for done, (index, entries) in enumerate(_done(asked), 1):
            entrant, planner = rows[index]
            _add(folder, entrant.results, planner, entries)
            line.show(f"{done} of {len(rows)} rows")
    finally:
        line.end()
    flags = [flag for entrant in entrants for flag in entrant.flags]
    flags += [flag for planner in planners for flag in ("--planner", planner)]
    return _command(["suite", *flags, *common, "--out", str(folder), "--checkpoints", str(checkpoints)])


@ray.remote(max_retries=RETRIES)
def _trained(env: Source, run: str, arguments: dict[str, Any]) -> dict[str, Any]:
    is_begun = (pathlib.Path(run) / "config.toml").exists()
    return _train.train(env, run, resume=is_begun, progress=False, **arguments)


def train(
    env: str | Callable[[], Any],
    folder: str | os.PathLike[str],
    *,
    seeds: Iterable[int],
    cpus: float = 1,
    progress: bool = True,
    **arguments: Any,
) -> list[dict[str, Any]]:
    """Trainings with several seeds, `latco.train` each, in `folder/seed-N`.

    Args:
        env: A function that makes the environment on a worker, or a name.
        folder: Where the runs' folders are; all machines must see it. A run that was begun there goes on, and one
            that is done is left alone: so do those whose worker was killed.
        seeds: One a run.
        cpus: CPUs that a training asks the cluster for.
        progress: Whether to show a line of progress.
        **arguments: As of `latco.train`: `steps`, `env_args`, settings.

    Returns:
        What `latco.train` returns of each, in the order of the seeds.
    """
    line, root = _Line(progress), pathlib.Path(folder).absolute()
    task, runs = _trained.options(num_cpus=cpus), {}
    for index, seed in enumerate(seeds):
        run = str(root / f"seed-{seed}")
        runs[task.remote(env, run, arguments | {"seed": seed})] = index
    results: dict[int, dict[str, Any]] = {}
    try:
        for index, result in _done(runs):
            results[index] = result
            line.show(f"{len(results)} of {len(runs)} trainings")
    finally:
        line.end()
    return [results[index] for index in sorted(results)]
