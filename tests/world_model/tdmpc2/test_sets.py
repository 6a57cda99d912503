"""The published task sets are recognised from the widths, with their own task sizes."""

from __future__ import annotations

import pytest

from pwm.tasks.registry import task_set
from pwm.world_model.tdmpc2.files import read_checkpoint
from tests.world_model.tdmpc2.published import Published
from tests.world_model.tdmpc2.test_parity import compare


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
