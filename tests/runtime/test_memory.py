"""Counting live tensors, against sums done by hand."""

import pytest
import torch

from pwm.runtime.memory import LiveTensors, peak_bytes, peak_process_bytes


def test_live_bytes_follow_tensors_and_views():
    before = torch.ones(50)
    with LiveTensors() as live:
        a = torch.ones(1000)
        b = a * 2 + before[0]
        assert live.now == 8000 and live.peak >= 8000
        view = b.view(10, 100)
        del b
        assert live.now == 8000  # the view keeps the memory
        del view
        assert live.now == 4000
        a.add_(1)
        before.mul_(2)
        assert live.now == 4000
        for _ in range(9):
            a = torch.ones(2000)
    assert live.now == 8000 and live.peak == 16_000


def test_what_the_backward_pass_keeps_counts():
    x = torch.ones(1000, requires_grad=True)
    with LiveTensors() as live:
        y = x.sin().exp().cos().sum()
        assert live.now == 4000 + 4  # sin keeps x, which was there; exp keeps its result, cos its input: the same
        y.backward()
    assert live.now == 4000 + 4 and x.grad is not None  # the gradient and y


def test_peak_bytes_is_of_the_work_alone():
    keep = torch.ones(10_000)
    assert peak_bytes(lambda: torch.ones(500) + torch.ones(500), "cpu") == 3 * 2000
    assert len(keep) == 10_000


def test_the_process_has_a_peak():
    before = peak_process_bytes()
    if not before:
        pytest.skip("this system does not tell")
    block = torch.ones(64 << 18)  # 64 MiB, all of it touched
    assert before > 50e6 and peak_process_bytes() >= before and block[-1] == 1
