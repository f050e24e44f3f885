"""Gymnasium's environments in this process, seen as those behind `gym:ID` are."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from . import _latco
from ._errors import EnvironmentFailure

T = TypeVar("T")
Source = str | Callable[[], Any] | Any


@functools.cache
def _bridge() -> types.ModuleType:
    """The program that serves `gym:ID`, as a module."""
    module = types.ModuleType("latco._gymnasium")
    exec(compile(_latco.GYMNASIUM, "latco/gym.py", "exec"), module.__dict__)
    return module


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
    """One environment: its description, and steps in bytes."""

    def __init__(self, env: Any, arguments: Mapping[str, Any]):
        spec = getattr(env, "spec", None)
        kind = type(getattr(env, "unwrapped", env)).__name__
        self.name = f"python:{spec.id if spec is not None else kind}"
        self._server = self._told(lambda: _bridge().Server(self.name, arguments, env))
        described = self._server.description()
        self.action_low, self.action_high = described["action_low"], described["action_high"]
        self.picture_shape = (described["height"], described["width"], described["channels"])
        self.size, self.cameras = self._server.size, described["cameras"]
        self.time_limit, self.has_expert = described["time_limit"], described["expert"]

    def _told(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except _bridge().Refusal as refusal:
            raise EnvironmentFailure(f"environment `{self.name}`: {refusal}") from refusal

    def reset(self, seed: int) -> bytes:
        def work() -> bytes:
            self._server.reset(seed)
            return bytes(self._server.pixels())

        return self._told(work)

    def step(self, action: bytes) -> tuple[float, bool, bool, bool, bytes]:
        def work() -> tuple[float, bool, bool, bool, bytes]:
            told = self._server.step(action)
            reward = told["reward"]
            if reward is None:
                raise EnvironmentFailure(f"environment `{self.name}`: a reward is not a finite number")
            ends = told["terminated"], told["truncated"], told["success"]
            return reward, *ends, self._server.pixels()

        return self._told(work)

    def expert(self) -> list[float]:
        action: list[float] = self._told(self._server.expert_action).tolist()
        return action


def opened(source: Source, arguments: Mapping[str, Any] | None) -> Any:
    """What Rust opens: a name with its arguments, or an `Environment`."""
    arguments = dict(arguments or {})
    if isinstance(source, str):
        return source, arguments
    _choose_renderer()  # MuJoCo asks for it when it is imported.
    is_made = hasattr(source, "step") and not isinstance(source, type)
    return Environment(source if is_made else source(), arguments)
