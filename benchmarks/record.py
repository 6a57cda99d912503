"""What every file of numbers says about its making."""

from __future__ import annotations

import datetime
from typing import Any

import torch

from pwm.runtime.config import machine, versions


def stamp(command: str) -> dict[str, Any]:
    """Command, machine, threads, versions and date."""
    return {
        "command": command,
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
