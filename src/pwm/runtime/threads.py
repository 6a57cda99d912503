"""How threads wait for each other; to be settled before torch is imported."""

from __future__ import annotations

import os


def wait_politely() -> None:
    """Let idle OpenMP threads sleep instead of spinning, unless the user has chosen otherwise.

    A spinning thread that shares its core with another program uses up the time in which it should have worked: with
    one such program on one of two cores, training steps were measured 10 (GNU's default) to 45 times slower (active
    waiting) than with sleeping threads, which on idle cores cost next to nothing.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
