"""Writes tests/data/lottery_mujoco.json: the lottery's point mass, integrated by MuJoCo.

    pip install mujoco==4.0.0
    python reference/lottery_mujoco.py
"""

import json
import pathlib
import random

import mujoco

MODEL = """
<mujoco>
  <compiler autolimits="true"/>
  <option timestep="0.01" integrator="Euler" gravity="0 0 0"/>
  <worldbody>
    <body>
      <joint name="x" type="slide" axis="1 0 0" range="-1 1" damping="10" armature="0.004"/>
      <joint name="y" type="slide" axis="0 1 0" range="-1 1" damping="10" armature="0.004"/>
      <geom type="sphere" size="0.05" density="1000" contype="0" conaffinity="0"/>
    </body>
  </worldbody>
  <actuator>
    <position joint="x" kp="100" ctrlrange="-1 1"/>
    <position joint="y" kp="100" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""
STEPS = 100
SUBSTEPS = 5


def trajectory(start, actions):
    model = mujoco.MjModel.from_xml_string(MODEL)
    data = mujoco.MjData(model)
    data.qpos[:] = start
    positions = []
    for action in actions:
        data.ctrl[:] = action
        mujoco.mj_step(model, data, SUBSTEPS)
        positions.append(data.qpos.tolist())
    return {"start": list(start), "actions": actions, "positions": positions}


def command_sequences(generator):
    uniform = lambda: [generator.uniform(-1, 1), generator.uniform(-1, 1)]
    held = [uniform() for _ in range(STEPS // 5)]
    corners = [[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]
    return {
        "to the sure target": [[0.8, 0.7]] * STEPS,
        "held for five steps": [held[step // 5] for step in range(STEPS)],
        "against the joint limits": [corners[step // 6 % 4] for step in range(STEPS)],
    }


def main():
    generator = random.Random(0)
    cases = []
    for name, actions in command_sequences(generator).items():
        start = (generator.uniform(-0.6, -0.4), generator.uniform(-0.1, 0.1))
        cases.append({"name": name, **trajectory(start, actions)})
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data"
    text = json.dumps({"mujoco": mujoco.__version__, "cases": cases})
    (folder / "lottery_mujoco.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
