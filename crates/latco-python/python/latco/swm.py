"""latco's planners as a solver of stable-worldmodel.

>>> from latco.swm import Solver
>>> policy = swm.policy.WorldModelPolicy(solver=Solver(world_model, planner="icem"), config=config)

A world model there scores whole action sequences (`get_cost`), which is what the samplers need. Planners of
latents, `latco` among them, need a model of single steps: give it as `latents`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ._errors import ModelError, SettingError
from ._latco import Plan
from ._models import Model
from ._plan import plan

SAMPLERS = ("icem", "cem", "mppi", "random")


class _Sequences:
    """Action sequences as latents: `z = [t, a_0 … a_{T-1}]`. A transition writes its action into the
    sequence; the whole one is rewarded by minus its cost, with nothing before."""

    def __init__(self, cost: Callable[[np.ndarray], np.ndarray], horizon: int, action_size: int):
        self.cost, self.horizon, self.action_size = cost, horizon, action_size

    def start(self) -> np.ndarray:
        return np.zeros(1 + self.horizon * self.action_size, np.float32)

    def transition(self, z: np.ndarray, a: np.ndarray) -> np.ndarray:
        following = z.copy()
        sequences = following[:, 1:].reshape(len(z), self.horizon, self.action_size)
        step = np.minimum(z[:, 0].astype(int), self.horizon - 1)
        sequences[np.arange(len(z)), step] = a
        following[:, 0] += 1
        return following

    def reward(self, z: np.ndarray) -> np.ndarray:
        reward = np.zeros(len(z), np.float32)
        whole = z[:, 0] >= self.horizon
        if whole.any():
            sequences = z[whole, 1:].reshape(-1, self.horizon, self.action_size)
            reward[whole] = -self.cost(sequences)
        return reward


class Solver:
    """Fits stable-worldmodel's `Solver` protocol.

    Args:
        model: A world model with `get_cost(info, candidates [1, samples, horizon, action_dim])`; not needed
            with `latents`.
        planner: A name of `latco.planners()`; with `get_cost` one of `icem`, `cem`, `mppi`, `random`.
        latents: `(info) -> (latco.Model, z0)` for one environment's part of the info, with the model's
            steps of `action_dim` actions: for planners of latents.
        low, high: Bounds of the actions; those of the action space by default.
        batch: Sequences that `get_cost` is given at once.
        seed: Determines the plans.
        deadline: Seconds that one environment's plan may take.
        device: Where candidates and info go.
        **settings: Settings of the planner.
    """

    def __init__(
        self,
        model: Any = None,
        planner: str = "icem",
        *,
        latents: Callable[[dict[str, Any]], tuple[Model, Any]] | None = None,
        low: Any = None,
        high: Any = None,
        batch: int = 512,
        seed: int = 0,
        deadline: float | None = None,
        device: Any = "cpu",
        **settings: Any,
    ):
        if latents is None and planner not in SAMPLERS:
            raise SettingError(
                f"planner `{planner}` needs the model's single steps, which get_cost hides: give them as"
                f" `latents`, or take one of {', '.join(SAMPLERS)}"
            )
        if latents is None and not hasattr(model, "get_cost"):
            raise ModelError(f"the model, a `{type(model).__name__}`, has no method `get_cost`")
        self.model, self.planner, self.latents = model, planner, latents
        self.batch, self.seed, self.deadline = batch, seed, deadline
        self.device, self.settings = device, settings
        self._low, self._high = low, high
        self._calls = 0

    def configure(self, *, action_space: Any, n_envs: int, config: Any) -> None:
        """Takes the shape of the actions, `[n_envs, ...]`, the number of environments, and `horizon` and
        `action_block` of the config."""
        self._config, self._n_envs = config, n_envs
        self._action_size = int(np.prod(action_space.shape[1:]))
        self._bounds = [
            self._bound(given, np.asarray(known)[0], name)
            for given, known, name in (
                (self._low, action_space.low, "low"),
                (self._high, action_space.high, "high"),
            )
        ]

    def _bound(self, given: Any, known: Any, name: str) -> np.ndarray:
        bound = np.ravel(known if given is None else np.broadcast_to(given, known.shape))
        if not np.isfinite(bound).all():
            raise SettingError(f"the action space has no finite bounds: give `{name}`")
        return np.tile(bound, self._config.action_block).astype(np.float32)

    @property
    def n_envs(self) -> int:
        """Environments that are planned for."""
        return self._n_envs

    @property
    def action_dim(self) -> int:
        """Entries of a step's actions, those of a block side by side."""
        return int(self._action_size * self._config.action_block)

    @property
    def horizon(self) -> int:
        """Steps of a plan."""
        return int(self._config.horizon)

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return self.solve(*args, **kwargs)

    def solve(
        self, info_dict: dict[str, Any], init_action: torch.Tensor | None = None
    ) -> dict[str, Any]:
        """Plans for each environment of `info_dict`: `actions` `[n_envs, horizon, action_dim]` within their
        bounds, the `costs` of the plans, and the `plans` themselves.

        `init_action` `[n_envs, steps, action_dim]` is what is left of the last plans, to start from.
        """
        count = len(next(iter(info_dict.values())))
        plans = []
        for index in range(count):
            info = {key: value[index : index + 1] for key, value in info_dict.items()}
            earlier = None if init_action is None else init_action[index]
            plans.append(self._plan(info, earlier))
        actions = self._denormalised(np.stack([plan.actions for plan in plans]))
        return {
            "actions": torch.from_numpy(actions),
            "costs": [-plan.rollout_return for plan in plans],
            "plans": plans,
        }

    def _plan(self, info: dict[str, Any], earlier: torch.Tensor | None) -> Plan:
        if self.latents is not None:
            model, start = self.latents(info)
        else:
            model = _Sequences(self._cost_of(info), self.horizon, self.action_dim)
            start = model.start()
        self._calls += 1
        return plan(
            model,
            start,
            planner=self.planner,
            horizon=self.horizon,
            seed=self.seed + self._calls,
            deadline=self.deadline,
            warm_start=self._normalised(earlier),
            **self.settings,
        )

    def _normalised(self, earlier: torch.Tensor | None) -> np.ndarray | None:
        if earlier is None or len(earlier) == 0:
            return None
        low, high = self._bounds
        return np.asarray(np.clip(2 * (earlier.cpu().numpy() - low) / (high - low) - 1, -1, 1))

    def _denormalised(self, actions: np.ndarray) -> np.ndarray:
        low, high = self._bounds
        # Rounding alone leads beyond the bounds.
        return np.clip(low + (actions + 1) / 2 * (high - low), low, high)

    def _cost_of(self, info: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
        @torch.inference_mode()
        def cost(sequences: np.ndarray) -> np.ndarray:
            actions = torch.from_numpy(self._denormalised(sequences))[None]
            parts = torch.split(actions.to(self.device), self.batch, dim=1)
            costs = [self.model.get_cost(self._expanded(info, part.shape[1]), part) for part in parts]
            return torch.cat(costs, 1)[0].float().cpu().numpy()

        return cost

    def _expanded(self, info: dict[str, Any], samples: int) -> dict[str, Any]:
        """The info once for each sample, as solvers there give it."""

        def one(value: Any) -> Any:
            if torch.is_tensor(value):
                value = value.to(self.device)
                return value.unsqueeze(1).expand(1, samples, *value.shape[1:])
            if isinstance(value, np.ndarray):
                return np.repeat(value[:, None], samples, axis=1)
            return value

        return {key: one(value) for key, value in info.items()}
