"""The published task sets are recognised from the widths, with their own task sizes."""

from __future__ import annotations

import pytest
import torch

from pwm.pipeline.import_model import import_checkpoint
from pwm.tasks.registry import task_set
from pwm.world_model.checkpoints.files import export_checkpoint, read_checkpoint
from tests.world_model.checkpoints.published import Published
from tests.world_model.checkpoints.test_parity import compare
from tests.world_model.checkpoints.test_widths import PUBLISHED


@pytest.mark.parametrize(("name", "rows", "width"), [("mt30", 30, 24), ("mt80", 80, 39)])
def test_task_sets(saved, name, rows, width):
    agent = Published("flat", rows, width, 6)
    checkpoint = read_checkpoint(saved(agent))
    specs = task_set(name)
    assert checkpoint.about["task_set"] == name and checkpoint.about["tasks"] == [spec.id for spec in specs]
    assert checkpoint.model.observation_dims == tuple(spec.observation_dim for spec in specs)
    assert checkpoint.model.action_dims == tuple(spec.action_dim for spec in specs)
    for row in (0, 7, rows - 1):
        compare(agent, checkpoint, row, specs[row])


# size: width of encoder, its hidden layers, width of the other networks, latent, critics
SIZES = {
    "1": (256, 1, 384, 128, 2),
    "5": (256, 1, 512, 512, 5),
    "19": (1024, 2, 1024, 768, 5),
    "48": (1792, 3, 1792, 768, 5),
    "317": (4096, 4, 4096, 1376, 8),
}


def published_size(size: str, name: str, era: str) -> Published:
    """An agent of the true widths, as the published tables have them."""
    encoder, depth, units, latent, critics = SIZES[size]
    rows, observation = (30, 24) if name == "mt30" else (80, 39)
    latent = 512 if (size, name) == ("19", "mt30") else latent
    task_dim = 64 if name == "mt30" and size in ("5", "19", "48") else 96
    widths = {"latent": latent, "encoder": (encoder,) * depth, "units": (units, units)}
    return Published(era, rows, observation, 6, task_dim=task_dim, critics=critics, **widths)


@pytest.mark.parametrize("name", ["mt30", "mt80"])
@pytest.mark.parametrize("size", ["1", *(pytest.param(s, marks=pytest.mark.slow) for s in ("5", "19", "48", "317"))])
def test_every_size(saved, tmp_path, size, name):
    """Import, parity, export, import again, at the true widths; 317 needs 12 GB of memory."""
    era = "named" if size == "19" else "flat"
    agent = published_size(size, name, era)
    file = saved(agent)
    assert import_checkpoint(file, tmp_path / "run").about["size"] == size
    checkpoint = read_checkpoint(file)
    file.unlink()
    assert (checkpoint.about["size"], checkpoint.about["task_set"]) == (size, name)
    assert sum(p.numel() for p in checkpoint.model.parameters()) == PUBLISHED[size][name == "mt80"]
    compare(agent, checkpoint, 3, task_set(name)[3])
    export_checkpoint(tmp_path / "run", file, era)
    state = torch.load(file, weights_only=True, mmap=True)["model"]
    for key, value in agent.state_dict().items():
        if key in state and key != "_task_emb.weight":
            assert torch.equal(state[key], value), key
    del agent, state
    again = read_checkpoint(file)
    assert all(torch.equal(again.heads[key], value) for key, value in checkpoint.heads.items())
