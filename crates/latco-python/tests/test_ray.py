"""Episodes on a Ray cluster: two workers, one of them killed."""

import os
import signal

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


def test_an_evaluation_is_the_same_as_in_one_process(cluster, tmp_path, checkpoint):
    agent = latco.Agent.load(checkpoint, planner="cem", horizon=10, iterations=2, samples=32, elites=4)
    alone = latco.evaluate(agent, "reach", episodes=3, seed=7, progress=False)
    spread = latco.ray.evaluate(
        agent, "reach", episodes=3, seed=7, folder=tmp_path / "results", progress=False
    )
    for figure in ("env", "planner", "episodes", "success_rate", "return_mean", "rollout_reward_mean"):
        assert spread[figure] == pytest.approx(alone[figure]), figure
    assert len(list((tmp_path / "results").iterdir())) == 3
