import json
import time

import pytest

import pwm.runtime.stopwatch as module
from pwm.runtime.errors import PWMError
from pwm.runtime.stopwatch import Stopwatch


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still until it is moved."""
    clock = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    return clock


def test_stages_add_up_over_resumptions_and_leave_no_gaps(tmp_path, now):
    first = Stopwatch(tmp_path, since=90.0)
    with first.stage("pretrain"):
        now[0] += 5
    now[0] += 1  # between two stages
    with first.stage("learn"):
        now[0] += 2
    assert first.wall_seconds() == {"pretrain": 15.0, "learn": 3.0, "total": 18.0}
    now[0] += 1000
    second = Stopwatch(tmp_path)
    with pytest.raises(KeyboardInterrupt), second.stage("learn"):
        now[0] += 4
        raise KeyboardInterrupt
    assert Stopwatch(tmp_path).wall_seconds() == {"pretrain": 15.0, "learn": 7.0, "total": 22.0}


def test_no_stage_no_file(tmp_path):
    assert Stopwatch(tmp_path / "run").wall_seconds() == {"total": 0}
    assert not (tmp_path / "run").exists()


def test_a_killed_process_loses_seconds_only(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PERIOD", 0.01)
    with Stopwatch(tmp_path).stage("pretrain"):
        deadline = time.monotonic() + 5
        while not (tmp_path / "clock.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert json.loads((tmp_path / "clock.json").read_text())["pretrain"] > 0


@pytest.mark.parametrize("text", ["[]", '{"pretrain": "long"}', "{"])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "clock.json").write_text(text)
    with pytest.raises(PWMError, match="clock.json"):
        Stopwatch(tmp_path)
