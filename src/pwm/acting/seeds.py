"""Derives the seeds of a task's episodes from one seed."""

from __future__ import annotations

import zlib

import numpy as np


def episode_seeds(seed: int, task: str, count: int) -> list[int]:
    """Seeds of the first `count` episodes of a task; a longer list begins with the same ones."""
    return [int(x) for x in np.random.SeedSequence([seed, zlib.crc32(task.encode())]).generate_state(count)]
