"""Plans on a model of numpy's, acts on a frame by a checkpoint, and plots both plans: plan.png."""

import sys

import matplotlib.pyplot as plt
import numpy as np

import latco

goal = np.array([0.5, -0.3])
model = latco.numpy_model(
    lambda z, a: np.concatenate([z[:, :2] + 0.1 * (z[:, 2:] + 0.1 * a), z[:, 2:] + 0.1 * a], 1),
    lambda z: np.exp(-((z[:, :2] - goal) ** 2).sum(1) / 0.02),
    action_size=2,
    log_reward=lambda z: -((z[:, :2] - goal) ** 2).sum(1) / 0.02,
    reward_range=(0, 1),
)
point = latco.plan(model, np.zeros(4), horizon=30)
agent = latco.Agent.load(sys.argv[1] if len(sys.argv) > 1 else "assets/checkpoints/reach.safetensors")
print("first action", agent.act(np.zeros(agent.frame_shape, np.uint8)))
figure, axes = plt.subplots(1, 3, figsize=(10, 3))
axes[0].plot(*point.rollout_latents[:, :2].T, ".-")
axes[1].plot(point.actions)
axes[2].imshow(agent.current_plan.imagined()[-1])
figure.savefig("plan.png")
print(point)
