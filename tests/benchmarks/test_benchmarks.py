"""Every benchmark at a size that takes no time; and both sides of each do the same work where they can be compared."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from benchmarks import (
    action_latency,
    evaluation_steps,
    harness,
    layers,
    online_round,
    policy_update,
    products,
    quickstart,
    sampler,
    world_model_update,
)
from benchmarks import results as records
from benchmarks.results import Context
from pwm.acting.policy_file import act_together
from pwm.acting.rollout import run_episodes
from pwm.agents.online.config import TRAINING
from pwm.agents.plan_config import PlanConfig
from pwm.nn.native import kernels
from pwm.world_model.config import world_model_size
from tests.benchmarks.conftest import POLICY
from tests.toys import toy_task


@pytest.fixture
def context(monkeypatch):
    """Everything once or twice, at size "tiny"."""
    real = harness.compare

    def briefly(*args, **kwargs):
        return real(*args, **(kwargs | {"rounds": 2, "budget_s": 0.0}))

    for module in (
        action_latency,
        evaluation_steps,
        layers,
        online_round,
        policy_update,
        products,
        sampler,
        world_model_update,
    ):
        monkeypatch.setattr(module, "compare", briefly)
    small = PlanConfig(samples=32, policy_samples=2, elites=2)
    monkeypatch.setattr(action_latency, "PlanConfig", lambda: small)
    monkeypatch.setattr(harness, "_SHORT", 0.0)
    monkeypatch.setattr(records, "matrix_peak", lambda device, dtype, threads: 1e12)
    return Context(torch.device("cpu"), threads=1, sizes=("tiny",), command="test")


def check(found):
    for record in found.values():
        assert record["ours_s"] > 0 and record["reference_s"] > 0
        assert record["ratio"] == pytest.approx(record["reference_s"] / record["ours_s"])
        assert json.loads(json.dumps(record)) == record
    return list(found)


def test_policy_update(context):
    found = dict(policy_update.run(context, fleets=(1, 3), config=POLICY))
    assert check(found) == ["policy_update/tiny/1", "policy_update/tiny/3"]
    one, three = found.values()
    assert three["flops"] == 3 * one["flops"] > 0 and one["share_of_peak"] > 0


def test_big_fleets_are_skipped_honestly(context, monkeypatch):
    monkeypatch.setattr(policy_update, "_fleet", lambda *args: {"ours_s": 1.0})
    context = Context(torch.device("cpu"), 1, sizes=("tiny",), budget_s=30.0)
    found = dict(policy_update.run(context, fleets=(1, 8, 80), config=POLICY))
    assert found["policy_update/tiny/8"] == {"ours_s": 1.0}
    # Eight took a second, so eighty take ten, thrice.
    assert "ours_s" in found["policy_update/tiny/80"]
    context = Context(torch.device("cpu"), 1, sizes=("tiny",), budget_s=29.0)
    skipped = dict(policy_update.run(context, fleets=(8, 80), config=POLICY))["policy_update/tiny/80"]
    assert skipped["skipped"] == "would take 30 s, the budget is 29 s"
    monkeypatch.setattr(policy_update, "free_bytes", lambda device: 10.0)
    (record,) = dict(policy_update.run(context, fleets=(8,), config=POLICY)).values()
    assert record["skipped"].startswith("would need about")


def test_world_model_update(context):
    found = dict(world_model_update.run(context, batches=(4,)))
    assert check(found) == ["world_model_update/tiny/4"]


def test_online_round(context, toys):
    small = dataclasses.replace(TRAINING, batch_size=4, horizon=2), dataclasses.replace(POLICY, actor_average=0.5)
    found = dict(online_round.run(context, world_model_size("tiny"), *small, task="toy-a"))
    assert check(found) == ["online_round/model", "online_round/policy"]
    assert all(record["share_of_peak"] > 0 for record in found.values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_products(context, precision, monkeypatch):
    monkeypatch.setattr(products, "ROWS", (9,))
    found = dict(products.run(dataclasses.replace(context, precision=precision)))
    tail = "" if precision == "float32" else "/bfloat16"
    assert check(found) == [f"products/tiny/9/{way}{tail}" for way in ("forward", "backward")]
    for record in found.values():
        assert record["flops"] == 2 * 9 * record["shapes"]["inputs"] * record["shapes"]["outputs"]


def test_both_sides_multiply_by_the_same_weights(context, monkeypatch):
    def same(ours, reference, *_, **__):
        torch.testing.assert_close(ours(), reference(), rtol=1e-4, atol=1e-4)
        raise KeyError("seen")

    monkeypatch.setattr(products, "compare", same)
    monkeypatch.setattr(products, "ROWS", (9,))
    for way in ("forward", "backward"):
        with pytest.raises(KeyError, match="seen"):
            list(products.run(dataclasses.replace(context, only=(f"products/tiny/9/{way}",))))


@pytest.mark.skipif(kernels() is None, reason="no compiled kernels here")
def test_layers(context, monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: seen.append(function.__name__) or function)
    monkeypatch.setattr(layers, "ROWS", (9,))
    found = dict(layers.run(dataclasses.replace(context, only=("layers/norm_act",))))
    assert check(found) == [f"layers/norm_act/9/{way}" for way in ("plain", "compiled")] and "norm_act" in seen
    assert list(layers.run(dataclasses.replace(context, quick=True))) == []


@pytest.mark.skipif(kernels() is None, reason="no compiled kernels here")
def test_every_way_through_a_layer_computes_the_same():
    ways = [layers.calls(form, 9) for form in (layers.native, layers.plain)]
    for layer, ours in ways[0].items():
        for a, b in zip(ours(), ways[1][layer](), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(kernels() is None, reason="no compiled kernels here")
def test_where_nothing_compiles_the_row_says_why(context, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no compiler\nof C++")

    monkeypatch.setattr(torch, "compile", lambda function, **_: fails)
    monkeypatch.setattr(layers, "ROWS", (9,))
    found = dict(layers.run(dataclasses.replace(context, only=("layers/norm_act/9/compiled",))))
    assert [record["skipped"] for record in found.values()] == ["no compiler"]
    monkeypatch.setattr(layers.native, "kernels", lambda: None)
    (record,) = dict(layers.run(context)).values()
    assert record["skipped"].startswith("no compiled kernels")


def test_sampler(context):
    found = dict(sampler.run(context, slices=8, horizon=5, stores={"1k": (4, 9), "2k": (8, 9), "40M": (9, 9)}))
    assert check(found) == ["sampler/8x6/1k", "sampler/8x6/2k"]
    assert found["sampler/8x6/2k"]["shapes"]["transitions"] == 30 * 8 * 9
    largest = dataclasses.replace(context, only=("sampler/8x6/40M",))
    assert check(dict(sampler.run(largest, slices=8, horizon=5, stores={"40M": (2, 9)}))) == ["sampler/8x6/40M"]


def test_the_naive_sampler_cuts_real_slices(store):
    batch = sampler.one_by_one(store, 5, 40, np.random.default_rng(0), torch.device("cpu"))
    assert batch.observations.shape == (6, 40, 7) and batch.actions.shape == (5, 40, 3)
    for i in range(40):
        data = store[store.tasks[batch.tasks[i]]]
        (row,) = np.nonzero(data.rewards == batch.rewards[0, i].numpy())[0]
        episode = int(np.searchsorted(data.offsets, row, side="right")) - 1
        np.testing.assert_array_equal(batch.rewards[:, i], data.rewards[row : row + 5])
        wide = np.pad(data.observations[row + episode : row + episode + 6], ((0, 0), (0, 7 - data.observation_dim)))
        np.testing.assert_array_equal(batch.observations[:, i], wide)
        assert row + 5 <= data.offsets[episode + 1]


def test_action_latency(context):
    found = dict(action_latency.run(context))
    names = [f"action_latency/tiny/{name}" for name in ("1", "64", "planner/1", "planner/64")]
    assert check(found) == names
    assert found[names[2]]["ratio"] > 1 and "planning" in found[names[2]]["note"]


def test_planning_that_takes_too_long_is_skipped(context, monkeypatch):
    monkeypatch.setattr(action_latency, "seconds", lambda *args: 1.0)
    context = Context(torch.device("cpu"), 1, sizes=("tiny",), only=("action_latency/tiny/planner",), budget_s=5.0)
    found = dict(action_latency.run(context))
    assert found["action_latency/tiny/planner/64"]["skipped"] == "would take 256 s, the budget is 5 s"
    assert set(found) == {"action_latency/tiny/planner/1", "action_latency/tiny/planner/64"}


def test_both_sides_act_alike():
    sizes = {"wide": (7, 3), "narrow": (4, 2)}
    policies, acts = action_latency.deployed(sizes, "tiny", POLICY, torch.device("cpu"))
    for policy, act, (o, _) in zip(policies, acts, sizes.values(), strict=True):
        x = np.random.default_rng(1).normal(size=(5, o)).astype(np.float32)
        np.testing.assert_allclose(policy.act(x), act(x), atol=1e-6)
        assert np.ptp(policy.act(x)) > 0


SPECS = [toy_task(name, 3, a, 4) for name, a in (("one", 1), ("two", 2))]


def test_evaluation_steps(context):
    found = dict(evaluation_steps.run(context, SPECS, episodes=2, size="tiny"))
    assert check(found) == ["evaluation_steps/2x2", "evaluation_steps/2x2/2 workers"]
    for record in found.values():
        assert record["shapes"]["steps"] == 2 * 2 * 4
        assert record["steps_per_s"] == pytest.approx(1 / record["ours_s"])
    assert record["shapes"]["workers"] == 2 and record["with_start_s"] > 0


def test_both_sides_play_the_same_episodes():
    widths = {spec.id: (spec.observation_dim, spec.action_dim) for spec in SPECS}
    policies, acts = action_latency.deployed(widths, "tiny", POLICY, torch.device("cpu"))
    seeds = np.array([[1, 2], [3, 4]])
    together = run_episodes(SPECS, act_together(policies), seeds).returns
    np.testing.assert_allclose(evaluation_steps.one_by_one(SPECS, acts, seeds), together, rtol=1e-4, atol=1e-4)
    assert len(np.unique(together)) == 4


def test_quickstart_is_read_not_run(context, tmp_path):
    (record,) = dict(quickstart.run(context, tmp_path)).values()
    assert "make quickstart" in record["skipped"]
    (tmp_path / "results.json").write_text("{}")
    (record,) = dict(quickstart.run(context, tmp_path)).values()
    assert "does not tell" in record["skipped"]
    (tmp_path / "results.json").write_text('{"wall_seconds": {"pretrain": 60.5, "total": 99.5}}')
    (tmp_path / "run.json").write_text('{"command": "pwm quickstart", "machine": "abacus"}')
    (record,) = dict(quickstart.run(context, tmp_path)).values()
    assert record["ours_s"] == 99.5 and record["stages_s"]["pretrain"] == 60.5
    assert record["machine"] == "abacus" and record["command"] == "pwm quickstart" and record["date"] is None
    assert list(quickstart.run(Context(torch.device("cpu"), 1, quick=True), tmp_path)) == []
