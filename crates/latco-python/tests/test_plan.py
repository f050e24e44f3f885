"""Planning on models of Python's."""

import _thread
import threading
import time

import numpy as np
import pytest
from conftest import GOAL, point_log_reward, point_reward, point_step

import latco

START = np.zeros(4)


def numpy_point(**changes):
    options = {"log_reward": point_log_reward, "reward_range": (0.0, 1.0), **changes}
    return latco.numpy_model(point_step, point_reward, action_size=2, **options)


def jax_point():
    jnp = pytest.importorskip("jax.numpy")

    def step(z, a):
        velocity = z[:, 2:] + 0.1 * a
        return jnp.concatenate([z[:, :2] + 0.1 * velocity, velocity], 1)

    def log_reward(z):
        return -jnp.sum((z[:, :2] - GOAL) ** 2, 1) / 0.02

    return latco.jax_model(
        step,
        lambda z: jnp.exp(log_reward(z)),
        log_reward=log_reward,
        action_size=2,
        reward_range=(0, 1),
    )


def torch_point():
    torch = pytest.importorskip("torch")
    goal = torch.tensor(GOAL, dtype=torch.float32)

    def step(z, a):
        velocity = z[:, 2:] + 0.1 * a
        return torch.cat([z[:, :2] + 0.1 * velocity, velocity], 1)

    def log_reward(z):
        return -((z[:, :2] - goal) ** 2).sum(1) / 0.02

    return latco.torch_model(
        step,
        lambda z: log_reward(z).exp(),
        log_reward=log_reward,
        action_size=2,
        reward_range=(0, 1),
    )


MODELS = {"numpy": numpy_point, "jax": jax_point, "torch": torch_point}


@pytest.mark.parametrize("kind", MODELS)
def test_latco_reaches_a_far_goal_on_any_kind_of_model(kind):
    plan = latco.plan(MODELS[kind](), START, planner="latco", horizon=25)
    assert plan.actions.shape == (25, 2) and plan.actions.dtype == np.float32
    assert np.abs(plan.actions).max() <= 1
    assert plan.rollout_return > 10
    assert plan.is_backed_by_rollout
    latent = START[None]
    for action, reached in zip(plan.actions, plan.rollout_latents):
        latent = point_step(latent, action[None])
        np.testing.assert_allclose(latent[0], reached, atol=1e-4)
    np.testing.assert_allclose(plan.rollout_rewards[-1], point_reward(latent)[0], atol=1e-3)


# Those that ask a model for what the point does not have, and what they say.
LACKING = {"image-collocation": "image space"}
STOCHASTIC = {"latco-kl", "latco-likelihood"}


@pytest.mark.parametrize("name", [info.name for info in latco.planners()])
def test_every_planner_of_the_catalogue_plans_or_says_what_it_lacks(name):
    if name in LACKING:
        with pytest.raises(latco.PlanError, match=LACKING[name]):
            latco.plan(numpy_point(), START, planner=name, horizon=6)
        return

    def noisy(z, a):
        mean = point_step(z, a)
        return mean, np.full_like(mean, 0.01)

    step = noisy if name in STOCHASTIC else point_step
    model = latco.numpy_model(step, point_reward, action_size=2, reward_range=(0.0, 1.0))
    plan = latco.plan(model, START, planner=name, horizon=6, deadline=20.0)
    assert plan.actions.shape == (6, 2)
    assert np.isfinite(plan.actions).all()
    assert plan.rollout_rewards.shape == (6,)


@pytest.mark.parametrize("name", sorted(STOCHASTIC))
def test_planners_of_distributions_say_so_where_a_model_has_none(name):
    with pytest.raises(latco.LatcoError, match="standard deviation"):
        latco.plan(numpy_point(), START, planner=name, horizon=6)


class Forward:
    """Has no derivatives."""

    action_size = 2
    transition = staticmethod(point_step)
    reward = staticmethod(point_reward)


@pytest.mark.parametrize("name", ["cem", "icem", "mppi", "random"])
def test_samplers_ask_for_no_derivatives(name):
    assert latco.plan(Forward(), START, planner=name, horizon=12).actions.shape == (12, 2)


@pytest.mark.parametrize("name", ["latco", "shooting-gd", "ilqr", "grasp", "latco-first-order"])
def test_a_planner_that_needs_derivatives_says_so(name):
    with pytest.raises(latco.ModelError, match="needs derivatives of the .*jax_model"):
        latco.plan(Forward(), START, planner=name, horizon=12)


@pytest.mark.parametrize("kind", MODELS)
def test_derivatives_are_those_of_differences(kind):
    model, exact = MODELS[kind](), numpy_point()
    rng = np.random.default_rng(1)
    z, a = rng.normal(size=(5, 4)).astype("f4"), rng.uniform(-1, 1, (5, 2)).astype("f4")
    expected = exact.transition_and_jacobian(z, a)
    found = model.transition_and_jacobian(z, a)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, atol=1e-4)
    if hasattr(model, "transition_vjp"):
        w = rng.normal(size=(5, 4)).astype("f4")
        by_latent, by_action = model.transition_vjp(z, a, w)
        np.testing.assert_allclose(by_latent, np.einsum("no,noz->nz", w, expected[1]), atol=1e-4)
        np.testing.assert_allclose(by_action, np.einsum("no,noa->na", w, expected[2]), atol=1e-4)
        moved = model.transition_jvp(z, a, w, a)
        plain = np.einsum("noz,nz->no", expected[1], w) + np.einsum("noa,na->no", expected[2], a)
        np.testing.assert_allclose(moved, plain, atol=1e-4)
    value, gradient = model.reward_and_gradient(z)
    np.testing.assert_allclose(value, point_reward(z), atol=1e-5)
    np.testing.assert_allclose(gradient, exact.reward_and_gradient(z)[1], atol=1e-3)


class Products:
    """A latent too large for Jacobians, with products alone."""

    action_size = 2

    def __init__(self, size):
        rng = np.random.default_rng(0)
        self.a = (0.9 * np.linalg.qr(rng.normal(size=(size, size)))[0]).astype("f4")
        self.b = rng.normal(size=(2, size)).astype("f4") / 4
        self.goal = rng.normal(size=size).astype("f4") / 8

    def transition(self, z, a):
        return z @ self.a + a @ self.b

    def reward(self, z):
        return -((z - self.goal) ** 2).sum(1)

    def reward_and_gradient(self, z):
        return self.reward(z), -2 * (z - self.goal)

    def transition_vjp(self, z, a, w):
        return w @ self.a.T, w @ self.b.T

    def transition_jvp(self, z, a, dz, da):
        return self.transition(dz, da)


class Dense(Products):
    def transition_and_jacobian(self, z, a):
        rows = len(z)
        by_latent = np.broadcast_to(self.a.T, (rows, *self.a.T.shape))
        by_action = np.broadcast_to(self.b.T, (rows, *self.b.T.shape))
        return self.transition(z, a), by_latent, by_action


@pytest.mark.parametrize("planner", ["ilqr", "latco-first-order", "grasp", "latco-paper"])
def test_products_and_jacobians_make_the_same_plan(planner):
    size, start = 6, np.ones(6)
    returns = [
        latco.plan(model, start, planner=planner, horizon=5).rollout_return
        for model in (Products(size), Dense(size))
    ]
    assert returns[0] == pytest.approx(returns[1], rel=1e-3, abs=1e-3)


def test_a_log_reward_without_its_gradient_is_named():
    class Half(Dense):
        reward_range = (-100.0, 0.0)

        def log_reward(self, z):
            return self.reward(z)

    with pytest.raises(latco.ModelError, match="needs derivatives of `log_reward`"):
        latco.plan(Half(4), np.ones(4), planner="shooting-gd", horizon=4, objective="log_reward")


def test_functions_of_jax_may_count_in_half_precision():
    jnp = pytest.importorskip("jax.numpy")
    model = latco.jax_model(
        lambda z, a: (0.5 * z + a).astype(jnp.bfloat16), lambda z: -(z**2).sum(1), action_size=2
    )
    plan = latco.plan(model, np.ones(2), planner="cem", horizon=5)
    assert plan.rollout_return > -1
    ones = np.ones((3, 2), "f4")
    for part, expected in zip(model.transition_vjp(ones, ones, ones), (0.5, 1.0)):
        np.testing.assert_allclose(part, expected * ones)


@pytest.mark.parametrize("kind", ["jax", "torch"])
def test_a_rollout_in_one_call_is_that_of_its_steps(kind):
    model, rng = MODELS[kind](), np.random.default_rng(2)
    z, a = rng.normal(size=(5, 4)).astype("f4"), rng.uniform(-1, 1, (5, 7, 2)).astype("f4")
    latents = model.roll_out(z, a)
    assert latents.shape == (5, 7, 4)
    for step in range(7):
        z = np.asarray(model.transition(z, a[:, step]))
        np.testing.assert_allclose(latents[:, step], z, atol=1e-5)


class AtOnce(Forward):
    """Counts the steps that are asked for one by one."""

    def __init__(self):
        self.steps = 0

    def transition(self, z, a):
        self.steps += 1
        return super().transition(z, a)

    def roll_out(self, z, a):
        latents = []
        for step in range(a.shape[1]):
            z = super().transition(z, a[:, step])
            latents.append(z)
        return np.stack(latents, 1)


@pytest.mark.parametrize("planner", ["cem", "icem", "mppi", "random"])
def test_samplers_roll_out_in_one_call_where_the_model_can(planner):
    model = AtOnce()
    found = latco.plan(model, START, planner=planner, horizon=12)
    # The step by which the model's shapes are seen.
    assert model.steps == 1
    steps = latco.plan(Forward(), START, planner=planner, horizon=12)
    np.testing.assert_array_equal(found.actions, steps.actions)
    assert found.rollout_return == steps.rollout_return


def test_a_rollout_of_another_shape_is_named():
    model = AtOnce()
    model.roll_out = lambda z, a: np.zeros((len(z), 3, 4), "f4")
    with pytest.raises(latco.ModelError, match="roll_out"):
        latco.plan(model, START, planner="cem", horizon=12)


def test_the_same_seed_makes_the_same_plan():
    one, same, other = (
        latco.plan(numpy_point(), START, planner="cem", horizon=8, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one.actions, same.actions)
    assert not np.array_equal(one.actions, other.actions)


def test_a_deadline_is_kept_and_told():
    def slow(z, a):
        time.sleep(0.01)
        return point_step(z, a)

    model = latco.numpy_model(slow, point_reward, action_size=2)
    plan = latco.plan(model, START, planner="cem", horizon=10, deadline=0.5, iterations=10_000)
    assert plan.stop == "deadline"
    assert plan.seconds < 2


def test_a_warm_start_goes_on_from_an_earlier_plan():
    first = latco.plan(numpy_point(), START, planner="cem", horizon=15)
    after = first.rollout_latents[4]
    again = latco.plan(numpy_point(), after, planner="cem", horizon=15, warm_start=(first, 5))
    assert again.rollout_return >= first.rollout_return


def test_a_warm_start_is_a_plan_and_its_steps_that_have_passed():
    plan = latco.plan(numpy_point(), START, planner="random", horizon=6)
    for wrong, sentence in [
        (plan, "is a plan"),
        ((plan, 1, 2), "longer"),
        ((plan, -1), "at least 0"),
        (np.zeros(6), r"has the shape \(6,\), expected actions"),
    ]:
        with pytest.raises(latco.SettingError, match=sentence):
            latco.plan(numpy_point(), START, planner="random", horizon=6, warm_start=wrong)


def test_a_warm_start_may_be_actions():
    first = latco.plan(numpy_point(), START, planner="latco", horizon=15)
    again = latco.plan(
        numpy_point(), START, planner="cem", horizon=15, iterations=1, warm_start=first.actions
    )
    assert again.rollout_return >= 0.99 * first.rollout_return
    shorter = latco.plan(numpy_point(), START, planner="cem", horizon=15, warm_start=first.actions[:4])
    assert shorter.actions.shape == (15, 2)
    with pytest.raises(latco.SettingError, match=r"expected \(steps, 2\)"):
        latco.plan(numpy_point(), START, planner="cem", horizon=15, warm_start=np.zeros((4, 3)))


def test_the_observer_sees_each_iteration():
    seen = []
    plan = latco.plan(numpy_point(), START, planner="cem", horizon=6, observer=seen.append)
    assert [figures["index"] for figures in seen] == list(range(plan.iterations))
    assert seen == plan.trace


def test_exceptions_of_the_model_are_themselves():
    class Mine(Exception):
        pass

    calls = []

    def step(z, a):
        calls.append(len(z))
        if len(calls) > 5:
            raise Mine("the simulator is gone")
        return point_step(z, a)

    for planner in ("latco", "cem", "latco-first-order", "ilqr"):
        calls.clear()
        model = latco.numpy_model(step, point_reward, action_size=2)
        with pytest.raises(Mine, match="the simulator is gone") as caught:
            latco.plan(model, START, planner=planner, horizon=10)
        frames = [entry.name for entry in caught.traceback]
        assert "step" in frames, frames


def test_exceptions_of_the_observer_are_themselves():
    def stop(figures):
        raise StopIteration(figures["index"])

    with pytest.raises(StopIteration, match="0"):
        latco.plan(numpy_point(), START, planner="cem", horizon=6, observer=stop)


def slow_in_python(z, a):
    time.sleep(0.001)
    return point_step(z, a)


@pytest.mark.parametrize("step", [point_step, slow_in_python])
@pytest.mark.parametrize("planner", ["cem", "latco-first-order"])
def test_ctrl_c_ends_a_plan_and_the_next_is_as_ever(step, planner):
    model = latco.numpy_model(step, point_reward, action_size=2)
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        latco.plan(model, START, planner=planner, horizon=10, iterations=10_000_000)
    assert time.monotonic() - begun < 10
    timer.join()
    assert latco.plan(model, START, planner="random", horizon=3).actions.shape == (3, 2)


@pytest.mark.parametrize(
    "transition, reward, sentence",
    [
        (lambda z, a: z[:, :3], point_reward, r"`transition` gave has the shape \(\d+, 3\), expected \(\d+, 4\)"),
        (point_step, lambda z: z, r"`reward` gave has the shape \(\d+, 4\), expected \(\d+,\)"),
        (lambda z, a: (z, z, z), point_reward, r"`transition` gave 3 arrays, expected 2"),
    ],
)
def test_outputs_of_another_shape_are_named(transition, reward, sentence):
    class Wrong(Forward):
        pass

    Wrong.transition, Wrong.reward = staticmethod(transition), staticmethod(reward)
    with pytest.raises(latco.ModelError, match=sentence):
        latco.plan(Wrong(), START, planner="cem", horizon=4)


def test_outputs_that_are_not_finite_are_named():
    class Wrong(Forward):
        reward = staticmethod(lambda z: np.full(len(z), np.nan))

    with pytest.raises(latco.PlanError, match="reward is not finite"):
        latco.plan(Wrong(), START, planner="cem", horizon=4)


@pytest.mark.parametrize(
    "changes, kind, sentence",
    [
        ({"planner": "latcoo"}, latco.SettingError, "unknown planner `latcoo`"),
        ({"sampels": 3}, latco.SettingError, "unknown setting `sampels`, did you mean `samples`"),
        ({"samples": "many"}, latco.SettingError, "`samples` is \"many\", expected a whole number"),
        ({"samples": 0}, latco.SettingError, "samples"),
        ({"horizon": 0}, latco.SettingError, "horizon"),
        ({"horizon": -1}, latco.SettingError, "`horizon` is -1, expected at least 1"),
        ({"seed": -1}, latco.SettingError, "`seed` is -1, expected at least 0"),
        ({"seed": 0.5}, latco.SettingError, "`seed` is 0.5, expected a whole number"),
        ({"z0_std": -np.ones(4)}, latco.ModelError, "`z0_std` has an entry below 0"),
        ({"deadline": -1.0}, latco.SettingError, "`deadline` is -1, expected seconds above 0"),
        ({"device": "abacus"}, latco.SettingError, "unknown device `abacus`"),
    ],
)
def test_settings_outside_their_range_are_named(changes, kind, sentence):
    with pytest.raises(kind, match=sentence):
        latco.plan(numpy_point(), START, **{"planner": "cem", "horizon": 4, **changes})


@pytest.mark.parametrize("ends", [(1.0, 1.0), (-np.inf, 0.0), (0.0, np.nan)])
def test_a_range_of_rewards_has_two_finite_ends(ends):
    with pytest.raises(latco.ModelError, match="`reward_range` is .* both finite"):
        latco.plan(numpy_point(reward_range=ends), START, planner="cem", horizon=4)


def test_a_model_without_its_methods_is_refused():
    class Empty:
        action_size = 2

    with pytest.raises(latco.ModelError, match="has no method `transition`"):
        latco.plan(Empty(), START)
    with pytest.raises(latco.ModelError, match=r"`z0` has the shape \(2, 4\)"):
        latco.plan(numpy_point(), np.zeros((2, 4)))
    with pytest.raises(latco.ModelError, match=r"`z0_std` has the shape \(3,\), expected \(4,\)"):
        latco.plan(numpy_point(), START, z0_std=np.zeros(3))


def test_other_threads_work_while_rust_plans():
    counted = [0]
    done = threading.Event()

    def count():
        while not done.is_set():
            counted[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    latco.plan(numpy_point(), START, planner="cem", horizon=20, iterations=50)
    done.set()
    thread.join()
    assert counted[0] > 5


def test_settings_reach_the_planner():
    few = latco.plan(
        numpy_point(),
        START,
        planner="cem",
        horizon=np.int64(6),
        samples=np.int64(20),
        iterations=2,
        elites=5,
        min_std=np.float32(0.05),
    )
    more = latco.plan(numpy_point(), START, planner="cem", horizon=6, samples=200, iterations=2)
    assert few.iterations == 2
    assert few.model_steps < more.model_steps
