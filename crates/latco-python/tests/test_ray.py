"""Episodes on a Ray cluster: two workers, one of them killed."""

import os
import pathlib
import signal
import stat

import numpy as np
import pytest

ray = pytest.importorskip("ray")
pytest.importorskip("gymnasium")

import latco
import latco.ray


@pytest.fixture(scope="module")
def cluster():
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), os.path.dirname(__file__)])
    environment = {"env_vars": {"PYTHONPATH": path}}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env=environment, log_to_driver=False)
    yield
    ray.shutdown()


def dying(marker):
    """An environment that kills its process in the first step that anybody takes in it."""
    from test_train import Dot

    class Dying(Dot):
        def step(self, action):
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return super().step(action)
            os.kill(os.getpid(), signal.SIGKILL)

    return Dying


def test_what_a_killed_worker_was_at_is_made_up_for(cluster, tmp_path):
    marker, folder = tmp_path / "killed", tmp_path / "recordings"
    told = latco.ray.collect(dying(str(marker)), folder, episodes=6, progress=False)
    assert marker.exists()
    assert told["episodes"] == 6 and told["frames"] == 6 * 13
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"episode-{index:06}.npz" for index in range(6)]
    first = np.load(folder / names[0])
    assert first["image"].shape == (13, 64, 64, 3)

    changed = folder / names[2]
    changed.unlink()
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = latco.ray.collect(dying(str(marker)), folder, episodes=6, progress=False)
    assert again["episodes"] == 1 and changed.exists()
    assert all((folder / name).stat().st_mtime_ns == time for name, time in times.items())


def test_recordings_are_of_other_scenes_than_evaluations(cluster, tmp_path):
    def first(name, **seed):
        folder = tmp_path / name
        latco.ray.collect("reach", folder, episodes=1, policy="scripted", progress=False, **seed)
        return np.load(folder / "episode-000000.npz")["image"]

    assert (first("by itself") == first("told", seed=2**30)).all()


def test_an_evaluation_is_the_same_as_in_one_process(cluster, tmp_path, checkpoint):
    agent = latco.Agent.load(checkpoint, planner="cem", horizon=10, iterations=2, samples=32, elites=4)
    alone = latco.evaluate(agent, "reach", episodes=3, seed=7, progress=False)
    spread = latco.ray.evaluate(
        agent, "reach", episodes=3, seed=7, folder=tmp_path / "results", progress=False
    )
    for figure in ("env", "planner", "episodes", "success_rate", "return_mean", "rollout_reward_mean"):
        assert spread[figure] == pytest.approx(alone[figure]), figure
    assert len(list((tmp_path / "results").iterdir())) == 3


def test_numbers_of_numpy_go_to_the_workers(checkpoint):
    settings = {"planner": "cem", "horizon": 10, "iterations": 2, "elites": 4}
    one, other = (
        latco.ray._packed(latco.Agent.load(checkpoint, samples=kind(32), deadline=kind(3), **settings))
        for kind in (int, np.int64)
    )
    assert one["arguments"] == other["arguments"]


def test_what_is_written_has_the_permissions_of_any_file(tmp_path):
    usual, written = tmp_path / "usual", tmp_path / "written"
    usual.write_bytes(b"")
    latco.ray._write(written, b"whole")
    assert written.read_bytes() == b"whole"
    assert len({stat.S_IMODE(path.stat().st_mode) for path in (usual, written)}) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"usual", "written"}


def test_calls_of_no_use_are_refused(tmp_path, checkpoint):
    agent = latco.Agent.load(checkpoint, planner="random")
    with pytest.raises(latco.SettingError, match="`episodes` is 0, expected at least 1"):
        latco.ray.evaluate(agent, "reach", episodes=0)
    with pytest.raises(latco.SettingError, match="`seed` is -1, expected at least 0"):
        latco.ray.collect("reach", tmp_path / "recordings", episodes=1, seed=-1)
    with pytest.raises(latco.RunError, match="the task reach has no checkpoint"):
        latco.ray.suite(["reach"], ["random"], checkpoints=tmp_path, out=tmp_path / "results")


def test_kept_episodes_are_those_of_the_same_agent_and_goal(cluster, tmp_path, checkpoint):
    def agent(samples):
        settings = {"planner": "cem", "horizon": 10, "iterations": 2, "samples": samples, "elites": 4}
        return latco.Agent.load(checkpoint, **settings)

    def evaluated(agent):
        arguments = {"episodes": 1, "seed": 7, "progress": False}
        spread = latco.ray.evaluate(agent, "reach", folder=tmp_path / "results", **arguments)
        alone = latco.evaluate(agent, "reach", **arguments)
        promised = "virtual_reward_mean"
        assert spread[promised] == pytest.approx(alone[promised])
        return spread[promised], (tmp_path / "results" / "seed-7.json").stat().st_mtime_ns

    few = evaluated(agent(8))
    assert evaluated(agent(8)) == few, "kept"
    more = evaluated(agent(64))
    assert more[0] > few[0]
    toward = agent(64)
    toward.set_goal(np.full(toward.frame_shape, 128, np.uint8))
    assert evaluated(toward)[0] != more[0]
    assert evaluated(agent(64))[0] == pytest.approx(more[0]), "the goal is not the next agent's"


def test_a_suite_is_the_same_as_on_one_machine(cluster, tmp_path, checkpoint):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "reach.safetensors").write_bytes(pathlib.Path(checkpoint).read_bytes())
    arguments = {"checkpoints": checkpoints, "episodes": 2, "seed": 5, "progress": False}
    told = latco.ray.suite(["reach"], ["random", "best-of-n"], out=tmp_path / "spread", **arguments)
    reach = next(task for task in told["tasks"] if task["env"] == "reach")
    assert {row["planner"] for row in reach["results"]} == {"random", "best-of-n"}
    names = {path.name for path in (tmp_path / "spread").iterdir()}
    assert {"reach.json", "suite.csv", "suite.md", "suite.png"} <= names
    alone = latco.ray._command(
        ["suite", "--env", "reach", "--planner", "random", "--episodes", "2", "--seed", "5"]
        + ["--checkpoints", str(checkpoints), "--out", str(tmp_path / "alone")]
    )
    expected = next(task for task in alone["tasks"] if task["env"] == "reach")["results"][0]
    spread = next(row for row in reach["results"] if row["planner"] == "random")
    for figure in ("return_mean", "success_rate", "horizon", "checkpoint"):
        assert spread[figure] == pytest.approx(expected[figure]), figure
    # Everything is there: the results, their wall times included, stay.
    again = latco.ray.suite(["reach"], ["random", "best-of-n"], out=tmp_path / "spread", **arguments)
    assert again["tasks"] == told["tasks"]
    with pytest.raises(latco.RunError, match="nobody"):
        latco.ray.suite(["reach"], ["nobody"], out=tmp_path / "spread", **arguments)


def test_trainings_go_on_where_their_worker_was_killed(cluster, tmp_path):
    marker = tmp_path / "killed"
    small = {
        "steps": 2,
        "replay": {"batch": 2, "length": 4},
        "model": {"depth": 2, "hidden": 8, "deterministic": 4, "stochastic": 2, "reward_units": 8},
        "collect": {"prefill": 1, "planner": ["random"]},
    }
    runs = latco.ray.train(dying(str(marker)), tmp_path / "runs", seeds=[3, 4], progress=False, **small)
    assert marker.exists()
    assert [run["step"] for run in runs] == [2, 2]
    assert [pathlib.Path(run["run"]).name for run in runs] == ["seed-3", "seed-4"]
    metrics = {path: path.read_text() for path in (tmp_path / "runs").glob("*/metrics.jsonl")}
    assert len(metrics) == 2
    again = latco.ray.train(dying(str(marker)), tmp_path / "runs", seeds=[3, 4], progress=False, **small)
    assert [run["step"] for run in again] == [2, 2]
    assert all(path.read_text() == text for path, text in metrics.items())
