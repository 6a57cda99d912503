"""The locomotion benchmark at a size that takes little time."""

import pytest
import torch

from benchmarks import locomotion
from benchmarks.results import Context


def test_locomotion():
    pytest.importorskip("newton")
    context = Context(torch.device("cpu"), threads=1, budget_s=0.0, only=("locomotion/hopper/paper",))
    found = dict(locomotion.run(context, robots=2, horizon=2))
    assert list(found) == ["locomotion/hopper/paper/forward", "locomotion/hopper/paper/backward"]
    for record in found.values():
        assert record["ratio"] == pytest.approx(record["reference_s"] / record["ours_s"])
        assert record["steps_per_s"] == pytest.approx(4 / record["ours_s"])
        assert record["shapes"]["substeps"] == record["shapes"]["mass_matrix_every"] == 16


def test_the_stock_simulator_really_steps():
    pytest.importorskip("newton")
    from benchmarks.reference.stock_locomotion import StockSimulator
    from pwm.tasks.locomotion.catalogue import find_task
    from pwm.tasks.locomotion.robot import load_robot

    task, physics = find_task("hopper")
    q, qd = task.start(torch.full((2, task.draws), 0.5))
    stock = StockSimulator(load_robot("hopper", physics.limit_stiffness), 2, physics, q, qd)
    stock.forward()
    velocity = stock.states[-1].joint_qd.numpy().reshape(2, 6)
    assert velocity[:, 1] == pytest.approx([-9.81 / 60] * 2, rel=0.3)  # it falls; its armature slows it
    assert stock.states[0].joint_q.grad is not None


def test_without_a_cpu_it_is_skipped_honestly():
    context = Context(torch.device("cuda"), threads=1, only=("locomotion/ant/exact/forward",))
    [(name, record)] = locomotion.run(context)
    assert name == "locomotion/ant/exact/forward" and "CPU seconds" in record["skipped"]
    assert list(locomotion.run(Context(torch.device("cpu"), threads=1, quick=True))) == []
