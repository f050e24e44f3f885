"""Agents that see frames, plan in latent space and act."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _latco
from ._errors import whole
from ._latco import Plan

__all__ = ["Agent", "Plan"]


class Agent:
    """A world model, a planner, and the belief filtered through everything seen in the episode.

    Model-predictive control: a plan is executed for `replan_every` steps, while each further frame
    refines the belief that the next plan starts from. Use it from one thread at a time.
    """

    _inner: _latco.Agent

    def __init__(self, inner: _latco.Agent, arguments: dict[str, Any]):
        self._inner = inner
        self._arguments = arguments
        self._goal: NDArray[Any] | None = None

    @classmethod
    def load(
        cls,
        checkpoint: str | os.PathLike[str] | bytes,
        device: str = "auto",
        planner: str = "latco",
        *,
        horizon: int | None = None,
        replan_every: int | None = None,
        exploration: float = 0.0,
        deadline: float | None = None,
        warm_start: bool = True,
        **settings: Any,
    ) -> Agent:
        """The agent of a checkpoint, reset with seed 0.

        Args:
            checkpoint: A `.safetensors` file of `latco train` or `latco convert`, or its bytes.
            device: A name of `latco.devices()`, or `auto` for the first of them.
            planner: A name of `latco.planners()`.
            horizon: Steps of a plan; the planner's own number by default.
            replan_every: Steps executed of a plan before the next is made, at most the horizon; 10 by
                default.
            exploration: Standard deviation of Gaussian noise on executed actions, in [-1, 1].
            deadline: Seconds that a plan may take; the best plan so far is then used.
            warm_start: Whether a plan starts from what is left of the last one.
            **settings: Settings of the planner, as `latco planners NAME` lists them; dotted or nested.

        Raises:
            CheckpointError: The file cannot be read.
            SettingError: A name or setting is unknown or outside its range.
        """
        options = {
            "device": device,
            "planner": planner,
            "horizon": None if horizon is None else whole("horizon", horizon, 1),
            "replan_every": None if replan_every is None else whole("replan_every", replan_every, 1),
            "exploration": exploration,
            "deadline": deadline,
            "warm_start": warm_start,
        }
        if not isinstance(checkpoint, bytes):
            checkpoint = os.path.abspath(os.fspath(checkpoint))
        inner = _latco.Agent(checkpoint, options, settings or None)
        return cls(inner, {"checkpoint": checkpoint, **options, **settings})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, an agent is at the beginning of an episode, with its goal."""
        return _loaded, (self._arguments, self._goal)

    def reset(self, seed: int = 0) -> None:
        """Forgets the episode; `seed` determines the plans of the next one."""
        self._inner.reset(whole("seed", seed))

    def act(
        self, frame: ArrayLike, *, observer: Callable[[dict[str, Any]], Any] | None = None
    ) -> NDArray[np.float32]:
        """The action for a frame, `float32` `[A]` in the environment's units, within its bounds.

        Args:
            frame: `uint8` `[H, W, 3]`, or `[H, W]` in grey, of the size `frame_shape`.
            observer: Sees each iteration of a plan that is made, as in `latco.plan`.

        Raises:
            FrameError: The frame has another type or size.
            PlanError: Planning failed.
        """
        return self._inner.act(frame, observer)

    def plan(
        self,
        frame: ArrayLike,
        *,
        seed: int = 0,
        deadline: float | None = None,
        observer: Callable[[dict[str, Any]], Any] | None = None,
    ) -> Plan:
        """A plan from one frame, as if it were the first of an episode; the episode is as it was.

        Args:
            frame: As of `act`.
            seed: Determines the plan.
            deadline: Seconds that it may take; those of the agent's plans by default.
            observer: As of `act`.
        """
        return self._inner.plan(frame, whole("seed", seed), deadline, observer)

    def set_goal(self, frame: ArrayLike | None) -> None:
        """Plans for what `frame` shows in place of the reward from the next plan on; `None` for the
        reward again."""
        self._inner.set_goal(frame)
        self._goal = None if frame is None else np.array(frame)

    @property
    def current_plan(self) -> Plan | None:
        """The plan being executed."""
        return self._inner.current_plan

    @property
    def has_just_planned(self) -> bool:
        """Whether the last action was the first of a new plan."""
        return self._inner.has_just_planned

    @property
    def planner(self) -> str:
        """The planner's name."""
        return self._inner.planner

    @property
    def horizon(self) -> int:
        """Steps of a plan."""
        return self._inner.horizon

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the frames that the model takes."""
        return self._inner.frame_shape

    @property
    def action_low(self) -> NDArray[np.float32]:
        """The least actions, `[A]`."""
        return self._inner.action_low

    @property
    def action_high(self) -> NDArray[np.float32]:
        """The largest actions, `[A]`."""
        return self._inner.action_high

    def __repr__(self) -> str:
        return repr(self._inner)


def _loaded(arguments: dict[str, Any], goal: NDArray[Any] | None) -> Agent:
    agent = Agent.load(**arguments)
    agent.set_goal(goal)
    return agent
