"""The extension module. What is documented there is the package `latco`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._models import Model

__version__: str
GYMNASIUM: str

class Plan:
    """A planned trajectory with its two results: what it promises, and what its actions come to."""

    @property
    def actions(self) -> NDArray[np.float32]:
        """`[T, A]`: in the environment's units of an agent's plan, else in [-1, 1]."""
    @property
    def latents(self) -> NDArray[np.float32]:
        """The planned latents `z_1 … z_T`, `[T, Z]`."""
    @property
    def std(self) -> NDArray[np.float32] | None:
        """Their standard deviations, `[T, Z]`, of Gaussian plans."""
    @property
    def rollout_latents(self) -> NDArray[np.float32]:
        """The latents that the actions lead to through the model, `[T, Z]`."""
    @property
    def virtual_rewards(self) -> NDArray[np.float32]:
        """The rewards along the planned latents, `[T]`."""
    @property
    def rollout_rewards(self) -> NDArray[np.float32]:
        """The rewards of the actions rolled out through the model, `[T]`."""
    @property
    def virtual_return(self) -> float:
        """The sum of `virtual_rewards`."""
    @property
    def rollout_return(self) -> float:
        """The sum of `rollout_rewards`."""
    @property
    def robust_return(self) -> float | None:
        """The mean return over copies with disturbed actions, of models that err."""
    @property
    def uncertainty(self) -> NDArray[np.float32] | None:
        """How uncertain the model is of each step, `[T]`, of models that can tell: 1 is rare in its data."""
    @property
    def leaves_data(self) -> bool | None:
        """Whether the plan leaves what the model was trained on, of models that can tell."""
    @property
    def violation(self) -> NDArray[np.float32]:
        """The dynamics violation of each step, `[T]`."""
    @property
    def violation_max(self) -> float:
        """The largest violation of any step."""
    @property
    def is_backed_by_rollout(self) -> bool:
        """Whether the virtual return exceeds the rollout's by at most a tenth."""
    @property
    def stop(self) -> str:
        """Why the planner stopped: `converged`, `stalled`, `iterations`, `deadline`, `no_slope`, `infeasible`."""
    @property
    def seconds(self) -> float:
        """Wall time of the plan."""
    @property
    def late(self) -> float | None:
        """By how many seconds the deadline was missed, if it was."""
    @property
    def model_steps(self) -> int:
        """Rows that went through the model's transition."""
    @property
    def iterations(self) -> int:
        """Iterations of the planner."""
    @property
    def trace(self) -> list[dict[str, Any]]:
        """The figures of each iteration."""
    @property
    def horizon(self) -> int:
        """Steps of the plan, T."""
    def imagined(self) -> NDArray[np.uint8]:
        """The planned latents decoded, `[T, H, W, 3]`, of an agent's plan."""

class Agent:
    planner: str
    horizon: int
    has_just_planned: bool
    current_plan: Plan | None
    frame_shape: tuple[int, int, int]
    picture_size: int | None
    action_low: NDArray[np.float32]
    action_high: NDArray[np.float32]
    def __init__(
        self, checkpoint: str | bytes, options: dict[str, Any], settings: dict[str, Any] | None
    ) -> None: ...
    def reset(self, seed: int) -> None: ...
    def set_goal(self, frame: ArrayLike | None) -> None: ...
    def act(
        self, frame: ArrayLike, observer: Callable[[dict[str, Any]], Any] | None
    ) -> NDArray[np.float32]: ...
    def plan(
        self,
        frame: ArrayLike,
        seed: int,
        deadline: float | None,
        observer: Callable[[dict[str, Any]], Any] | None,
    ) -> Plan: ...

def command(arguments: Sequence[str]) -> int: ...
def planners() -> list[tuple[str, str, dict[str, Any]]]: ...
def devices() -> list[tuple[str, str]]: ...
def plan(
    model: Model, start: list[float], options: dict[str, Any], settings: dict[str, Any] | None
) -> Plan: ...
def benchmark(path: str) -> dict[str, Any]: ...
def kept_arguments(run: str) -> dict[str, Any]: ...
def train(
    environments: list[Any], options: dict[str, Any], config: dict[str, Any] | None
) -> dict[str, Any]: ...
def evaluate(
    agent: Agent,
    environment: Any,
    seed: int,
    episodes: int,
    progress: Callable[[int, int], Any] | None,
    benchmark: str | None,
) -> dict[str, Any]: ...
def record(
    environment: Any, agent: Agent | None, policy: str, seed: int, path: str
) -> dict[str, Any]: ...
def summarise(
    env: str, planner: str, device: str, seed: int, results: list[dict[str, Any]]
) -> dict[str, Any]: ...
