"""Planning on any model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _latco
from ._errors import ModelError, SettingError, whole
from ._latco import Plan
from ._models import Model


@dataclass(frozen=True)
class PlannerInfo:
    """A planner's name, what it does, and its settings with their defaults."""

    name: str
    about: str
    settings: dict[str, Any]


def planners() -> list[PlannerInfo]:
    """Every planner that can be named."""
    return [PlannerInfo(*entry) for entry in _latco.planners()]


def devices() -> dict[str, str]:
    """The devices of this build, GPUs first, and what they are."""
    return dict(_latco.devices())


def plan(
    model: Model,
    z0: ArrayLike,
    *,
    planner: str = "latco",
    horizon: int | None = None,
    seed: int = 0,
    deadline: float | None = None,
    z0_std: ArrayLike | None = None,
    warm_start: tuple[Plan, int] | ArrayLike | None = None,
    observer: Callable[[dict[str, Any]], Any] | None = None,
    device: str = "auto",
    **settings: Any,
) -> Plan:
    """A plan on your model from the latent `z0`, actions in [-1, 1].

    Args:
        model: Of `latco.jax_model`, `latco.torch_model`, `latco.numpy_model`, or any object with the
            methods of `latco.Model`.
        z0: The present latent, `[Z]`.
        planner: A name of `latco.planners()`.
        horizon: Steps of the plan; the planner's own number by default.
        seed: Determines every random number of the plan.
        deadline: Seconds after which the best plan so far comes back.
        z0_std: Standard deviations of the latent, `[Z]`, for planners of distributions.
        warm_start: An earlier plan, and how many of its steps have passed since; or actions, `[steps, A]`.
        observer: Called after each iteration with its figures (`index`, `reward`, `violation_max`, …).
        device: Where the planner's own tensors are: a name of `latco.devices()`.
        **settings: Settings of the planner, as `latco planners NAME` lists them; dotted or nested.

    Raises:
        SettingError: A name or setting is unknown or outside its range.
        ModelError: The model gave arrays of another shape, or lacks derivatives that the planner needs.
        PlanError: The model gave numbers that are not finite, or the earlier plan has another horizon.
        Exception: Whatever your functions raise, with its traceback.
    """
    start = np.asarray(z0, dtype=np.float32)
    if start.ndim == 2 and start.shape[0] == 1:
        start = start[0]
    if start.ndim != 1 or start.size == 0:
        raise ModelError(f"`z0` has the shape {start.shape}, expected one latent, (Z,)")
    std = None if z0_std is None else np.asarray(z0_std, dtype=np.float32)
    if std is not None and std.shape != start.shape:
        raise ModelError(f"`z0_std` has the shape {std.shape}, expected {start.shape}")
    if std is not None and not (std >= 0).all():
        raise ModelError("`z0_std` has an entry below 0 or none, expected standard deviations")
    options = {
        "planner": planner,
        "horizon": None if horizon is None else whole("horizon", horizon, 1),
        "seed": whole("seed", seed),
        "deadline": deadline,
        "device": device,
        "std": std,
        "warm_start": _earlier(warm_start),
        "observer": observer,
    }
    return _latco.plan(model, start.tolist(), options, settings or None)


def _earlier(warm_start: Any) -> Any:
    if warm_start is None:
        return None
    if isinstance(warm_start, Plan):
        raise SettingError("`warm_start` is a plan, expected (plan, steps of it that have passed)")
    if isinstance(warm_start, tuple) and warm_start and isinstance(warm_start[0], Plan):
        if len(warm_start) != 2:
            raise SettingError("`warm_start` is a longer tuple, expected (plan, steps of it that have passed)")
        return warm_start[0], whole("warm_start[1]", warm_start[1])
    actions = np.asarray(warm_start, dtype=np.float32)
    if actions.ndim != 2:
        raise SettingError(f"`warm_start` has the shape {actions.shape}, expected actions, (steps, A)")
    return actions.tolist()
