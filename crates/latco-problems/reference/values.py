"""Writes tests/data/values.json: steps and rewards of every problem, computed by numpy in float64.

    pip install numpy
    python reference/values.py
"""

import json
import pathlib

import numpy as np

SEED = 7


def point(z, a, h, n):
    v = z[n:] + 3.33 * h * a
    return np.concatenate([z[:n] + 3.33 * h * v, v])


def point_goal(n):
    return np.array([1.0 if i % 2 == 0 else -1.0 for i in range(n)])


def point_squares(z, n):
    return [np.sum((z[:n] - point_goal(n)) ** 2)]


def effectors(z, a, h, n):
    return z + 2 * h * a


def effectors_goal(n):
    return np.array([f(2.4 * i) for i in range(n) for f in (np.cos, np.sin)])


def effectors_squares(z, n):
    return np.sum((z - effectors_goal(n)).reshape(n, 2) ** 2, axis=1)


def push(z, a, h, n):
    hand = z[:2] + 4 * h * a
    gap = z[2:] - hand
    length = np.sqrt(gap @ gap + 1e-4)
    overlap = np.log1p(np.exp(40 * (0.15 - length))) / 40
    return np.concatenate([hand, z[2:] + gap / length * overlap])


def push_squares(z, n):
    return [(z[2] - 1) ** 2 + (z[3] - 0.9) ** 2]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def door(z, a, h, n):
    wall = sigmoid(100 * (0.05 - abs(z[0] - 0.5)))
    opening = sigmoid(60 * (0.12 - abs(z[1] - 0.8)))
    v = (z[2:] * (1 - 2 * h) + 8 * h * a) * (1 - 0.97 * wall * (1 - opening))
    return np.concatenate([z[:2] + 3 * h * v, v])


def door_squares(z, n):
    return [(z[0] - 1) ** 2 + z[1] ** 2]


def pendulum(z, a, h, n):
    dt = 5 * h
    omega = 4 * z[1] + dt * (-9.81 * np.sin(z[0]) + 4 * a[0])
    return np.array([z[0] + dt * omega, omega / 4])


def pendulum_squares(z, n):
    return [2 * (1 + np.cos(z[0])) + 0.25 * z[1] ** 2]


def cartpole(z, a, h, n):
    dt, cart, pole, length, gravity = 4 * h, 1.0, 0.3, 0.5, 9.81
    sine, cosine, omega, force = np.sin(z[1]), np.cos(z[1]), 4 * z[3], 8 * a[0]
    # Manipulator equations M(q) q'' = f(q, q'), solved as a linear system.
    mass = np.array([[cart + pole, pole * length * cosine], [cosine, length]])
    load = np.array([force + pole * length * sine * omega**2, -gravity * sine])
    acceleration, alpha = np.linalg.solve(mass, load)
    v, omega = 2 * z[2] + dt * acceleration, omega + dt * alpha
    return np.array([z[0] + dt * v, z[1] + dt * omega, v / 2, omega / 4])


def cartpole_squares(z, n):
    return [2 * (1 + np.cos(z[1])) + z[0] ** 2 + 0.1 * z[3] ** 2]


def car(z, a, h, n):
    v = z[3] * (1 - h) + 8 * h * a[0]
    theta = z[2] + 2 * h * v * 2.5 * a[1]
    return np.array([z[0] + 2 * h * v * np.cos(theta), z[1] + 2 * h * v * np.sin(theta), theta, v])


def car_squares(z, n):
    return [z[0] ** 2 + (z[1] - 0.8) ** 2 + 2 * (1 - np.cos(z[2])) + 0.25 * z[3] ** 2]


def quadrotor(z, a, h, n):
    dt = 3 * h
    thrust = 9.81 + 4.9 * (a[0] + a[1])
    vx = 2 * z[3] - dt * thrust * np.sin(z[2])
    vy = 2 * z[4] + dt * (thrust * np.cos(z[2]) - 9.81)
    omega = 4 * z[5] + dt * 15 * (a[1] - a[0])
    return np.array([z[0] + dt * vx, z[1] + dt * vy, z[2] + dt * omega, vx / 2, vy / 2, omega / 4])


def quadrotor_squares(z, n):
    return [(z[0] - 1) ** 2 + (z[1] - 0.5) ** 2 + 2 * (1 - np.cos(z[2]))]


def log_gauss(square, width):
    return -square / (2 * width**2)


def log_cauchy(square, width):
    return -np.log1p(square / width**2)


def log_sigmoid(square, width):
    return -np.logaddexp(0, -4 * (width - np.sqrt(square + 1e-6)) / width)


HEADS = {"gauss": log_gauss, "cauchy": log_cauchy, "sigmoid": log_sigmoid}

# Name, size, horizon, width; latents around which to look: start, goal and where it matters.
CASES = [
    ("point", 1, 10, 0.3, [[0, 0], [1, 0]]),
    ("point", 5, 100, 0.2, [[0] * 10, [*point_goal(5), *[0] * 5]]),
    ("effectors", 1, 20, 0.3, [[0, 0], [1, 0]]),
    ("effectors", 8, 50, 0.3, [[0] * 16, effectors_goal(8)]),
    ("push", 1, 100, 0.15, [[0, 0, 0.5, 0.3], [0.45, 0.25, 0.5, 0.3], [0.9, 0.8, 1, 0.9]]),
    ("door", 1, 100, 0.2, [[0, 0, 0, 0], [0.5, 0.1, 0.3, 0], [0.5, 0.8, 0.3, 0], [1, 0, 0, 0]]),
    ("pendulum", 1, 100, 0.3, [[0, 0], [np.pi, 0], [-np.pi, 0]]),
    ("cartpole", 1, 200, 0.3, [[0, 0, 0, 0], [0, np.pi, 0, 0]]),
    ("car", 1, 100, 0.2, [[0, 0, 0, 0], [0, 0.8, 0, 0]]),
    ("quadrotor", 1, 100, 0.2, [[0] * 6, [1, 0.5, 0, 0, 0, 0]]),
]
ROWS_OF_EACH = 3
SPREAD = 0.1


def single(array):
    """`array` at the precision that tensors have."""
    return np.asarray(array, np.float32).astype(np.float64)


def case(name, size, horizon, width, centres, rng):
    step, squares = globals()[name], globals()[f"{name}_squares"]
    action_size = {"point": size, "effectors": 2 * size, "pendulum": 1, "cartpole": 1}.get(name, 2)
    centres = np.repeat(np.array(centres, float), ROWS_OF_EACH, axis=0)
    latents = single(centres + SPREAD * rng.normal(size=centres.shape))
    actions = single(rng.uniform(-1, 1, (len(latents), action_size)))
    return {
        "problem": name,
        "size": size,
        "horizon": horizon,
        "width": width,
        "latents": latents.tolist(),
        "actions": actions.tolist(),
        "next": [step(z, a, 1 / horizon, size).tolist() for z, a in zip(latents, actions)],
        "log_rewards": {
            head: [float(sum(log(d2, width) for d2 in squares(z, size))) for z in latents]
            for head, log in HEADS.items()
        },
    }


def main():
    rng = np.random.default_rng(SEED)
    cases = [case(*arguments, rng) for arguments in CASES]
    path = pathlib.Path(__file__).parent.parent / "tests" / "data" / "values.json"
    path.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in cases) + "\n]\n")


if __name__ == "__main__":
    main()
