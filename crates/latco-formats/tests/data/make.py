"""Writes the small recordings that the tests read, by the libraries that people write them with.

    pip install numpy h5py hdf5plugin minari gymnasium pyarrow pillow
    python make.py

Every image of frame `t` of episode `e` holds the bytes `(16 e + t, t, row)`, every action `(e + t / 8, -t / 8)`,
every reward `t / 4`: what the readers must give back, each in the place of its frame.
"""

import io
import json
import shutil
import tempfile
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

HERE = Path(__file__).parent
LENGTHS = [5, 3]
HEIGHT, WIDTH = 4, 6


def image(e, t):
    pixels = np.zeros((HEIGHT, WIDTH, 3), "u1")
    pixels[..., 0] = 16 * e + t
    pixels[..., 1] = t
    pixels[..., 2] = np.arange(HEIGHT)[:, None]
    return pixels


def images(e, length):
    return np.stack([image(e, t) for t in range(length)])


def led_to(e, length):
    """Actions and rewards beside the image that they led to."""
    t = np.arange(length, dtype="f4")
    action = np.stack([e + t / 8, -t / 8], -1)
    action[0] = 0
    return action, np.where(t > 0, t / 4, 0).astype("f4")


def led_from(e, length, last=np.nan):
    """The same beside the image that they led from; the last are dummies."""
    action, reward = led_to(e, length)
    action = np.concatenate([action[1:], np.full((1, 2), last, "f4")])
    reward = np.concatenate([reward[1:], np.full(1, last, "f4")])
    return action, reward


def flat(parts):
    return np.concatenate(parts)


def each(function, **arguments):
    pairs = [function(e, length, **arguments) for e, length in enumerate(LENGTHS)]
    return [flat(column) for column in zip(*pairs)]


def first():
    return flat([np.arange(length) == 0 for length in LENGTHS])


def last():
    return flat([np.arange(length) == length - 1 for length in LENGTHS])


PIXELS = flat([images(e, length) for e, length in enumerate(LENGTHS)])

# OGBench: its own alignment, compressed as its files are, and once not.
action, _ = each(led_from, last=0.5)
arrays = dict(observations=PIXELS, actions=action, terminals=last())
np.savez_compressed(HERE / "ogbench.npz", **arrays)
np.savez(HERE / "ogbench_stored.npz", **arrays)

# DreamerV3: is_first, is_last, is_terminal; actions lead from their images. The second episode ends.
action, _ = each(led_from, last=0.25)
_, reward = each(led_to)
ends = dict(is_first=first(), is_last=last(), is_terminal=last() & (np.arange(8) > 4))
np.savez_compressed(HERE / "dreamerv3.npz", image=PIXELS, action=action, reward=reward, **ends)

# DreamerV2 with the same keys: actions led to their images.
action, reward = each(led_to)
np.savez_compressed(HERE / "dreamerv2.npz", image=PIXELS, action=action, reward=reward, **ends)

# V-D4RL: an episode of Dreamer, and its HDF5 form, which holds planes.
action, reward = led_to(0, 5)
discount = np.array([1, 1, 1, 1, 0], "f4")
np.savez_compressed(
    HERE / "vd4rl.npz", image=images(0, 5), action=action, reward=reward, discount=discount
)
action, reward = each(led_to)
with h5py.File(HERE / "vd4rl.hdf5", "w") as file:
    step_type = np.where(first(), 0, np.where(last(), 2, 1)).astype("f8")
    planes = PIXELS.transpose(0, 3, 1, 2)
    file.create_dataset("observation", data=planes, compression="gzip", chunks=(2, 3, 4, 6))
    file.create_dataset("action", data=action, compression="gzip")
    file.create_dataset("reward", data=reward, compression="gzip")
    file.create_dataset("discount", data=1 - ends["is_terminal"].astype("f4"), compression="gzip")
    file.create_dataset("step_type", data=step_type, compression="gzip")

# stable-worldmodel: dummies that are no numbers, counts as int64.
action, _ = each(led_from)
_, reward = each(led_to)
for name, options in [
    ("swm.h5", dict(chunks=(1, HEIGHT, WIDTH, 3), compression="gzip", shuffle=True)),
    ("swm_lzf.h5", dict(chunks=(3, HEIGHT, WIDTH, 3), compression="lzf")),
    ("swm_plain.h5", dict()),
    # As its own writer packs them, which is refused.
    ("swm_blosc.h5", dict(chunks=(1, HEIGHT, WIDTH, 3), **hdf5plugin.Blosc(cname="lz4"))),
    # Its rewards in half precision, which are refused too.
    ("swm_half.h5", dict()),
]:
    with h5py.File(HERE / name, "w") as file:
        file.create_dataset("pixels", data=PIXELS, **options)
        file["action"] = action
        rewards = reward.copy()
        rewards[first()] = np.nan
        file["reward"] = rewards.astype("f2" if name == "swm_half.h5" else "f8")
        file["terminated"] = ends["is_terminal"]
        file["ep_len"] = np.array(LENGTHS, "i8")
        file["ep_offset"] = np.array([0, LENGTHS[0]], "i8")
        file["step_idx"] = flat([np.arange(length) for length in LENGTHS])

# Minari, by Minari itself: images alone, and images in a dictionary.
import gymnasium
import minari
from minari.data_collector.episode_buffer import EpisodeBuffer

IMAGES = gymnasium.spaces.Box(0, 255, (HEIGHT, WIDTH, 3), "uint8")
ACTIONS = gymnasium.spaces.Box(-4, 4, (2,), "float32")


def minari_data(name, space, observation):
    buffers = []
    for e, length in enumerate(LENGTHS):
        action, reward = led_to(e, length)
        end = np.arange(1, length) == length - 1
        buffers.append(
            EpisodeBuffer(
                id=e,
                observations=observation(images(e, length)),
                actions=action[1:],
                rewards=[float(x) for x in reward[1:]],
                terminations=[bool(x) and e == 1 for x in end],
                truncations=[bool(x) and e == 0 for x in end],
                infos={},
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        import os

        os.environ["MINARI_DATASETS_PATH"] = folder
        minari.create_dataset_from_buffers(
            f"test/{name}-v0", buffers, observation_space=space, action_space=ACTIONS,
            description="a fixture", algorithm_name="none", author="none", author_email="none",
            code_permalink="none",
        )
        target = HERE / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(Path(folder) / "test" / f"{name}-v0", target)


minari_data("minari", IMAGES, lambda pixels: pixels)
minari_data(
    "minari_dict",
    gymnasium.spaces.Dict(pixels=IMAGES, agent=gymnasium.spaces.Box(0, 1, (1,), "float32")),
    lambda pixels: {"pixels": pixels, "agent": np.zeros((len(pixels), 1), "f4")},
)

# LeRobot: images in Parquet, row groups smaller than episodes. Its videos are made by make_videos.py.
import pyarrow as pa
import pyarrow.parquet
from PIL import Image


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


action, reward = each(led_from, last=0.5)
table = pa.table(
    {
        "observation.image": pa.array(
            [{"bytes": png(pixels), "path": f"frame-{i:06}.png"} for i, pixels in enumerate(PIXELS)]
        ),
        "action": pa.FixedSizeListArray.from_arrays(pa.array(action.reshape(-1)), 2),
        "episode_index": pa.array(flat([np.full(length, e) for e, length in enumerate(LENGTHS)])),
        "frame_index": pa.array(flat([np.arange(length) for length in LENGTHS])),
        "next.reward": pa.array(reward),
        "next.done": pa.array(last()),
    }
)
features = {
    "observation.image": {"dtype": "image", "shape": [HEIGHT, WIDTH, 3]},
    "action": {"dtype": "float32", "shape": [2]},
    "next.reward": {"dtype": "float32", "shape": [1]},
}
shutil.rmtree(HERE / "lerobot", ignore_errors=True)
for folder in ["meta", "data/chunk-000"]:
    (HERE / "lerobot" / folder).mkdir(parents=True)
pa.parquet.write_table(
    table, HERE / "lerobot/data/chunk-000/file-000.parquet", row_group_size=3, compression="snappy"
)
info = {"codebase_version": "v3.0", "fps": 10, "total_episodes": 2, "features": features}
(HERE / "lerobot/meta/info.json").write_text(json.dumps(info, indent=1) + "\n")

# Folders of frames with a table, one an episode; the second as JPEG, of one colour.
shutil.rmtree(HERE / "frames", ignore_errors=True)
for e, length in enumerate(LENGTHS):
    folder = HERE / "frames" / f"run-{e}"
    folder.mkdir(parents=True)
    action, reward = led_to(e, length)
    rows = "\n".join(f"{a[0]},{a[1]},{r}" for a, r in zip(action, reward))
    (folder / "steps.csv").write_text(f"action_0,action_1,reward\n{rows}\n")
    for t in range(length):
        if e == 0:
            Image.fromarray(image(e, t)).save(folder / f"{t}.png")
        else:
            shade = np.full((16, 16, 3), 40 * t, "u1")
            Image.fromarray(shade).save(folder / f"{t}.jpg", quality=95)
print({path.name: path.stat().st_size for path in sorted(HERE.rglob("*")) if path.is_file()})
