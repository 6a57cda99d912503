"""How threads wait for each other; to be settled before torch is imported."""

from __future__ import annotations

import os


def wait_politely() -> None:
    """Let idle OpenMP threads (GNU's, which PyTorch for Linux brings) spin briefly, then sleep.

    By default they spin for long. Where a thread shares its core with another program it so uses up the time in which
    it should have worked: with one such program on one of two cores, pre-training fell from 20 to 1.5 updates a second,
    and with short spinning to 12. On idle cores short spinning costs a policy update about a tenth; sleeping at once
    (OMP_WAIT_POLICY=PASSIVE) costs it half. A choice that the user made in the environment stands.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
