"""latco on a model of JAX's against a CEM written by hand in JAX, at equal time; and what a call costs.

Run in a virtual environment with `latco` and `jax`: python benches/against_jax.py [SECONDS] [SEEDS]
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import latco

HORIZON, SAMPLES, ELITES, SIZE, ACTIONS = 30, 500, 50, 4, 2
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
SEEDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
GOAL = jnp.array([0.5, -0.3])


def step(z, a):
    velocity = z[:, 2:] + 0.1 * a
    return jnp.concatenate([z[:, :2] + 0.1 * velocity, velocity], 1)


def log_reward(z):
    """Far from the goal there is next to nothing: 1e-7 at the start."""
    return -jnp.sum((z[:, :2] - GOAL) ** 2, 1) / 0.02


def reward(z):
    return jnp.exp(log_reward(z))


@jax.jit
def cem_step(key, mean, std, z0):
    """One iteration of the cross-entropy method, rollouts by `lax.scan`: as fast as JAX makes it."""
    noise = jax.random.normal(key, (SAMPLES, HORIZON, ACTIONS))
    actions = jnp.clip(mean + std * noise, -1, 1)

    def move(z, a):
        z = step(z, a)
        return z, reward(z)

    start = jnp.broadcast_to(z0, (SAMPLES, SIZE))
    _, rewards = jax.lax.scan(move, start, actions.transpose(1, 0, 2))
    returns = rewards.sum(0)
    best, order = jax.lax.top_k(returns, ELITES)
    elites = actions[order]
    return elites.mean(0), jnp.maximum(elites.std(0), 0.05), best[0]


def cem_in_jax(seed, seconds):
    key, z0 = jax.random.key(seed), jnp.zeros(SIZE)
    mean, std = jnp.zeros((HORIZON, ACTIONS)), jnp.ones((HORIZON, ACTIONS))
    best, iterations, begun = -np.inf, 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        key, sub = jax.random.split(key)
        mean, std, found = cem_step(sub, mean, std, z0)
        best, iterations = max(best, float(found)), iterations + 1
    return best, iterations


def main():
    model = latco.jax_model(
        step, reward, log_reward=log_reward, action_size=ACTIONS, reward_range=(0, 1)
    )
    start = np.zeros(SIZE)
    cem_in_jax(0, 0.5)
    planners = {
        "cem": {"samples": SAMPLES, "elites": ELITES, "iterations": 100_000},
        "icem": {"iterations": 100_000},
        "latco": {},
    }
    for name, settings in planners.items():  # compiles
        latco.plan(model, start, planner=name, horizon=HORIZON, deadline=5.0, **settings)

    print(f"{SECONDS} s a plan, {SEEDS} seeds: mean return (least), iterations")
    runs = [cem_in_jax(seed, SECONDS) for seed in range(SEEDS)]
    returns, iterations = zip(*runs)
    print(f"  CEM by hand in JAX  {np.mean(returns):7.2f} ({min(returns):.2f})  {np.mean(iterations):.0f}")
    for name, settings in planners.items():
        plans = [
            latco.plan(
                model, start, planner=name, horizon=HORIZON, seed=seed, deadline=SECONDS, **settings
            )
            for seed in range(SEEDS)
        ]
        returns = [plan.rollout_return for plan in plans]
        iterations = np.mean([plan.iterations for plan in plans])
        seconds = np.mean([plan.seconds for plan in plans])
        print(
            f"  latco's {name:<12}{np.mean(returns):7.2f} ({min(returns):.2f})  {iterations:.0f}"
            f"  in {seconds:.2f} s"
        )

    class Nothing:
        """Costs nothing by itself: what is left is the way into Python and back."""

        action_size = ACTIONS

        def transition(self, z, a):
            return z

        def reward(self, z):
            return z[:, 0]

    def seconds_per_iteration(model):
        """Of the processor, so that a busy machine does not count."""
        options = {"samples": SAMPLES, "elites": ELITES, "iterations": 200}
        begun = time.process_time()
        plan = latco.plan(model, start, planner="cem", horizon=HORIZON, **options)
        return (time.process_time() - begun) / plan.iterations

    calls = 2 * HORIZON
    empty, full = seconds_per_iteration(Nothing()), seconds_per_iteration(model)
    print(f"an iteration of cem, {SAMPLES} samples of {HORIZON} steps:")
    print(f"  {1e3 * empty:.2f} ms with a model that does nothing, {calls} calls, {1e6 * empty / calls:.0f} µs each")
    print(f"  {1e3 * full:.2f} ms with the model of JAX, which rolls out in one call")


if __name__ == "__main__":
    main()
