"""Gymnasium environments that misbehave, for tests/gymnasium.rs."""

import ctypes
import os
import sys
import time

import gymnasium
import numpy
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

UNIT = Box(-1.0, 1.0, (2, 3), numpy.float32)
SPACES = {
    "discrete": Discrete(4),
    "multi": MultiDiscrete([2, 3]),
    "dict": Dict({"a": UNIT}),
    "whole": Box(0, 10, (2,), numpy.int64),
    "unbounded": Box(-numpy.inf, numpy.inf, (2,), numpy.float64),
    "half": Box(numpy.array([0.0, -numpy.inf], numpy.float32), numpy.array([1.0, 2.0], numpy.float32)),
}


class BadDay(gymnasium.Env):
    """What happens in the second step is `bad`; without it, a picture that shows the action."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, bad=None, space=None, pids=None, render_mode=None):
        if bad == "type error":
            raise TypeError("an argument of the simulator is of another type")
        self.bad, self.render_mode = bad, render_mode
        self.action_space = SPACES.get(space, UNIT)
        self.observation_space = Box(0.0, 1.0, (1,))
        if bad == "no rgb":
            self.metadata = {"render_modes": ["ansi"]}
        if pids:
            with open(pids, "a") as file:
                file.write(f"{os.getpid()}\n")
        print("a print of the environment")
        os.write(1, b"a print of a library in C\n")

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.action = 0, numpy.zeros(self.action_space.shape or 1)
        # Both the environment's own generator and the global one come from the seed.
        self.start = [self.np_random.integers(256), numpy.random.randint(256)]
        return numpy.zeros(1, numpy.float32), {}

    def step(self, action):
        self.steps += 1
        self.action = action
        assert self.action_space.contains(action), action
        if self.steps == 2:
            self.misbehave()
        reward = float("nan") if self.bad == "NaN" and self.steps == 2 else 1.0
        info = {"solved": {"now": self.steps == 3}, "success": numpy.float64(self.steps == 2)}
        if self.bad == "tells success once" and self.steps != 2:
            del info["success"]
        return numpy.zeros(1, numpy.float32), reward, self.steps == 9, False, info

    def misbehave(self):
        print("step two")
        if self.bad == "exception":
            raise ValueError("the simulation became unstable")
        if self.bad == "exit":
            sys.exit(5)
        if self.bad == "hard exit":
            os._exit(6)
        if self.bad == "hang":
            time.sleep(1000)
        if self.bad == "locked hang":
            ctypes.PyDLL(None).sleep(1000)
        if self.bad == "segmentation fault":
            ctypes.string_at(0)
        if self.bad == "input":
            input("a question: ")

    def render(self):
        height = 30 if self.bad == "other size" and self.steps == 2 else 20
        if self.bad == "floats":
            return numpy.zeros((height, 20, 3))
        if self.bad == "no picture":
            return None
        if self.bad == "grey":
            return numpy.full((height, 20), 7, numpy.uint8)
        picture = numpy.zeros((height, 20, 4 if self.bad == "alpha" else 3), numpy.uint8)
        picture[..., :3] = self.start[0], self.start[1], self.steps
        return picture


gymnasium.register("latco/BadDay-v0", BadDay, max_episode_steps=10)
gymnasium.register("latco/Endless-v0", BadDay)
