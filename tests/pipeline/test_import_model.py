"""`pwm import-model` and `pwm export-model`: what they leave, that they repeat, what they refuse."""

import json
import resource

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pwm.data.writer import StoreWriter
from pwm.world_model.files import load_world_model
from tests.commands import FAST, FAST_POLICY
from tests.world_model.checkpoints.published import Published

# The toy tasks of this folder, in the order of the embedding's rows.
TOYS = ("toy-a", "toy-b")


@pytest.fixture
def agent() -> Published:
    return Published("flat", 2, 3, 2)


@pytest.fixture
def file(agent, tmp_path):
    torch.save({"model": agent.state_dict()}, tmp_path / "agent.pt")
    return tmp_path / "agent.pt"


def refused(outcome) -> str:
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1, outcome
    return outcome.err


def test_import_learn_and_evaluate(pwm, file, store):
    outcome = pwm("import-model", file, "--out", "run", "--task", *TOYS)
    assert (outcome.code, outcome.err) == (0, "")
    assert "Layout flat, none of the five sizes (latent 24" in outcome.out
    assert "Kept beside it: policy, critics, target critics" in outcome.out
    record = json.loads((store.parent / "run" / "run.json").read_text())
    about = record["config"]["import"]
    assert (about["file"], about["layout"], about["tasks"]) == ("agent.pt", "flat", list(TOYS))
    assert len(about["sha256"]) == 64 and "import-model" in record["command"]
    line = refused(pwm("learn", "--world-model", "run", "--task", "toy-a", *FAST_POLICY))
    assert "names its data; add --data DIR" in line
    outcome = pwm("learn", "--world-model", "run", "--task", "toy-a", "--data", store, *FAST_POLICY)
    assert (outcome.code, outcome.err) == (0, "")
    outcome = pwm("evaluate", "run", "--episodes", "1", "--film-seconds", "0")
    assert outcome.code == 0 and "toy-a" in outcome.out
    assert pwm("report", "run").code == 0
    record = json.loads((store.parent / "run" / "run.json").read_text())
    assert record["config"]["import"] == about and [t["id"] for t in record["tasks"]] == ["toy-a"]


def test_the_same_command_is_skipped_and_another_file_refused(pwm, file, agent, tmp_path, pretrain):
    command = ("import-model", file, "--out", "run", "--task", *TOYS)
    assert pwm(*command).code == 0
    weights = tmp_path / "run" / "world_model" / "weights.safetensors"
    before = weights.read_bytes(), (tmp_path / "run" / "run.json").read_text()
    outcome = pwm(*command)
    assert outcome.code == 0 and "skipped, imported before" in outcome.out
    assert (weights.read_bytes(), (tmp_path / "run" / "run.json").read_text()) == before
    weights.unlink()  # as if it had been killed
    assert pwm(*command).code == 0 and weights.read_bytes() == before[0]
    torch.save({"model": Published("flat", 2, 3, 2, seed=1).state_dict()}, file)
    assert "has a world model of another origin already" in refused(pwm(*command))
    assert weights.read_bytes() == before[0]
    run = pretrain("trained")
    assert "another origin" in refused(pwm("import-model", file, "--out", run, "--task", *TOYS))
    (run / "world_model" / "weights.safetensors").unlink()
    assert "is being pre-trained in it" in refused(pwm("import-model", file, "--out", run, "--task", *TOYS))


def test_pretraining_does_not_overwrite_an_import(pwm, file, tmp_path, store):
    assert pwm("import-model", file, "--out", "run", "--task", *TOYS).code == 0
    before = (tmp_path / "run" / "world_model" / "weights.safetensors").read_bytes()
    line = refused(pwm("pretrain", "--data", store, "--out", "run", "--size", "tiny", *FAST))
    assert "run: has an imported world model; use another --out" in line
    assert (tmp_path / "run" / "world_model" / "weights.safetensors").read_bytes() == before


def test_a_refused_file_leaves_nothing(pwm, tmp_path):
    torch.save({"model": Published("flat", 2, 3, 2, bins=1).state_dict()}, tmp_path / "agent.pt")
    assert "101 bins" in refused(pwm("import-model", tmp_path / "agent.pt", "--out", "run", "--task", *TOYS))
    assert not (tmp_path / "run").exists()
    assert "no such file" in refused(pwm("import-model", "nowhere.pt", "--out", "run"))


@pytest.mark.parametrize("era", ["flat", "named"])
def test_round_trip(pwm, tmp_path, era):
    """What came in goes out again bit by bit; embeddings that were longer than 1 have length 1."""
    agent = Published(era, 2, 3, 2)
    torch.save({"model": agent.state_dict()}, tmp_path / "agent.pt")
    assert pwm("import-model", tmp_path / "agent.pt", "--out", "run", "--task", *TOYS).code == 0
    outcome = pwm("export-model", "run", "--out", "back.pt", "--layout", era)
    assert outcome.code == 0 and "critics" in outcome.out
    assert "enc_dim=20 num_enc_layers=2 mlp_dim=28 latent_dim=24 task_dim=6 simnorm_dim=8" in outcome.out
    assert "num_bins=101 vmin=-10 vmax=10 num_q=3" in outcome.out
    written = torch.load("back.pt", weights_only=True)["model"]
    masks = written.pop("_action_masks", None)
    assert (masks is not None) == (era == "named") and set(written) == set(agent.state_dict())
    for name, value in agent.state_dict().items():
        if name == "_task_emb.weight":
            norm = value.norm(dim=-1, keepdim=True)
            torch.testing.assert_close(written[name], value / norm.clamp(min=1), atol=1e-6, rtol=1e-6)
        else:
            assert torch.equal(written[name], value), name
    again = pwm("import-model", "back.pt", "--out", "again", "--task", *TOYS)
    assert again.code == 0
    one, two = load_world_model("run").state_dict(), load_world_model("again").state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one if name != "embedding")


def test_export_of_our_own_model(pwm, pretrain, tmp_path):
    run = pretrain("run", "--preset", "as_paper", "--encoder-units", "16", "--units", "16", "16")
    outcome = pwm("export-model", run, "--out", tmp_path / "own.pt")
    assert outcome.code == 0 and "has no policy and no critics" in outcome.out
    assert pwm("import-model", tmp_path / "own.pt", "--out", "again", "--task", *TOYS).code == 0
    one, two = load_world_model(run).state_dict(), load_world_model("again").state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_models_that_cannot_be_exported(pwm, pretrain, tmp_path):
    run = pretrain("scaled")
    assert "scales observations per task" in refused(pwm("export-model", run, "--out", "x.pt"))
    run = pretrain("uneven", "--preset", "as_paper", "--units", "16", "24")
    assert "it cannot be exported" in refused(pwm("export-model", run, "--out", "x.pt"))
    assert not (tmp_path / "x.pt").exists()
    assert "no world model" in refused(pwm("export-model", tmp_path, "--out", "x.pt"))


def test_a_single_task_of_the_smallest_size(pwm, tmp_path):
    """`pwm learn` on an imported single-task agent of size 1, whose model has no task embedding."""
    widths = {"latent": 128, "encoder": (256,), "units": (384, 384), "critics": 2}
    torch.save(Published("sequential", 0, 24, 6, **widths).state_dict(), "walker.pt")
    assert "size 1" in pwm("import-model", "walker.pt", "--out", "run", "--task", "walker-run").out
    random = np.random.default_rng(0)
    with StoreWriter("data") as writer:
        writer.add_task("walker-run", 24, 6, 500, 2)
        for _ in range(3):
            observations = random.normal(size=(9, 24))
            writer.add_episode("walker-run", observations, random.uniform(-1, 1, (8, 6)), random.uniform(0, 1, 8))
    outcome = pwm("learn", "--world-model", "run", "--task", "walker-run", "--data", "data", *FAST_POLICY)
    assert (outcome.code, outcome.err) == (0, "")


def test_no_space_left(pwm, file, tmp_path):
    """Import and export say so in one line, and leave no half of a file."""
    assert pwm("import-model", file, "--out", "run", "--task", *TOYS).code == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "back.pt").write_text("what I had")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        imported = pwm("import-model", file, "--out", "again", "--task", *TOYS)
        exported = [pwm("export-model", "run", "--out", "back.pt")]
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # torch meets this one, and not the last flush
        exported.append(pwm("export-model", "run", "--out", "back.pt"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot write" in refused(imported)
    assert all("back.pt: cannot write" in refused(outcome) for outcome in exported)
    assert (tmp_path / "back.pt").read_text() == "what I had"
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    assert not list((tmp_path / "again").glob("world_model/*"))
    assert pwm("import-model", file, "--out", "again", "--task", *TOYS).code == 0


def test_a_single_task_there_and_back(pwm):
    torch.save(Published("sequential", 0, 24, 6, episodic=True).state_dict(), "walker.pt")
    for file, run in (("walker.pt", "one"), ("back.pt", "two")):
        assert pwm("import-model", file, "--out", run, "--task", "walker-run").code == 0
        assert pwm("export-model", run, "--out", "back.pt").code == 0
    assert "_termination.2.weight" in torch.load("back.pt", weights_only=True)["model"]
    for name in ("weights", "tdmpc2_heads"):
        one, two = (load_file(f"{run}/world_model/{name}.safetensors") for run in ("one", "two"))
        assert set(one) == set(two) and all(torch.equal(one[key], two[key]) for key in one)
