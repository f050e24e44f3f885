"""Writes the small data sets of LeRobot with videos that the tests read, by LeRobot itself and by ffmpeg's libraries.

    pip install "lerobot==0.4.4"
    python make_videos.py

Frame `t` of episode `e` is of one colour above, `(40 + 30 t, 90 + 60 e, 200 - 30 t)`, and grey 128 below; every action is
`(e + t / 8, -t / 8)` and every reward `t / 4`, beside the image that they led from, as everywhere in LeRobot.
"""

import json
import shutil
import tempfile
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from lerobot.datasets.lerobot_dataset import LeRobotDataset

HERE = Path(__file__).parent
LENGTHS = [5, 3]
SIDE = 64
FPS = 10


def image(e, t):
    pixels = np.full((SIDE, SIDE, 3), 128, "u1")
    pixels[: SIDE // 2] = (40 + 30 * t, 90 + 60 * e, 200 - 30 * t)
    return pixels


def led_to(e, t):
    return np.array([e + t / 8, -t / 8] if t else [0, 0], "f4"), np.array([t / 4], "f4")


def row(e, t, length):
    last = t + 1 == length
    action, reward = led_to(e, 0 if last else t + 1)
    return {"action": action, "next.reward": reward, "next.done": np.array([last])}


# Version 3, as LeRobot writes it: AV1, both episodes in one file.
shutil.rmtree(HERE / "lerobot_videos", ignore_errors=True)
made = Path(tempfile.mkdtemp()) / "data"
data = LeRobotDataset.create(
    repo_id="test/videos",
    fps=FPS,
    root=made,
    use_videos=True,
    features={
        "observation.image": {"dtype": "video", "shape": (SIDE, SIDE, 3), "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": (2,), "names": None},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.done": {"dtype": "bool", "shape": (1,), "names": None},
    },
)
for e, length in enumerate(LENGTHS):
    for t in range(length):
        data.add_frame({"observation.image": image(e, t), "task": "none", **row(e, t, length)})
    data.save_episode()
data.finalize()
shutil.copytree(made, HERE / "lerobot_videos", ignore=shutil.ignore_patterns("images"))


# Version 2.1: a file an episode, with one key frame; the second camera is H.264, which is not read.
def encode(path, codec, e, length):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, FPS, options={"g": "100", "crf": "20"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for t in range(length):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image(e, t), format="rgb24")))
        file.mux(stream.encode())


target = HERE / "lerobot_videos_v2"
shutil.rmtree(target, ignore_errors=True)
(target / "data/chunk-000").mkdir(parents=True)
(target / "meta").mkdir()
for e, length in enumerate(LENGTHS):
    rows = [row(e, t, length) for t in range(length)]
    table = pa.table(
        {
            "action": pa.array([list(map(float, r["action"])) for r in rows], pa.list_(pa.float32(), 2)),
            "next.reward": pa.array([float(r["next.reward"][0]) for r in rows], pa.float32()),
            "timestamp": pa.array([t / FPS for t in range(length)], pa.float32()),
            "episode_index": pa.array([e] * length, pa.int64()),
        }
    )
    pa.parquet.write_table(table, target / f"data/chunk-000/episode_{e:06}.parquet")
    for camera, codec in [("front", "libsvtav1"), ("side", "libx264")]:
        encode(target / f"videos/chunk-000/{camera}/episode_{e:06}.mp4", codec, e, length)
video = {"dtype": "video", "shape": [SIDE, SIDE, 3]}
info = {
    "codebase_version": "v2.1",
    "fps": FPS,
    "chunks_size": 1000,
    "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    "features": {
        "front": video,
        "side": video,
        "action": {"dtype": "float32", "shape": [2]},
        "next.reward": {"dtype": "float32", "shape": [1]},
    },
}
(target / "meta/info.json").write_text(json.dumps(info, indent=1) + "\n")
