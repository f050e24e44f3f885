"""Demonstrations for Push-T: a sampling planner that simulates each candidate, `expert = "benchmarks.pusht_expert:Expert"`.

It knows the state and the simulator, of which latco sees pictures alone. Works where latco is called from this
repository's root.
"""

import numpy
from gym_pusht.envs.pusht import PushTEnv

SAMPLES = 60
# Each candidate moves the finger to two targets, one after the other.
HOLD = 6
EXECUTED = 4


class Expert:
    """Of random pairs of targets the one after which the block is nearest to its outline."""

    def __init__(self):
        self.simulator = PushTEnv(obs_type="state")
        self.simulator._setup()
        goal = self.simulator.goal_pose
        self.goal = corners(self.simulator, goal[:2], goal[2])
        self.reset(0)

    def reset(self, seed):
        """Forgets the last episode; its successor depends on the seed alone."""
        self.random = numpy.random.default_rng(seed)
        self.target, self.left = None, 0

    def get_action(self, observation):
        self.left -= 1
        if self.left <= 0:
            self.target, self.left = self.plan(observation), EXECUTED
        return self.target

    def plan(self, state):
        candidates = [self.candidate(state) for _ in range(SAMPLES)]
        costs = [self.cost(state, candidate) for candidate in candidates]
        return candidates[int(numpy.argmin(costs))][0]

    def candidate(self, state):
        """Two targets: in a straight line through the block, or anywhere near it."""
        block = state[2:4] + self.random.normal(0, 40, 2)
        if self.random.random() < 0.5:
            first = state[:2] + (block - state[:2]) * self.random.uniform(0.2, 2.5)
        else:
            first = state[2:4] + self.random.normal(0, 100, 2)
        second = first + (block - first) * self.random.uniform(0.0, 2.0)
        return numpy.clip([first, second], 20, 492).astype(numpy.float32)

    def cost(self, state, targets):
        """Mean distance of the block's corners from the outline's, in pixels, and a little of the finger's."""
        env = self.simulator
        env.agent.position, env.agent.velocity = tuple(state[:2]), (0, 0)
        env.block.angle = state[4]
        env.block.position = tuple(state[2:4])
        env.block.velocity, env.block.angular_velocity = (0, 0), 0
        env.space.reindex_shapes_for_body(env.agent)
        env.space.reindex_shapes_for_body(env.block)
        total = 0.0
        for target in targets:
            for _ in range(HOLD):
                move(env, target)
            away = numpy.linalg.norm(corners(env, env.block.position, env.block.angle) - self.goal, axis=1).mean()
            finger = numpy.linalg.norm(numpy.subtract(env.agent.position, env.block.position))
            total += away + 0.05 * max(0.0, finger - 60)
        return total


def move(env, target):
    """`PushTEnv.step` without its pictures and its coverage."""
    for _ in range(int(1 / (env.dt * env.control_hz))):
        env.agent.velocity += (env.k_p * (target - env.agent.position) - env.k_v * env.agent.velocity) * env.dt
        env.space.step(env.dt)


def corners(env, position, angle):
    """The block's corners in this pose, `[8, 2]`."""
    cosine, sine = numpy.cos(angle), numpy.sin(angle)
    turn = numpy.array([[cosine, -sine], [sine, cosine]])
    return numpy.array([v for shape in env.block.shapes for v in shape.get_vertices()]) @ turn.T + numpy.array(position)
