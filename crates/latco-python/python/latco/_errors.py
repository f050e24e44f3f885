"""What goes wrong, in the sentences of the Rust library."""

from __future__ import annotations

import operator
from typing import Any


class LatcoError(Exception):
    """The base of all of them; itself, a failure of the machinery below, as of a device."""


class SettingError(LatcoError, ValueError):
    """A setting or an argument is outside what is allowed."""


def whole(name: str, value: Any, least: int = 0) -> int:
    """A whole number of at least `least`, which 64 bits hold."""
    try:
        number = operator.index(value)
    except TypeError:
        raise SettingError(f"`{name}` is {value!r}, expected a whole number") from None
    if number < least:
        raise SettingError(f"`{name}` is {number}, expected at least {least}")
    if number >= 2**64:
        raise SettingError(f"`{name}` is {number}, expected a number below 2**64")
    return number


class ModelError(LatcoError, ValueError):
    """A model gave arrays of another shape, or lacks what a planner needs."""


class PlanError(LatcoError):
    """No plan came back, as where a model gives numbers that are not finite."""


class CheckpointError(LatcoError):
    """A checkpoint cannot be read."""


class FrameError(LatcoError, ValueError):
    """A frame has another size or type than the model takes."""


class EnvironmentFailure(LatcoError):
    """An environment cannot be used, or is unlike the model's."""


class RunError(LatcoError):
    """A training run cannot begin or go on."""
