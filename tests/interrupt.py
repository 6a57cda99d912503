"""Ctrl-C at a known update of a trainer."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from unittest import mock


@contextlib.contextmanager
def updates_of(trainer: type, stop: int | None = None) -> Iterator[list[int]]:
    """The numbers of the updates that trainers of this class begin; Ctrl-C is pressed as one begins number `stop`."""
    original, begun = trainer.update, []
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits an ignored SIGINT

    def update(self):
        begun.append(self.updates)
        if self.updates == stop:
            signal.raise_signal(signal.SIGINT)
        return original(self)

    with mock.patch.object(trainer, "update", update):
        yield begun
