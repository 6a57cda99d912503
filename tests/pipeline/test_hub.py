"""`pwm hub`: what is pushed and pulled, with folders in the place of the Hub."""

from __future__ import annotations

import inspect
import json
import pickle
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.commands import FAST_POLICY, contents

hub_errors = pytest.importorskip("huggingface_hub.errors")
HTTP = sys.modules[hub_errors.HfHubHTTPError.__bases__[0].__module__.partition(".")[0]]


def response(code: int):
    return HTTP.Response(code, request=HTTP.Request("GET", "https://hub.example/api?token=hf_secretsecret"))


class LocalHub:
    """The part of HfApi that is used, on folders `root/<type>/<user>/<name>`."""

    def __init__(self, root: Path) -> None:
        self.root, self.private, self.fails = root, {}, None

    def place(self, repo: str, repo_type: str, must: bool = True) -> Path:
        if self.fails:
            raise self.fails
        if repo.count("/") != 1:
            raise hub_errors.HFValidationError(f"{repo} is no name")
        path = self.root / repo_type / repo
        if must and not path.is_dir():
            raise hub_errors.RepositoryNotFoundError("404, hf_secretsecret", response=response(404))
        return path

    def create_repo(self, repo, *, repo_type, private, exist_ok):
        assert exist_ok
        self.place(repo, repo_type, must=False).mkdir(parents=True, exist_ok=True)
        self.private.setdefault(repo, private)
        return Place(repo)

    def create_commit(self, repo, operations, *, commit_message, repo_type):
        for operation in operations:
            path = self.place(repo, repo_type) / operation.path_in_repo
            path.parent.mkdir(parents=True, exist_ok=True)
            with operation.as_file() as file:
                path.write_bytes(file.read())

    def repo_info(self, repo, *, repo_type, revision):
        self.place(repo, repo_type)
        if revision not in (None, "main"):
            raise hub_errors.RevisionNotFoundError("404", response=response(404))
        return SimpleNamespace(sha="c0ffee")

    def list_repo_files(self, repo, *, repo_type, revision):
        place = self.place(repo, repo_type)
        return [str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()]

    def snapshot_download(self, repo, *, repo_type, revision, local_dir, allow_patterns, max_workers):
        assert revision == "c0ffee"
        place = self.place(repo, repo_type)
        for name in allow_patterns:
            (Path(local_dir) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(place / name, Path(local_dir) / name)
        (Path(local_dir) / ".cache" / "huggingface").mkdir(parents=True, exist_ok=True)


class Place(str):
    """What create_repo answers: an address that knows the repository's full name."""

    def __new__(cls, repo: str):
        self = super().__new__(cls, f"https://hub.example/{repo}")
        self.repo_id = repo
        return self


@pytest.fixture
def hub(tmp_path, monkeypatch) -> LocalHub:
    api = LocalHub(tmp_path / "hub")
    monkeypatch.setattr("pwm.pipeline.hub.connect", lambda: api)
    return api


def refused(outcome) -> str:
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1, outcome
    return outcome.err


@pytest.fixture
def run(pwm, pretrain, store):
    """A run with a world model and two policies, and things that must stay at home."""
    run = pretrain("run")
    assert pwm("learn", "--world-model", run, *FAST_POLICY).code == 0
    assert pwm("report", run).code == 0
    (run / "notes.pkl").write_bytes(pickle.dumps(1))
    (run / "world_model" / "notes.txt").write_text("private")
    return run


def test_a_run_there_and_back(pwm, hub, run, store, tmp_path):
    outcome = pwm("hub", "push", run, "someone/cup")
    assert (outcome.code, outcome.err) == (0, "") and "https://hub.example/someone/cup" in outcome.out
    there = hub.root / "model" / "someone" / "cup"
    names = set(contents(there, "**/*.*"))
    assert names == {
        "README.md",
        "run.json",
        "clock.json",
        "metrics.jsonl",
        "world_model/weights.safetensors",
        "policies/toy-a/seed0.safetensors",
        "policies/toy-b/seed0.safetensors",
    }
    assert hub.private["someone/cup"] is True
    assert str(tmp_path) not in (there / "run.json").read_text() and "pretrain" in (there / "run.json").read_text()
    outcome = pwm("hub", "pull", "someone/cup", "--out", "got")
    assert (outcome.code, outcome.err) == (0, "") and "a run, into got" in outcome.out
    got = contents(tmp_path / "got", "**/*.*")
    assert set(got) == names and not list(tmp_path.glob(".got*"))
    weights = "world_model/weights.safetensors"
    assert got[weights] == (run / weights).read_bytes()
    again = pwm("learn", "--world-model", "got", "--data", store, *FAST_POLICY, "--seed", "5")
    assert again.code == 0, again.err


def test_the_card(pwm, hub, run):
    assert pwm("hub", "push", run, "someone/cup", "--public").code == 0
    text = (hub.root / "model" / "someone" / "cup" / "README.md").read_text()
    assert text.startswith("---\nlicense: unknown\n") and "Licence: not stated yet" in text
    assert "| its tasks | toy-a, toy-b |" in text and "toy-a (1), toy-b (1)" in text and "torch " in text
    assert "pwm hub pull someone/cup --out cup" in text and hub.private["someone/cup"] is False
    (run / "README.md").write_text("my own card")
    assert pwm("hub", "push", run, "someone/cup").code == 0
    assert (hub.root / "model" / "someone" / "cup" / "README.md").read_text() == "my own card"


def test_a_store_there_and_back(pwm, hub, store, tmp_path):
    (store / "secret.npy").write_bytes(b"x")
    assert pwm("hub", "push", store, "someone/toys").code == 0
    there = hub.root / "dataset" / "someone" / "toys"
    assert (
        "secret.npy" not in contents(there, "**/*.npy")
        and "| toy-a | 12 | 144 | 3 | 2 |" in (there / "README.md").read_text()
    )
    assert pwm("hub", "pull", "someone/toys", "--out", "got").code == 0
    for name, data in contents(tmp_path / "got", "*/*.npy").items():
        assert data == (store / name).read_bytes()
    assert "exists already" in refused(pwm("hub", "pull", "someone/toys", "--out", "got"))


def test_a_pull_takes_no_other_files(pwm, hub, store, tmp_path):
    assert pwm("hub", "push", store, "someone/toys").code == 0
    there = hub.root / "dataset" / "someone" / "toys"
    for name in ("evil.pkl", "model.pt", "toy-a/evil.npy", "toy-a/observations.npy.pt", ".hidden/rewards.npy"):
        (there / name).parent.mkdir(exist_ok=True)
        (there / name).write_bytes(b"x")
    assert pwm("hub", "pull", "someone/toys", "--out", "got").code == 0
    assert set(contents(tmp_path / "got", "**/*.*")) == set(contents(store, "**/*.*")) | {"README.md"}


def test_a_damaged_repository_leaves_nothing(pwm, hub, store, tmp_path):
    assert pwm("hub", "push", store, "someone/toys").code == 0
    path = hub.root / "dataset" / "someone" / "toys" / "toy-b" / "rewards.npy"
    path.write_bytes(path.read_bytes()[:-3] + b"abc")
    line = refused(pwm("hub", "pull", "someone/toys", "--out", "got"))
    assert "someone/toys: " in line and "rewards.npy: wrong checksum" in line and "nothing was kept" in line
    assert not (tmp_path / "got").exists() and not list(tmp_path.glob(".got*"))


def test_a_pull_goes_on_after_a_failure(pwm, hub, store, tmp_path, monkeypatch):
    assert pwm("hub", "push", store, "someone/toys").code == 0
    whole = LocalHub.snapshot_download

    def half(self, repo, *, allow_patterns, **more):
        whole(self, repo, allow_patterns=allow_patterns[:3], **more)
        raise HTTP.ConnectError("no route; Bearer hf_secretsecret")

    with monkeypatch.context() as patch:
        patch.setattr(LocalHub, "snapshot_download", half)
        line = refused(pwm("hub", "pull", "someone/toys", "--out", "got"))
    assert "the transfer failed (no route; ***)" in line
    assert (tmp_path / ".got.pull").is_dir() and not (tmp_path / "got").exists()
    assert pwm("hub", "pull", "someone/toys", "--out", "got").code == 0
    assert (tmp_path / "got").is_dir() and not (tmp_path / ".got.pull").exists()


def test_refusals(pwm, hub, store, tmp_path):
    assert "neither a run (run.json) nor an episode store" in refused(pwm("hub", "push", tmp_path, "someone/x"))
    assert "no name of a repository; use USER/NAME" in refused(pwm("hub", "push", store, "x"))
    assert "no such repository, or it is not yours" in refused(pwm("hub", "pull", "someone/none", "--out", "got"))
    assert "did you mean push" in refused(pwm("hub", "pusj"))
    (hub.root / "model" / "someone" / "other").mkdir(parents=True)
    assert "has no run.json; it is no run" in refused(pwm("hub", "pull", "someone/other", "--out", "got"))
    assert pwm("hub", "push", store, "someone/toys").code == 0
    assert "no such revision" in refused(pwm("hub", "pull", "someone/toys", "--out", "got", "--revision", "x"))
    for error in (
        hub_errors.LocalTokenNotFoundError("no token, not hf_secretsecret"),
        hub_errors.HfHubHTTPError("403: hf_secretsecret may not", response=response(403)),
        hub_errors.OfflineModeIsEnabled("offline"),
    ):
        hub.fails = error
        line = refused(pwm("hub", "push", store, "someone/toys"))
        assert line.startswith("pwm: someone/toys: ") and "hf_secret" not in line
    rewards = store / "toy-a" / "rewards.npy"
    rewards.write_bytes(rewards.read_bytes()[:-3] + b"abc")
    assert "wrong checksum" in refused(pwm("hub", "push", store, "someone/toys"))


def test_without_the_extra(pwm, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'pwm[hub]'" in refused(pwm("hub", "push", store, "someone/toys"))


def test_help(pwm):
    assert "hf auth login" in pwm("hub").out
    assert "USER/NAME" in pwm("hub", "push", "--help").out


def test_places_are_left_out():
    from pwm.pipeline.hub import without_places

    before = {"a": ["pwm learn --data /home/me/data/x --out=~/runs/y z/w", 3], "b": "/tmp/q", "c": "'/a b/c' 1/2 a/b"}
    after = json.dumps(without_places(before))
    assert "pwm learn --data x --out=y z/w" in after and '"b": "q"' in after and "1/2 a/b" in after


@pytest.mark.parametrize("name", ["create_repo", "create_commit", "repo_info", "list_repo_files", "snapshot_download"])
def test_the_stand_in_takes_what_the_real_client_takes(name):
    """Every call that works on LocalHub is one that HfApi understands."""
    from huggingface_hub import HfApi

    ours = inspect.signature(getattr(LocalHub, name)).parameters
    inspect.signature(getattr(HfApi, name)).bind(
        *(p for p, x in ours.items() if x.kind is x.POSITIONAL_OR_KEYWORD),
        **{p: None for p, x in ours.items() if x.kind is x.KEYWORD_ONLY},
    )
