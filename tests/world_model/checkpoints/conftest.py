"""Checkpoints on disk, one per era."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.world_model.checkpoints.published import Published


@pytest.fixture
def saved(tmp_path):
    """`saved(agent)` -> its file, as the authors' code saves it."""

    def save(content: object, name: str = "agent.pt") -> Path:
        if isinstance(content, Published):
            content = {"model": content.state_dict()}
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save
