"""Agents from a checkpoint."""

import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import latco

FAST = {"planner": "cem", "horizon": 10, "iterations": 3, "samples": 64, "elites": 8}


@pytest.fixture
def agent(checkpoint):
    return latco.Agent.load(checkpoint, **FAST)


def test_an_agent_acts_within_bounds_and_plans_anew_when_due(agent, frame):
    assert agent.frame_shape == (64, 64, 3)
    planned = []
    for _ in range(12):
        action = agent.act(frame)
        assert action.shape == (2,) and action.dtype == np.float32
        assert (agent.action_low <= action).all() and (action <= agent.action_high).all()
        planned.append(agent.has_just_planned)
    assert planned == [step % 10 == 0 for step in range(12)]
    assert agent.current_plan.horizon == 10


def test_an_observer_may_read_what_its_agent_is(agent, frame):
    seen = []
    agent.act(frame, observer=lambda _: seen.append((agent.horizon, agent.frame_shape, repr(agent))))
    assert seen and seen[0][:2] == (10, (64, 64, 3))
    agent.reset()
    with pytest.raises(latco.LatcoError, match="at work in another call"):
        agent.act(frame, observer=lambda _: agent.current_plan)
    assert agent.act(frame).shape == (2,)


def test_a_seed_is_a_number_of_64_bits(agent):
    agent.reset(2**64 - 1)
    with pytest.raises(latco.SettingError, match="`seed` is 18446744073709551616, expected a number below"):
        agent.reset(2**64)


def test_the_same_seed_acts_alike(agent, frame):
    def actions(seed):
        agent.reset(seed)
        return np.stack([agent.act(frame) for _ in range(3)])

    first = actions(1)
    np.testing.assert_array_equal(first, actions(1))
    assert not np.array_equal(first, actions(2))


def test_a_plan_shows_what_it_imagines(agent, frame):
    plan = agent.plan(frame, seed=3)
    assert plan.actions.shape == (10, 2)
    assert plan.latents.shape == plan.rollout_latents.shape
    images = plan.imagined()
    assert images.shape == (10, 64, 64, 3) and images.dtype == np.uint8
    assert plan.violation.shape == (10,) and plan.seconds > 0
    assert plan.virtual_return == pytest.approx(plan.virtual_rewards.sum(), rel=1e-5)
    assert "rollout_return" in repr(plan)
    assert agent.current_plan is None


def test_latco_itself_plans_before_a_deadline(checkpoint, frame):
    agent = latco.Agent.load(checkpoint, horizon=20)
    plan = agent.plan(frame, deadline=1.0)
    assert plan.seconds < 3
    assert np.isfinite(plan.actions).all()


def test_an_agents_deadline_is_that_of_each_plan(checkpoint, frame):
    many = {"planner": "cem", "horizon": 20, "iterations": 100, "samples": 512}
    agent = latco.Agent.load(checkpoint, deadline=0.05, **many)
    assert agent.plan(frame).stop == "deadline"
    few = latco.Agent.load(checkpoint, deadline=1e-3, **FAST)
    assert few.plan(frame, deadline=60.0).iterations == FAST["iterations"]


def test_a_goal_takes_the_place_of_the_reward(agent, frame):
    other = np.zeros_like(frame)
    plain = agent.plan(frame).actions
    agent.set_goal(other)
    aimed = agent.plan(frame).actions
    agent.set_goal(None)
    assert not np.array_equal(plain, aimed)
    np.testing.assert_array_equal(plain, agent.plan(frame).actions)


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        (lambda frame: frame.astype("f4") / 255, "the frame has the type float32, expected uint8"),
        (lambda frame: frame[..., :2], r"the frame has the shape \(64, 64, 2\)"),
        (lambda frame: frame[None], r"the frame has the shape \(1, 64, 64, 3\)"),
        (lambda frame: frame[:32], "the image is 64×32 pixels, the model expects 64×64"),
        (lambda frame: "frame", "the frame has the type"),
    ],
)
def test_frames_of_another_kind_are_refused(agent, frame, wrong, sentence):
    with pytest.raises(latco.FrameError, match=sentence):
        agent.act(wrong(frame))
    assert agent.act(frame).shape == (2,)


def test_frames_may_lie_anyhow_in_memory(agent, frame):
    plan = agent.plan(frame).actions
    np.testing.assert_array_equal(plan, agent.plan(np.asfortranarray(frame)).actions)
    np.testing.assert_array_equal(plan, agent.plan(frame[::-1][::-1]).actions)


def test_a_checkpoint_may_be_bytes(agent, frame, checkpoint):
    same = latco.Agent.load(checkpoint.read_bytes(), **FAST)
    np.testing.assert_array_equal(agent.act(frame), same.act(frame))
    with pytest.raises(latco.CheckpointError):
        latco.Agent.load(b"no checkpoint")


def test_files_that_are_no_checkpoint_are_refused(tmp_path, checkpoint):
    with pytest.raises(latco.CheckpointError, match="missing.safetensors"):
        latco.Agent.load(tmp_path / "missing.safetensors")
    half = tmp_path / "half.safetensors"
    half.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(latco.CheckpointError):
        latco.Agent.load(half)
    with pytest.raises(latco.SettingError, match="replan_every"):
        latco.Agent.load(checkpoint, planner="cem", horizon=5, replan_every=9)
    for wrong in [{"horizon": -1}, {"replan_every": -1}]:
        with pytest.raises(latco.SettingError, match="is -1, expected at least 1"):
            latco.Agent.load(checkpoint, planner="cem", **wrong)


def test_a_pickled_agent_is_loaded_anew(agent, frame):
    copy = pickle.loads(pickle.dumps(agent))
    agent.reset(0)
    np.testing.assert_array_equal(agent.act(frame), copy.act(frame))


def test_other_threads_work_while_an_agent_plans(checkpoint, frame):
    agent = latco.Agent.load(checkpoint, planner="cem", horizon=30, iterations=30)
    counted, done = [0], threading.Event()

    def count():
        while not done.is_set():
            counted[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    agent.plan(frame)
    done.set()
    thread.join()
    assert counted[0] > 20


def test_ctrl_c_ends_a_plan(checkpoint):
    program = textwrap.dedent(f"""
        import numpy, latco
        agent = latco.Agent.load({str(checkpoint)!r}, planner="cem", horizon=30, iterations=100_000)
        print("planning", flush=True)
        try:
            agent.plan(numpy.zeros((64, 64, 3), "u1"))
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "planning\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert rest == "interrupted\n"
    assert process.returncode == 0


def test_the_command_is_in_the_package():
    def latco_command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "latco", *arguments], capture_output=True, text=True
        )

    listed = latco_command("planners", "--json")
    assert listed.returncode == 0 and '"latco"' in listed.stdout
    wrong = latco_command("plan", "--checkpoint", "missing", "--image", "missing.png")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: ")


def test_what_there_is_explains_itself():
    public = [latco.Plan.__dict__[name] for name in dir(latco.Plan) if not name.startswith("_")]
    public += [getattr(latco, name) for name in latco.__all__ if name != "__version__"]
    assert len(public) > 35
    assert all(thing.__doc__ for thing in public), [thing for thing in public if not thing.__doc__]


def test_the_catalogue_names_settings():
    names = {info.name: info for info in latco.planners()}
    assert {"latco", "cem", "mppi", "ilqr"} <= set(names)
    assert names["cem"].settings["samples"] > 0
    assert "flex" in latco.devices()
