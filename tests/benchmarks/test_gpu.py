"""The GPU benchmark tried out on a CPU: every row is there, told apart, and describes itself."""

import pytest
import torch

from benchmarks import gpu
from pwm.agents.pwm.config import PolicyConfig
from pwm.runtime.files import read_json

CHEAP = PolicyConfig(actor_units=(4,), critic_units=(4,), critics=1, critic_passes=1, critic_splits=1)
SMALL = "--device cpu --size tiny --fleets 1 2 --slices 4 --batch-size 2 --horizon 2".split()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(gpu, "_SECONDS", 0.0)
    monkeypatch.setattr(gpu, "_LEAST", 1)
    monkeypatch.setattr(gpu, "_WARM_UP", 1)
    monkeypatch.setattr(gpu, "matrix_peak", lambda device, dtype, threads: 1e9)


def test_all_rows_are_measured_and_written(tmp_path):
    gpu.main([*SMALL, "--out", str(tmp_path / "gpu.json")], CHEAP)
    found = read_json(tmp_path / "gpu.json")
    rows = {row["name"]: row for row in found["rows"]}
    assert found["command"].startswith("python -m benchmarks.gpu --device cpu") and found["versions"]["torch"]
    assert len(rows) == len(found["rows"]) == 1 + 3 + 2 * 3 * 2 + 3 * 2 + 1
    assert not any("failed" in row or "skipped" in row for row in rows.values())
    assert rows["equality"]["plain from cpu"] == rows["equality"]["graph from plain"] == 0.0
    one, two = (rows[f"policy/{n}/bfloat16/plain"] for n in (1, 2))
    assert two["flops"] == 2 * one["flops"] and two["estimated_bytes"] > one["estimated_bytes"]
    assert one["seconds_of_10000"] == pytest.approx(1e4 / one["updates_per_s"])
    assert one["share_of_peak"] == pytest.approx(one["flops"] * one["updates_per_s"] / 1e9)
    assert rows["world model/4/float32/plain"]["updates_per_s"] > 0
    assert rows["fleet"]["members_that_fit"] > 2


def test_equality_sees_a_difference(tmp_path, monkeypatch):
    from benchmarks import workload

    original, calls = workload.world_model, []

    def other_weights(*args):
        calls.append(1)
        return original(*args, seed=len(calls))

    monkeypatch.setattr(workload, "world_model", other_weights)
    with workload.synthetic_store() as store:
        assert gpu.equality(store, torch.device("cpu"))["plain from cpu"] > 0.01


def test_what_fails_or_comes_too_late_is_said(tmp_path, monkeypatch):
    def full():
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried")

    monkeypatch.setattr(gpu, "cases", lambda *args: iter([("one", full), ("two", lambda: {"x": 1.0})]))
    out = ["--device", "cpu", "--out", str(tmp_path / "gpu.json")]
    gpu.main(out)
    rows = read_json(tmp_path / "gpu.json")["rows"]
    assert rows == [{"name": "one", "failed": "CUDA out of memory. Tried"}, {"name": "two", "x": 1.0}]
    gpu.main([*out, "--budget", "-1"])
    assert all("budget" in row["skipped"] for row in read_json(tmp_path / "gpu.json")["rows"])


@pytest.mark.parametrize("precision", gpu.PRECISIONS)
def test_tf32_is_asked_for_and_put_back(precision):
    before = torch.get_float32_matmul_precision()
    with gpu.products(precision):
        assert torch.get_float32_matmul_precision() == ("high" if precision == "tf32" else "highest")
    assert torch.get_float32_matmul_precision() == before
