"""Gymnasium's environments in this process, seen as those behind `gym:ID` are."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import random
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from . import _latco
from ._errors import EnvironmentFailure, SettingError

T = TypeVar("T")
Source = str | Callable[[], Any] | Any


@functools.cache
def _bridge() -> types.ModuleType:
    """The program that serves `gym:ID`, as a module."""
    module = types.ModuleType("latco._gymnasium")
    exec(compile(_latco.GYMNASIUM, "latco/gym.py", "exec"), module.__dict__)
    return module


def use_this_interpreter() -> None:
    """Has `gym:ID` run by the interpreter that runs this, unless another is asked for."""
    os.environ.setdefault("LATCO_PYTHON", sys.executable)


@functools.cache
def _choose_renderer() -> None:
    """Lets MuJoCo draw without a screen, as behind `gym:ID`. Another process tries EGL out: its drivers bring
    an LLVM that does not bear that of torch's compiler beside it."""
    wanted = importlib.util.find_spec("mujoco") and "mujoco" not in sys.modules
    if not wanted or "MUJOCO_GL" in os.environ:
        return
    program = "import os, sys; exec(sys.stdin.read()); choose_renderer(); print(os.environ.get('MUJOCO_GL', ''))"
    source = _latco.GYMNASIUM.partition('if __name__ == "__main__":')[0]
    found = subprocess.run(
        [sys.executable, "-c", program], input=source, capture_output=True, text=True, check=False
    ).stdout.strip()
    if found:
        os.environ["MUJOCO_GL"] = found


class Environment:
    """One environment: its description, and steps in bytes.

    It is made and called on a thread of its own: what draws it, OpenGL say, belongs to one thread, and episodes
    are collected on others than the caller's.
    """

    def __init__(self, source: Source, arguments: Mapping[str, Any]):
        self.arguments = dict(arguments)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="latco-environment")
        self._is_own = not hasattr(source, "step") or isinstance(source, type)
        self._env: Any = None
        self._server: Any = None
        try:
            self._on_thread(lambda: self._open(source, arguments))
        except BaseException:
            self.close()
            raise
        described = self._server.description()
        self.action_low, self.action_high = described["action_low"], described["action_high"]
        self.picture_shape = (described["height"], described["width"], described["channels"])
        self.size, self.cameras = self._server.size, described["cameras"]
        self.time_limit, self.has_expert = described["time_limit"], described["expert"]
        self.reward_range = described["reward_range"]

    def _open(self, source: Any, arguments: Mapping[str, Any]) -> None:
        self._env = env = source() if self._is_own else source
        spec = getattr(env, "spec", None)
        kind = type(getattr(env, "unwrapped", env)).__name__
        self.name = f"python:{spec.id if spec is not None else kind}"
        self._server = _bridge().Server(self.name, arguments, env)

    def _on_thread(self, work: Callable[[], T]) -> T:
        try:
            return self._thread.submit(work).result()
        except _bridge().Refusal as refusal:
            raise EnvironmentFailure(f"environment `{self.name}`: {refusal}") from refusal

    def reset(self, seed: int) -> bytes:
        def work() -> bytes:
            self._server.reset(seed)
            return bytes(self._server.pixels())

        return self._on_thread(work)

    def step(self, action: bytes) -> tuple[float, bool, bool, bool, bytes]:
        def work() -> tuple[float, bool, bool, bool, bytes]:
            told = self._server.step(action)
            reward = told["reward"]
            if reward is None:
                raise EnvironmentFailure(f"environment `{self.name}`: a reward is not a finite number")
            ends = told["terminated"], told["truncated"], told["success"]
            return reward, *ends, self._server.pixels()

        return self._on_thread(work)

    def expert(self) -> list[float]:
        action: list[float] = self._on_thread(self._server.expert_action).tolist()
        return action

    def close(self) -> None:
        """Ends the thread, and the environment where it was made here; another is as it was."""

        def work() -> None:
            if self._server is not None and self._server.physics:
                self._server.physics.renderer.close()
            if self._env is not None and self._is_own:
                self._env.close()
            elif self._server is not None:
                self._server.restore()

        try:
            self._on_thread(work)
        finally:
            self._thread.shutdown()


@contextlib.contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Leaves the caller's generators as they are: environments in this process seed those of `random` and numpy,
    which old ones draw from."""
    kept = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])


@contextlib.contextmanager
def opened(
    source: Source, arguments: Mapping[str, Any] | None, count: int = 1, agent: Any = None
) -> Iterator[list[Any]]:
    """What Rust opens, so often: a name with its arguments, or an `Environment`; Gymnasium's, which are drawn at any
    size, in that of the agent's pictures where the arguments name none."""
    arguments = dict(arguments or {})
    drawn_at_any_size = not isinstance(source, str) or source.startswith("gym:")
    if agent is not None and agent.picture_size is not None and drawn_at_any_size:
        arguments.setdefault("size", agent.picture_size)
    if isinstance(source, str):
        use_this_interpreter()
        yield [(source, arguments)] * count
        return
    if count > 1 and hasattr(source, "step") and not isinstance(source, type):
        raise SettingError(
            f"`env` is one environment, expected a function that makes one for `envs={count}` of them"
        )
    _choose_renderer()  # MuJoCo asks for it when it is imported.
    with _own_random_numbers(), contextlib.ExitStack() as stack:
        environments = []
        for _ in range(count):
            environment = Environment(source, arguments)
            stack.callback(environment.close)
            environments.append(environment)
        yield environments
