"""Evaluation and collecting spread over a Ray cluster.

Each episode is a task of its own, with its seed: one whose worker is killed runs again on another, with the
same outcome. Workers only compute; what comes back is written by the caller alone, whole or not at all, so that
nothing is written twice, and a folder that is half full is filled up by the same call.

>>> ray.init("auto")
>>> latco.ray.evaluate(agent, make_env, episodes=100)
>>> latco.ray.collect(make_env, "recordings", episodes=1000)
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray

from . import _latco
from ._agent import Agent
from ._environment import Source, opened
from ._train import _Line

#: How often an episode runs again after its worker was lost.
RETRIES = 5


@functools.lru_cache(maxsize=4)
def _agent(digest: str, arguments: str) -> Agent:
    path = pathlib.Path(tempfile.gettempdir()) / f"latco-{digest}.safetensors"
    return Agent.load(path, **json.loads(arguments))


def _unpacked(packed: dict[str, Any]) -> Agent:
    """The agent on a worker, which keeps it for its next episodes."""
    path = pathlib.Path(tempfile.gettempdir()) / f"latco-{packed['digest']}.safetensors"
    if not path.exists():
        _write(path, packed["checkpoint"])
    return _agent(packed["digest"], packed["arguments"])


def _packed(agent: Agent) -> dict[str, Any]:
    import hashlib

    arguments = dict(agent._arguments)
    checkpoint = arguments.pop("checkpoint")
    if not isinstance(checkpoint, bytes):
        checkpoint = pathlib.Path(checkpoint).read_bytes()
    return {
        "digest": hashlib.sha256(checkpoint).hexdigest()[:24],
        "checkpoint": checkpoint,
        "arguments": json.dumps(arguments, sort_keys=True),
    }


def _write(path: pathlib.Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)


@ray.remote(max_retries=RETRIES)
def _evaluated(
    packed: dict[str, Any], env: Source, arguments: Mapping[str, Any] | None, seed: int
) -> dict[str, Any]:
    agent = _unpacked(packed)
    with opened(env, arguments) as (environment,):
        return _latco.evaluate(agent._inner, environment, seed, 1, None)


@ray.remote(max_retries=RETRIES)
def _recorded(
    packed: dict[str, Any] | None,
    policy: str,
    env: Source,
    arguments: Mapping[str, Any] | None,
    seed: int,
) -> tuple[bytes, dict[str, Any]]:
    agent = None if packed is None else _unpacked(packed)._inner
    with tempfile.TemporaryDirectory() as folder, opened(env, arguments) as (environment,):
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
        folder: Where each episode's result is kept, `seed-N.json`; those that are there are not run again.
        progress: Whether to show a line of progress.
    """
    line = _Line(progress)
    seeds = range(seed, seed + episodes)
    kept: dict[int, pathlib.Path] = {}
    if folder is not None:
        os.makedirs(folder, exist_ok=True)
        kept = {one: pathlib.Path(folder) / f"seed-{one}.json" for one in seeds}
    results = {one: json.loads(path.read_text()) for one, path in kept.items() if path.exists()}
    packed = ray.put(_packed(agent))
    task = _evaluated.options(num_cpus=cpus)
    tasks = {task.remote(packed, env, env_args, one): one for one in seeds if one not in results}
    try:
        for one, result in _done(tasks):
            if one in kept:
                _write(kept[one], json.dumps(result).encode())
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
    seed: int = 0,
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
        seed: The first episode's.
        env_args: As in `latco.train`.
        cpus: CPUs that an episode asks the cluster for.
        progress: Whether to show a line of progress.

    Returns:
        `episodes` and `frames` that were recorded now, their `success_rate` and `return_mean`.
    """
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
