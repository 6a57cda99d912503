import json
import math
import os
import sys
import time

import pytest
import torch

from pwm.runtime.errors import PWMError
from pwm.runtime.metrics import MetricsLog, read_metrics


def test_lines_hold_what_was_written(tmp_path):
    with MetricsLog(tmp_path, tensorboard=False) as log:
        log.write("world_model", 1, {"loss": torch.tensor(0.5)})
        log.write("policy", 2, {"value": 3}, task="cup-catch", seed=0)
    first, second = read_metrics(tmp_path)
    assert {k: first[k] for k in first if k != "wall_seconds"} == {"phase": "world_model", "step": 1, "loss": 0.5}
    assert (second["task"], second["seed"], second["value"]) == ("cup-catch", 0, 3.0)
    assert 0 <= first["wall_seconds"] <= second["wall_seconds"]


def test_not_finite_is_null_on_disk_and_nan_when_read(tmp_path):
    with MetricsLog(tmp_path, tensorboard=False) as log:
        log.write("world_model", 1, {"loss": math.nan})
    assert json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail)["loss"] is None
    assert math.isnan(read_metrics(tmp_path)[0]["loss"])


def test_torn_last_line_is_ignored_and_not_glued_to_the_next(tmp_path):
    with MetricsLog(tmp_path, tensorboard=False) as log:
        log.write("a", 1, {"x": 1})
        log.write("a", 2, {"x": 2})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert [line["step"] for line in read_metrics(tmp_path)] == [1]
    with MetricsLog(tmp_path, tensorboard=False) as log:
        log.write("a", 3, {"x": 3})
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 3]


def test_damaged_line_inside(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"phase": "a", "step": 1}\n{"pha\n{"phase": "a", "step": 3}\n')
    with pytest.raises(PWMError, match="line 2 is damaged"):
        read_metrics(tmp_path)


def test_truncate_drops_only_later_lines_of_the_phase_and_goes_on(tmp_path):
    with MetricsLog(tmp_path, tensorboard=False) as log:
        for step in (1, 2, 3):
            log.write("a", step, {"x": step})
            log.write("b", step, {"x": step})
        log.truncate("a", 1)
        log.write("a", 2, {"x": 20})
    lines = [(line["phase"], line["step"], line["x"]) for line in read_metrics(tmp_path)]
    assert lines == [("a", 1, 1), ("b", 1, 1), ("b", 2, 2), ("b", 3, 3), ("a", 2, 20)]


def test_wall_seconds_count_on_after_a_restart(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"phase": "a", "step": 1, "wall_seconds": 1000.0}\n')
    with MetricsLog(tmp_path, tensorboard=False) as log:
        log.write("a", 2, {})
    assert 1000 <= read_metrics(tmp_path)[-1]["wall_seconds"] < 1100


def test_reserved_names_and_empty_folder(tmp_path):
    assert read_metrics(tmp_path) == []
    with MetricsLog(tmp_path, tensorboard=False) as log, pytest.raises(ValueError, match="'step'"):
        log.write("a", 1, {"step": 2})


def test_tensorboard_holds_the_same_numbers(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with MetricsLog(tmp_path) as log:
        log.write("policy", 1, {"value": 5.0}, task="cup-catch", seed=2)
        log.write("policy", 2, {"value": 6.0}, task="cup-catch", seed=2)
        log.write("policy", 2, {"value": 8.0}, task="cup-catch", seed=3)
        log.truncate("policy", 1, [("cup-catch", 2)])
        log.write("policy", 2, {"value": 7.0}, task="cup-catch", seed=2)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "policy")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("cup-catch/seed2/value")] == [(1, 5.0), (2, 7.0)]
    assert [(e.step, e.value) for e in events.Scalars("cup-catch/seed3/value")] == [(2, 8.0)]


def test_missing_tensorboard_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with MetricsLog(tmp_path) as log:
        log.write("a", 1, {"x": 1})
    assert len(read_metrics(tmp_path)) == 1
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.parametrize("part", ["metrics", "tensorboard"])
def test_a_full_disk_is_one_line(tmp_path, capfd, part):
    pytest.importorskip("tensorboard")
    message = r"metrics.jsonl: cannot write \(No space left on device\)"
    with pytest.raises(PWMError, match=message), MetricsLog(tmp_path) as log:
        log.write("a", 0, {"x": 1.0})
        with open("/dev/full", "wb", buffering=0) as full:
            if part == "metrics":
                log._file.flush()
                os.dup2(full.fileno(), log._file.fileno())
            else:
                writer = log._writers["a"].file_writer.event_writer
                writer._async_writer._writer._writer.write = full.write
            for step in range(100):
                log.write("a", step, {"x": 1.0})
                time.sleep(0.001)
    assert capfd.readouterr().err == ""
