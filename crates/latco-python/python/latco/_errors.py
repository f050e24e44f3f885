"""What goes wrong, in the sentences of the Rust library."""


class LatcoError(Exception):
    """The base of all of them; itself, a failure of the machinery below, as of a device."""


class SettingError(LatcoError, ValueError):
    """A setting or an argument is outside what is allowed."""


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
