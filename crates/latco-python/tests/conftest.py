"""What the tests share: a model on paper, a checkpoint of the repository, an environment."""

import os
import pathlib
import signal

import numpy as np
import pytest

REPOSITORY = pathlib.Path(
    os.environ.get("LATCO_REPOSITORY", pathlib.Path(__file__).resolve().parents[3])
)

# What a shell starts in the background ignores Ctrl-C, and so would all that it starts in turn.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def checkpoint():
    return REPOSITORY / "assets/checkpoints/reach.safetensors"


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)


def point_step(z, a):
    """A point of unit mass: position and velocity in the plane, actions accelerate."""
    position, velocity = z[:, :2], z[:, 2:]
    velocity = velocity + 0.1 * a
    return np.concatenate([position + 0.1 * velocity, velocity], 1)


GOAL = np.array([0.5, -0.3])


def point_reward(z):
    return np.exp(-np.sum((z[:, :2] - GOAL) ** 2, 1) / 0.02)


def point_log_reward(z):
    return -np.sum((z[:, :2] - GOAL) ** 2, 1) / 0.02
