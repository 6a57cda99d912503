"""The engine on a GPU gives what it gives on a CPU."""

import pytest
import torch

from pwm.tasks.locomotion.environment import make_locomotion
from pwm.tasks.locomotion.gradient_check import action_gradients, random_actions, settled_state


@pytest.mark.gpu
def test_gpu_and_cpu_agree():
    state = settled_state("ant", 4)
    actions = random_actions(4, 4, 8)
    found = {}
    for device in ("cpu", "cuda"):
        env = make_locomotion("ant", 4, device=device, early_termination=False)
        found[device] = action_gradients(env, state, actions.to(device)).cpu()
    torch.testing.assert_close(found["cuda"], found["cpu"], rtol=0.02, atol=1e-3)
