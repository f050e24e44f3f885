"""The solver for stable-worldmodel, on a cost as its world models give it."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
gymnasium = pytest.importorskip("gymnasium")

import latco
from latco.swm import Solver


@dataclasses.dataclass
class Config:
    horizon: int = 6
    receding_horizon: int = 3
    action_block: int = 2


class World:
    """A point that single actions move; the cost is its distance from the goal at the end."""

    def get_cost(self, info, candidates):
        batch, samples, horizon, _ = candidates.shape
        assert info["place"].shape == (batch, samples, 2)
        assert info["goal"].shape == (batch, samples, 2)
        moves = candidates.reshape(batch, samples, horizon * 2, 2)
        place = torch.as_tensor(info["place"]) + 0.1 * moves.sum(2)
        return ((place - torch.as_tensor(info["goal"])) ** 2).sum(-1)


SPACE = gymnasium.spaces.Box(-2, 2, (3, 2), np.float32)
INFO = {
    "place": torch.zeros(3, 2),
    "goal": np.array([[1.0, 0.0], [0.0, -1.0], [-0.5, 0.5]], np.float32),
}


def configured(*args, **kwargs):
    solver = Solver(*args, **kwargs)
    solver.configure(action_space=SPACE, n_envs=3, config=Config())
    return solver


def test_it_fits_the_protocol_and_lowers_the_cost():
    solver = configured(World(), planner="icem", samples=64, iterations=6)
    assert (solver.n_envs, solver.action_dim, solver.horizon) == (3, 4, 6)
    out = solver(INFO)
    actions = out["actions"]
    assert actions.shape == (3, 6, 4) and actions.abs().max() <= 2
    reached = 0.1 * actions.reshape(3, 12, 2).sum(1)
    assert torch.allclose(reached, torch.as_tensor(INFO["goal"]), atol=0.3)
    assert max(out["costs"]) < 0.1
    again = solver.solve({key: part[:2] for key, part in INFO.items()}, init_action=actions[:2, 3:])
    assert again["actions"].shape == (2, 6, 4)


def test_rounding_leads_beyond_no_bound():
    low, high = np.float32([-0.1, -0.2]), np.float32([0.2, 0.1])
    assert (low + (high - low) > high).all()
    solver = Solver(World())
    space = gymnasium.spaces.Box(np.stack([low]), np.stack([high]))
    solver.configure(action_space=space, n_envs=1, config=Config())
    actions = solver._denormalised(np.ones((1, 6, 4), np.float32))
    assert (actions == np.tile(high, 2)).all()


def test_collocation_takes_single_steps():
    def latents(info):
        goal = torch.as_tensor(info["goal"][0])
        model = latco.torch_model(
            lambda z, a: z + 0.2 * (a[:, :2] + a[:, 2:]),
            lambda z: -((z - goal) ** 2).sum(1),
            action_size=4,
        )
        return model, np.zeros(2)

    out = configured(planner="latco", latents=latents).solve(INFO)
    reached = 0.1 * out["actions"].reshape(3, 12, 2).sum(1)
    assert torch.allclose(reached, torch.as_tensor(INFO["goal"]), atol=0.05)


def test_planners_of_latents_say_what_they_lack():
    with pytest.raises(latco.SettingError, match="single steps"):
        Solver(World(), planner="latco")
    with pytest.raises(latco.ModelError, match="get_cost"):
        Solver(object())


def test_the_package_takes_it_for_a_solver():
    swm = pytest.importorskip("stable_worldmodel")
    solver = configured(World(), samples=16, iterations=2)
    assert isinstance(solver, swm.solver.Solver)
