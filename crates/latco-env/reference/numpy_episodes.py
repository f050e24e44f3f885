"""Writes the episodes that tests/recordings.rs reads: tests/data/numpy_*.npz.

    pip install numpy
    python reference/numpy_episodes.py
"""

import pathlib

import numpy

FRAMES, HEIGHT, WIDTH = 5, 8, 6


def main():
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data"
    size = FRAMES * HEIGHT * WIDTH * 3
    image = (numpy.arange(size) % 251).astype(numpy.uint8).reshape(FRAMES, HEIGHT, WIDTH, 3)
    action = numpy.linspace(-1, 1, FRAMES * 2).reshape(FRAMES, 2)
    numpy.savez_compressed(
        folder / "numpy_float64.npz",
        image=image,
        action=action,
        reward=numpy.arange(FRAMES, dtype=numpy.int64),
        discount=numpy.array([1, 1, 1, 1, 0], dtype=numpy.float64),
        sparse_reward=numpy.array([0, 0, 0, 1, 1], dtype=bool),
    )
    numpy.savez(
        folder / "numpy_float32.npz",
        image=image,
        action=action.astype(numpy.float32),
        reward=numpy.arange(FRAMES, dtype=numpy.float32),
    )
    numpy.savez(
        folder / "numpy_fortran.npz",
        image=numpy.asfortranarray(image),
        action=action,
        reward=numpy.arange(FRAMES, dtype=numpy.float32),
    )


if __name__ == "__main__":
    main()
