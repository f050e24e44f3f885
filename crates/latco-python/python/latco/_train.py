"""Training and evaluation."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from . import _latco
from ._agent import Agent
from ._environment import Source, opened
from ._errors import SettingError, whole


class _Line:
    """One line on standard error that is written over: in a terminal or a notebook, else nothing."""

    def __init__(self, wanted: bool):
        self.shown = wanted and (sys.stderr.isatty() or "ipykernel" in sys.modules)

    def show(self, text: str) -> None:
        if self.shown:
            print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.shown:
            print(file=sys.stderr)


def _told(
    env: Source | None,
    env_args: Mapping[str, Any] | None,
    benchmark: str | os.PathLike[str] | None,
) -> tuple[Source, Mapping[str, Any] | None, dict[str, Any]]:
    """The environment, its arguments, and what else a benchmark tells."""
    if (env is None) == (benchmark is None):
        raise SettingError("expected either `env` or `benchmark`")
    if benchmark is None:
        return env, env_args, {}
    told = _latco.benchmark(os.fspath(benchmark))
    return told["env"], {**told["env_args"], **(env_args or {})}, told


def _nested(config: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Settings by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _nested(value, f"{under}{key}.")
        else:
            flat[under + key] = value
    return flat


def train(
    env: Source | None = None,
    run: str | os.PathLike[str] | None = None,
    *,
    benchmark: str | os.PathLike[str] | None = None,
    steps: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    resume: bool = False,
    envs: int | None = None,
    env_args: Mapping[str, Any] | None = None,
    progress: bool | Callable[[dict[str, Any]], Any] = True,
    **config: Any,
) -> dict[str, Any]:
    """Learns a world model in an environment, into a run folder as `latco train` makes it.

    Episodes of random actions come first, then episodes of the planner alternate with gradient steps.
    Ctrl-C ends the episode at its next step, saves, and raises `KeyboardInterrupt`; `resume=True` goes on
    from there, from Python or, where the environment has a name, from the command line.

    Args:
        env: A function that makes a Gymnasium environment with `render_mode="rgb_array"`, such an
            environment itself, or a name: `reach`, `gym:ID`, `exec:COMMAND`. It runs on a thread of its own,
            on which a function makes it too: prefer one where OpenGL draws.
        run: The run's folder.
        benchmark: A benchmark's file in place of `env`, such as `benchmarks/metaworld-reach.toml`: environment,
            arguments and settings. What is given here counts above the file.
        steps: Gradient steps of the whole run.
        seed: Determines weights, samples, episodes and plans.
        device: A name of `latco.devices()`.
        resume: Goes on with the run in the folder, in the same environment, with its settings, `env_args` and, unless
            told otherwise, `steps`: of a benchmark's file only the environment counts then.
        envs: Environments that episodes are collected in side by side, as many as the setting
            `collect.environments` by default; of more than one `env` is a function or a name. A resumed run needs
            as many as it began with.
        env_args: Arguments of the environment as in docs/environments.md: `size`, `repeat`, `reward`, …
        progress: Whether to show a line of progress, or a function that is told the figures.
        **config: Settings of the run, nested or dotted: `collect={"prefill": 20}`,
            `**{"trainer.learning_rate": 3e-4}`; `latco train --print-config` lists them.

    Returns:
        `step`, `steps`, `episodes`, `loss`, `last_return`, `solved` of `planned` episodes of the planner,
        `run` and `checkpoint`.

    Raises:
        SettingError: A setting is unknown or outside its range.
        EnvironmentFailure: The environment cannot be used.
        RunError: The folder holds a run already, or the run cannot go on.
        Exception: Whatever the environment raises, with its traceback.
    """
    if run is None:
        raise SettingError("expected `run`, the run's folder")
    env, file_args, told = _told(env, env_args, benchmark)
    if not resume:
        env_args, config = file_args, _nested(told.get("settings", {})) | _nested(config)
    elif not env_args:
        # A run has its own settings and arguments, whatever a benchmark's file says by now.
        env_args = _latco.kept_arguments(os.fspath(run))
    config = _nested(config)
    usual = config.pop("collect.environments", 1)
    envs = whole("envs", usual if envs is None else envs, 1)
    line = _Line(progress is True)

    def show(status: dict[str, Any]) -> None:
        loss = "" if status["loss"] is None else f", loss {status['loss']:.3f}"
        solved = f", {status['solved']} of {status['planned']} solved" if status["planned"] else ""
        line.show(
            f"step {status['step']} of {status['steps']}, {status['episodes']} episodes{loss}{solved}"
        )

    options = {
        "run": os.fspath(run),
        "steps": None if steps is None else whole("steps", steps, 1),
        "seed": None if seed is None else whole("seed", seed),
        "device": device,
        "resume": resume,
        "progress": show if progress is True else progress or None,
    }
    try:
        with opened(env, env_args, envs) as environments:
            return _latco.train(environments, options, config or None)
    finally:
        line.end()


def evaluate(
    agent: Agent,
    env: Source | None = None,
    *,
    benchmark: str | os.PathLike[str] | None = None,
    episodes: int | None = None,
    seed: int | None = None,
    env_args: Mapping[str, Any] | None = None,
    progress: bool | Callable[[int, int], Any] = True,
) -> dict[str, Any]:
    """Runs episodes with the seeds `seed`, `seed + 1`, …; the agent's own episode is as it was.

    Args:
        agent: Who acts.
        env: As in `train`.
        benchmark: As in `train`. It also says of how many steps plans are, and when they are made anew, where
            `Agent.load` was not told.
        episodes: How many: 10, or as many as the benchmark says.
        seed: The first episode's: 1234, or as the benchmark says.
        env_args: As in `train`.
        progress: Whether to show a line of progress, or a function that is told how many episodes are
            done and how many of them solved the task.

    Returns:
        The figures of `latco eval --json` (`success_rate`, `return_mean`, `plan_seconds_median`, …), and
        `results`, those of each episode.

    Raises:
        EnvironmentFailure: The environment is unlike the model's, or cannot be used.
        KeyboardInterrupt: Ctrl-C, at the next step of an episode.
    """
    env, env_args, told = _told(env, env_args, benchmark)
    episodes = whole("episodes", told.get("episodes", 10) if episodes is None else episodes, 1)
    seed = whole("seed", told.get("seed", 1234) if seed is None else seed)
    line = _Line(progress is True)

    def show(done: int, solved: int) -> None:
        line.show(f"{done} of {episodes} episodes, {solved} solved")

    told = show if progress is True else progress or None
    try:
        with opened(env, env_args, agent=agent._inner) as (environment,):
            file = None if benchmark is None else os.fspath(benchmark)
            return _latco.evaluate(agent._inner, environment, seed, episodes, told, file)
    finally:
        line.end()
