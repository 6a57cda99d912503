"""How idle OpenMP threads wait; must be set before torch is imported."""

from __future__ import annotations

import os


def wait_politely() -> None:
    """Let idle OpenMP threads (GNU's, as bundled with PyTorch for Linux) spin briefly, then sleep.

    By default they spin for long: next to one other program on two cores, pre-training fell from 20 to 1.5 updates a
    second, with brief spinning to 12. On idle cores brief spinning makes a policy update about a tenth slower, sleeping
    at once (OMP_WAIT_POLICY=PASSIVE) half. Settings in the user's environment take precedence.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
