"""Training and evaluation on environments of Gymnasium's, in this process."""

import _thread
import json
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tomllib

import numpy as np
import pytest

import latco
from latco import _latco
from latco._environment import opened

gymnasium = pytest.importorskip("gymnasium")


class Dot(gymnasium.Env):
    """A dot on a black square that actions move; the reward is 1 in the right half."""

    metadata = {"render_modes": ["rgb_array"]}
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-2, 2, (2,), np.float32)
    render_mode = "rgb_array"
    _max_episode_steps = 12

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.uniform(-1, 1, 2), 0
        return self.place.astype("f4"), {}

    def step(self, action):
        self.place = np.clip(self.place + 0.1 * action, -1, 1)
        self.steps += 1
        reward = float(self.place[0] > 0)
        told = {"success": bool(reward)}
        return self.place.astype("f4"), reward, False, self.steps >= 12, told

    def render(self):
        picture = np.zeros((32, 32, 3), np.uint8)
        row, column = ((self.place[::-1] + 1) * 15).astype(int)
        picture[row : row + 2, column : column + 2] = 255
        return picture


SMALL = {
    "steps": 8,
    "collect": {"prefill": 2, "warm_up": 2, "every": 2, "planner": "cem", "horizon": 4, "replan_every": 4},
    "replay": {"batch": 2, "length": 6},
    "model": {"deterministic": 8, "stochastic": 4, "hidden": 8, "depth": 2, "reward": "gaussian"},
    "progress": False,
}


def made():
    return Dot()


def small(**changes):
    return {**SMALL, **changes}


def test_a_run_is_that_of_the_command_line(tmp_path):
    run = tmp_path / "run"
    seen = []
    report = latco.train(made, run, **small(progress=seen.append))
    assert report["step"] == 8 and report["episodes"] >= 3
    assert seen[-1]["step"] == 8
    names = {path.name for path in run.iterdir()}
    assert {"config.toml", "metrics.jsonl", "checkpoint.safetensors", "episodes"} <= names
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any(line["kind"] == "episode" and line["planned"] for line in lines)
    with pytest.raises(latco.RunError, match="already holds a run"):
        latco.train(made, run, **small())

    longer = latco.train(made, run, resume=True, steps=10, progress=False)
    assert longer["step"] == 10
    with pytest.raises(latco.SettingError, match="cannot change"):
        latco.train(made, run, resume=True, steps=12, progress=False, replay={"batch": 3})

    agent = latco.Agent.load(report["checkpoint"], planner="cem", horizon=4, replan_every=4)
    told = []
    result = latco.evaluate(
        agent, Dot(), episodes=2, seed=5, progress=lambda *counts: told.append(counts)
    )
    assert result["episodes"] == 2 and told[-1][0] == 2
    assert [episode["seed"] for episode in result["results"]] == [5, 6]
    again = latco.evaluate(agent, made, episodes=2, seed=5, progress=False)
    assert again["return_mean"] == result["return_mean"]


def test_an_environment_of_the_caller_is_left_as_it_was(tmp_path):
    run = latco.train(made, tmp_path / "run", **small(steps=2))
    agent = latco.Agent.load(run["checkpoint"], planner="random", horizon=4, replan_every=4)
    env = Dot()
    result = latco.evaluate(agent, env, episodes=1, env_args={"time_limit": 5}, progress=False)
    assert len(result["results"][0]["plans"]) == 2, "of 4 steps each"
    assert env._max_episode_steps == 12 and "_max_episode_steps" not in vars(env)


def test_side_by_side_is_a_matter_of_a_number(tmp_path):
    report = latco.train(made, tmp_path / "run", envs=2, **small())
    assert report["episodes"] == 4


def test_the_setting_of_environments_side_by_side_counts(tmp_path):
    run = tmp_path / "run"
    report = latco.train(made, run, **small(collect={**SMALL["collect"], "environments": 2}))
    assert report["episodes"] == 4
    assert tomllib.loads((run / "config.toml").read_text())["collect"]["environments"] == 2


def test_one_environment_is_not_driven_twice_at_once(tmp_path):
    with pytest.raises(latco.SettingError, match="expected a function"):
        latco.train(Dot(), tmp_path / "run", envs=2, **SMALL)


def test_the_callers_random_numbers_are_left_alone(tmp_path):
    def drawn(work):
        random.seed(3)
        np.random.seed(3)
        work()
        return random.random(), np.random.rand()

    def work():
        latco.train(made, tmp_path / "run", **SMALL)

    assert drawn(work) == drawn(lambda: None)


def test_a_resumed_run_keeps_its_environment(tmp_path):
    small = {**SMALL, "steps": 2, "model": {**SMALL["model"], "reward": "bernoulli"}}
    run = tmp_path / "run"
    first = latco.train("reach", run, **small)
    with pytest.raises(latco.SettingError, match="`env` is `drawer`, expected `reach`"):
        latco.train("drawer", run, resume=True, steps=4)
    with pytest.raises(latco.SettingError, match="others than those of the resumed run"):
        latco.train("reach", run, resume=True, steps=4, env_args={"size": 32})
    done = latco.train("reach", run, resume=True)
    assert done["episodes"] == first["episodes"] > 0
    done = latco.train("reach", run, resume=True, steps=1)
    assert (done["step"], done["steps"]) == (2, 2)
    assert tomllib.loads((run / "config.toml").read_text())["steps"] == 2
    with pytest.raises(latco.EnvironmentFailure, match="takes no arguments"):
        latco.train("reach", tmp_path / "other", env_args={"size": 32}, **small)
    assert not (tmp_path / "other").exists()


def test_a_resumed_run_keeps_the_arguments_of_an_environment_of_python(tmp_path):
    run = tmp_path / "run"
    latco.train(made, run, env_args={"repeat": 3}, **small(replay={"batch": 2, "length": 4}))
    assert tomllib.loads((run / "config.toml").read_text())["env_args"] == {"repeat": 3}
    again = {"resume": True, "steps": 12, "progress": False}
    with pytest.raises(latco.SettingError, match="others than those of the resumed run"):
        latco.train(made, run, env_args={"repeat": 2}, **again)

    class Other(Dot):
        pass

    with pytest.raises(latco.SettingError, match="`env` is `python:Other`, expected `python:Dot`"):
        latco.train(Other, run, **again)
    latco.train(made, run, **again)
    episodes = sorted((run / "episodes").glob("*.npz"))
    frames = {len(np.load(episode)["reward"]) for episode in episodes}
    assert len(episodes) > 4 and frames == {5}, "the first image and 12 / 3 steps"


def test_a_run_on_recordings_is_not_resumed_without_them(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    noted = run / "data.json"
    noted.write_text("{}")
    latco.train(made, run, **small(steps=1))
    assert not noted.exists(), "left by a run that was broken off"
    noted.write_text("{}")
    with pytest.raises(latco.RunError, match="learns from recordings"):
        latco.train(made, run, resume=True, steps=2)


def test_ctrl_c_ends_an_evaluation_of_a_named_environment(checkpoint):
    agent = latco.Agent.load(checkpoint, planner="random")
    threading.Timer(0.4, _thread.interrupt_main).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        latco.evaluate(agent, "reach", episodes=100_000, progress=False)
    assert time.monotonic() - begun < 5

    def stop(done, solved):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        latco.evaluate(agent, "reach", episodes=100_000, progress=stop)
    for wrong in [{"episodes": 0}, {"seed": -1}]:
        with pytest.raises(latco.SettingError, match="expected at least"):
            latco.evaluate(agent, "reach", progress=False, **wrong)


def test_an_environment_lives_on_one_thread_and_is_closed(tmp_path):
    threads, closed = set(), []

    class Local(Dot):
        def __init__(self):
            threads.add(threading.get_ident())

        def reset(self, **options):
            threads.add(threading.get_ident())
            return super().reset(**options)

        def render(self):
            threads.add(threading.get_ident())
            return super().render()

        def close(self):
            closed.append(threading.get_ident())

    latco.train(Local, tmp_path / "run", **small())
    assert len(threads) == 1 and closed == list(threads)


def test_an_environment_that_is_refused_is_closed_too(tmp_path):
    closed, threads = [], set(threading.enumerate())

    class Endless(Dot):
        _max_episode_steps = None

        def close(self):
            closed.append(threading.get_ident())

    with pytest.raises(latco.EnvironmentFailure, match="how long its episodes last"):
        latco.train(Endless, tmp_path / "run", **small())
    assert len(closed) == 1 and closed[0] != threading.get_ident()
    assert set(threading.enumerate()) <= threads


def test_pictures_are_resized_as_those_of_other_processes(tmp_path):
    """Each pixel is the mean of those that it covers, or the one that it lies in."""

    class Noise(Dot):
        def render(self):
            return np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)

    drawn = Noise().render()
    means = drawn.reshape(16, 2, 16, 2, 3).mean((1, 3))
    for size, expected in [(16, means), (32, drawn), (64, np.kron(drawn, np.ones((2, 2, 1))))]:
        path = tmp_path / f"{size}.npz"
        with opened(Noise, {"size": size}) as (environment,):
            _latco.record(environment, None, "random", 0, path)
        with np.load(path) as episode:
            image = episode["image"][0].astype(float)
        assert image.shape == (size, size, 3)
        assert np.abs(image - expected).max() <= 1
    with pytest.raises(latco.EnvironmentFailure, match="`size` is 513, expected 1 to 512"):
        latco.train(Noise, tmp_path / "run", **small(env_args={"size": 513}))


def test_the_range_of_rewards_is_told(tmp_path):
    options = small(steps=1, model={"deterministic": 8, "stochastic": 4, "hidden": 8, "depth": 2})
    for reward, head in [("success", "bernoulli"), ("env", "gaussian")]:
        run = tmp_path / reward
        latco.train(made, run, env_args={"reward": reward}, **options)
        settings = tomllib.loads((run / "config.toml").read_text())
        assert settings["model"]["reward"] == head


def test_names_are_environments_too(tmp_path, checkpoint):
    agent = latco.Agent.load(checkpoint, planner="cem", horizon=10, iterations=2, samples=32, elites=4)
    result = latco.evaluate(agent, "reach", episodes=1, progress=False)
    assert result["env"] == "reach" and 0 <= result["success_rate"] <= 1
    with pytest.raises(latco.EnvironmentFailure, match="the model has"):
        latco.evaluate(agent, Dot(), episodes=1, progress=False)
    with pytest.raises(latco.EnvironmentFailure, match="unknown environment `raech`"):
        latco.evaluate(agent, "raech", episodes=1, progress=False)


def test_a_name_of_gymnasium_is_this_interpreters(tmp_path, monkeypatch):
    pytest.importorskip("pygame")
    monkeypatch.delenv("LATCO_PYTHON", raising=False)
    options = small(replay={"batch": 2, "length": 8}, steps=1)
    report = latco.train("gym:Pendulum-v1", tmp_path / "run", **options)
    assert report["episodes"] == 2
    assert 'env = "gym:Pendulum-v1"' in (tmp_path / "run/config.toml").read_text()


def test_gymnasium_draws_for_the_models_pictures(tmp_path):
    pytest.importorskip("pygame")
    options = small(replay={"batch": 2, "length": 8}, steps=1, env_args={"size": 32})
    latco.train("gym:Pendulum-v1", tmp_path / "run", **options)
    fast = {"planner": "cem", "horizon": 5, "iterations": 1, "samples": 8, "elites": 2}
    agent = latco.Agent.load(tmp_path / "run/checkpoint.safetensors", **fast)
    assert agent.frame_shape == (32, 32, 3)
    for source in ("gym:Pendulum-v1", lambda: gymnasium.make("Pendulum-v1", render_mode="rgb_array")):
        result = latco.evaluate(agent, source, episodes=1, progress=False)
        assert result["return_mean"] < 0
    with pytest.raises(latco.EnvironmentFailure, match="the model has"):
        latco.evaluate(agent, "gym:Pendulum-v1", env_args={"size": 48}, episodes=1, progress=False)


def test_exceptions_of_the_environment_are_themselves(tmp_path):
    class Broken(Dot):
        def step(self, action):
            if self.steps == 3:
                raise ZeroDivisionError("the arm is off")
            return super().step(action)

    with pytest.raises(ZeroDivisionError, match="the arm is off") as caught:
        latco.train(Broken, tmp_path / "run", **small())
    assert "step" in [entry.name for entry in caught.traceback]


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"action_space": gymnasium.spaces.Discrete(3)}, "the actions are Discrete"),
        ({"action_space": gymnasium.spaces.Box(-np.inf, np.inf, (2,))}, "no finite bounds"),
        ({"_max_episode_steps": None}, "how long its episodes last"),
        ({"render": lambda self: None}, "gives NoneType, not an array of bytes"),
    ],
)
def test_environments_of_no_use_are_refused(tmp_path, changes, sentence):
    other = type("Other", (Dot,), changes)
    with pytest.raises(latco.EnvironmentFailure, match=sentence):
        latco.train(other, tmp_path / "run", **small())


def test_settings_that_there_are_not_are_named(tmp_path):
    with pytest.raises(latco.SettingError, match="did you mean `replay.batch`"):
        latco.train(made, tmp_path / "run", **small(replay={"bach": 2}))
    with pytest.raises(latco.EnvironmentFailure, match="`wind` cannot be given"):
        latco.train(made, tmp_path / "run", **small(env_args={"wind": 2}))
    with pytest.raises(latco.SettingError, match="`env_options` are changed"):
        latco.train(made, tmp_path / "run", **small(env_options={"image_size": 32}))
    with pytest.raises(latco.SettingError, match="as the argument `env_args`"):
        latco.train(made, tmp_path / "run", **small(**{"env_args.size": 32}))
    assert not (tmp_path / "run").exists()


def test_ctrl_c_saves_a_run_that_can_be_resumed(tmp_path):
    program = textwrap.dedent(f"""
        import sys, pathlib
        sys.path.insert(0, {str(__file__.rsplit("/", 1)[0])!r})
        import latco, test_train
        def told(status):
            if status["step"] > 2:
                print("training", flush=True)
        options = test_train.small(steps=1_000_000, progress=told)
        options["collect"]["every"] = 5
        try:
            latco.train(test_train.made, {str(tmp_path / "run")!r}, **options)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "training\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert rest.splitlines()[-1] == "interrupted"
    found = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    reached = max(line["step"] for line in found)
    report = latco.train(made, tmp_path / "run", resume=True, steps=reached + 20, progress=False)
    assert report["step"] == reached + 20


def test_a_benchmark_tells_environment_arguments_and_settings(tmp_path):
    file = tmp_path / "dot.toml"
    file.write_text(
        textwrap.dedent(
            """
            about = "Reach the goal in few steps."
            env = "reach"
            steps = 6
            [collect]
            prefill = 2
            warm_up = 2
            every = 2
            planner = ["random"]
            [replay]
            batch = 2
            length = 6
            [model]
            deterministic = 8
            stochastic = 4
            hidden = 8
            depth = 2
            [evaluation]
            horizon = 12
            replan_every = 3
            episodes = 2
            seed = 7
            """
        )
    )
    run = tmp_path / "run"
    report = latco.train(benchmark=file, run=run, steps=2, model={"depth": 3}, progress=False)
    assert (report["step"], report["steps"]) == (2, 2)
    settings = tomllib.loads((run / "config.toml").read_text())
    assert settings["env"] == "reach" and settings["replay"]["batch"] == 2
    assert (settings["model"]["depth"], settings["model"]["hidden"]) == (3, 8)
    json.dumps(report)  # As every report.
    agent = latco.Agent.load(report["checkpoint"], planner="random")
    result = latco.evaluate(agent, benchmark=file, progress=False)
    assert (result["episodes"], result["seed"], result["env"]) == (2, 7, "dot")
    assert [len(episode["plans"]) for episode in result["results"]] == [10, 10], "anew after 3 of 30"
    assert result["device"] == next(iter(latco.devices())), "which one `auto` is"
    told = latco.Agent.load(report["checkpoint"], planner="random", horizon=8, replan_every=6)
    result = latco.evaluate(told, benchmark=file, progress=False)
    assert [len(episode["plans"]) for episode in result["results"]] == [5, 5], "after 6, as it was told"
    # What the file says by now is no change of a run that is there.
    done = latco.train(benchmark=file, run=run, resume=True, progress=False)
    assert (done["step"], done["steps"]) == (2, 2)
    with pytest.raises(latco.SettingError, match="either `env` or `benchmark`"):
        latco.train("reach", run, benchmark=file)
    file.write_text(file.read_text().replace("batch", "bach"))
    with pytest.raises(latco.SettingError, match="bach.*batch"):
        latco.train(benchmark=file, run=tmp_path / "other")
