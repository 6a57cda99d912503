import dataclasses
import importlib.metadata
import json

import pytest

from pwm.runtime.errors import PWMError
from pwm.runtime.run_folder import read_run_file, record_step, refuse_changes


@dataclasses.dataclass(frozen=True)
class Settings:
    updates: int = 10
    units: tuple[int, ...] = (4, 4)


def test_steps_are_merged(tmp_path):
    data = {"path": "d", "fingerprint": "f"}
    record_step(tmp_path, "pretrain", {"pretrain": Settings()}, command="pwm a", seed=3, data=data, tasks=[{"id": "t"}])
    first = read_run_file(tmp_path)
    record_step(tmp_path, "learn", {"policy": Settings(5)}, command="pwm b")
    run = read_run_file(tmp_path)
    assert run == json.loads((tmp_path / "run.json").read_text())
    assert run["command"] == "pwm a && pwm b"
    assert (run["seed"], run["data"], run["tasks"]) == (3, data, [{"id": "t"}])
    assert run["config"] == {
        "pretrain": {"updates": 10, "units": [4, 4]},
        "policy": {"updates": 5, "units": [4, 4]},
    }
    assert run["created"] == first["created"] and run["machine"]
    assert {"pwm", "python", "torch"} <= set(run["versions"])


def test_packages_that_a_step_uses_besides_stay_named(tmp_path):
    record_step(tmp_path, "train", {}, command="pwm train", packages=("tyro", "no-such-package"))
    record_step(tmp_path, "evaluate", {}, command="pwm evaluate")
    found = read_run_file(tmp_path)["versions"]
    assert found["tyro"] == importlib.metadata.version("tyro") and found["no-such-package"] == "not installed"


def test_one_command_for_all_steps_is_named_once(tmp_path):
    for step in ("pretrain", "learn"):
        record_step(tmp_path, step, {}, command="pwm quickstart")
    assert read_run_file(tmp_path)["command"] == "pwm quickstart"


def test_the_same_step_again_does_not_write(tmp_path):
    record_step(tmp_path, "learn", {"policy": Settings()}, command="pwm b", seed=0)
    inode = (tmp_path / "run.json").stat().st_ino
    record_step(tmp_path, "learn", {"policy": Settings()}, command="pwm b", seed=0)
    assert (tmp_path / "run.json").stat().st_ino == inode


def test_changes_are_refused_by_name(tmp_path):
    refuse_changes(tmp_path, {"policy": Settings()})  # nothing recorded yet
    record_step(tmp_path, "learn", {"policy": Settings()}, command="")
    refuse_changes(tmp_path, {"policy": Settings(), "other": Settings(1)})
    with pytest.raises(PWMError, match=r"policy.units = \[4, 4\], now it is \[4\]; .*another --out"):
        refuse_changes(tmp_path, {"policy": Settings(units=(4,))})


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"config": 1}', '{"data": []}', '{"config": {"fleets": []}}', '{"versions": []}']
)
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(PWMError, match="run.json"):
        read_run_file(tmp_path)
