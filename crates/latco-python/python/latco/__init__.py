"""Plans trajectories by latent collocation, and by every shooting method beside it.

>>> import latco
>>> agent = latco.Agent.load("reach.safetensors")        # a checkpoint of `latco train`
>>> action = agent.act(frame)                            # uint8 [H, W, 3] -> float32 [A]
>>> plan = latco.plan(latco.jax_model(step, reward, action_size=2), z0, planner="latco", horizon=30)
>>> latco.train(lambda: gym.make("Pendulum-v1", render_mode="rgb_array"), run="runs/pendulum")

Planners are in Rust; models are `latco`'s own, or yours in JAX, torch or numpy. The interpreter's lock is
free while Rust plans, Ctrl-C ends a plan at its next iteration, and an exception of your functions is the
one that you get.
"""

from ._agent import Agent, Plan
from ._errors import (
    CheckpointError,
    EnvironmentFailure,
    FrameError,
    LatcoError,
    ModelError,
    PlanError,
    RunError,
    SettingError,
)
from ._latco import __version__
from ._models import Model, jax_model, numpy_model, torch_model
from ._plan import PlannerInfo, devices, plan, planners
from ._train import evaluate, train

__all__ = [
    "Agent",
    "CheckpointError",
    "EnvironmentFailure",
    "FrameError",
    "LatcoError",
    "Model",
    "ModelError",
    "Plan",
    "PlanError",
    "PlannerInfo",
    "RunError",
    "SettingError",
    "__version__",
    "devices",
    "evaluate",
    "jax_model",
    "numpy_model",
    "plan",
    "planners",
    "torch_model",
    "train",
]
