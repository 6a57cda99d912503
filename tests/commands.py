"""`pwm` from the command line: short training, and what a command said and left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FAST = (
    "--batch-size 8 --horizon 3 --updates 6 --checkpoint-every 2 --evaluate-every 3 --encoder-units 16 --units 16 16"
).split()
"""Flags of a pre-training that takes a moment."""
FAST_POLICY = (
    "--batch-size 8 --horizon 3 --updates 6 --checkpoint-every 2 --log-every 2 --actor-units 8 --critic-units 8"
).split()
"""Flags of a policy learning that takes a moment."""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    """Relative path -> bytes, of the files that match."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob(pattern))}
