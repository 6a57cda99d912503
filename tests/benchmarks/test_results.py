"""Names, merging, the table, and the command line."""

import json

import pytest
import torch
from rich.console import Console

from benchmarks import __main__ as command
from benchmarks.harness import Comparison
from benchmarks.results import Context, duration, measured, merge, reasons, skipped, table
from pwm.runtime.errors import PWMError

CPU = Context(torch.device("cpu"), threads=1)
COMPARISON = Comparison(0.5, 2.0, 4.0, 3.5, 4.5, 7)
FIELDS = {"ours_s", "reference_s", "ratio", "flops", "share_of_peak", "shapes", "threads", "dtype", "versions"}
FIELDS |= {"machine", "date", "command"}


def test_names_tell_device_and_precision():
    assert CPU.name("policy_update", "48", "8") == "policy_update/48/8"
    gpu = Context(torch.device("cuda"), threads=1, precision="bfloat16")
    assert gpu.name("policy_update", "48", "8") == "policy_update/48/8/cuda/bfloat16"


@pytest.mark.parametrize(
    ("only", "name", "wanted"),
    [
        ((), "sampler", True),
        (("policy_update",), "policy_update/48/8", True),
        (("policy_update/48",), "policy_update", True),
        (("policy_update/48",), "policy_update/48/8", True),
        (("policy_update/4",), "policy_update/48/8", False),
        (("policy_update/48/8",), "policy_update/48/80", False),
        (("policy_update/48/80",), "policy_update/48/8", False),
        (("sampler", "policy_update/5"), "policy_update/5/1", True),
        (("sampler",), "quickstart", False),
    ],
)
def test_only(only, name, wanted):
    assert Context(torch.device("cpu"), 1, only=only).wants(name) is wanted


def test_share_of_peak(monkeypatch):
    monkeypatch.setattr("benchmarks.results.matrix_peak", lambda device, dtype, threads: 100.0)
    record = measured(CPU, COMPARISON, 20, {"batch": 64})
    assert record["share_of_peak"] == pytest.approx(20 / 0.5 / 100.0)
    assert record.keys() >= FIELDS
    assert measured(CPU, COMPARISON, None, {})["share_of_peak"] is None


def test_merge_by_name(tmp_path):
    path = tmp_path / "results.json"
    first = measured(CPU, COMPARISON, None, {})
    merge(path, "b", first)
    merge(path, "a", skipped(CPU, "would take 99 s"))
    merge(path, "b", skipped(CPU, "would take 99 s"))
    found = json.loads(path.read_text())["benchmarks"]
    assert list(found) == ["a", "b"]
    assert found["a"]["skipped"] == "would take 99 s" and found["b"] == json.loads(json.dumps(first))
    merge(path, "a", first | {"ours_s": 9.0})
    assert json.loads(path.read_text())["benchmarks"]["a"]["ours_s"] == 9.0
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_a_foreign_file_is_left_alone(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"mine": 1}')
    with pytest.raises(PWMError, match="not a file of benchmark results"):
        merge(path, "a", {})
    assert path.read_text() == '{"mine": 1}'


def test_table_shows_ratios_and_reasons():
    records = {"fast": measured(CPU, COMPARISON, None, {}), "huge": skipped(CPU, "would take 99 s")}
    records["alone"] = {"ours_s": 12.0, "reference_s": None, "ratio": None}
    console = Console(width=120, record=True, file=open("/dev/null", "w"))
    console.print(table(records))
    text = console.export_text()
    assert "4.00x" in text and "3.50-4.50" in text and "500 ms" in text and "huge" not in text
    assert reasons(records) == ["huge: skipped, would take 99 s"]
    assert "12 s" in text


def test_durations():
    assert [duration(x) for x in (1.5, 0.25, 4.2e-5, None)] == ["1.5 s", "250 ms", "42 us", ""]


def test_command_line(tmp_path, capsys, monkeypatch):
    class Toy:
        NAME = "policy_update"

        @staticmethod
        def run(context):
            yield context.name("policy_update"), measured(context, COMPARISON, None, {})

    class Never(Toy):
        NAME = "quickstart"

        @staticmethod
        def run(context):
            raise AssertionError("was not asked for")

    monkeypatch.setattr(command, "BENCHMARKS", (Toy, Never))
    out = tmp_path / "results.json"
    arguments = ["--only", "policy_update", "--device", "cpu", "--out", str(out)]
    command.main([*arguments, "--precision", "float32"])
    assert "4.00x" in capsys.readouterr().out
    record = json.loads(out.read_text())["benchmarks"]["policy_update"]
    assert record["command"].startswith("python -m benchmarks --only policy_update") and record["dtype"] == "float32"
    command.main([*arguments, "--precision", "bfloat16"])
    assert set(json.loads(out.read_text())["benchmarks"]) == {"policy_update", "policy_update/bfloat16"}
    with pytest.raises(PWMError, match="no such benchmark; choose among policy_update, quickstart"):
        command.main(["--only", "sampel", "--out", str(out)])


def test_updates_are_measured_in_both_precisions(monkeypatch, tmp_path):
    from benchmarks import __main__ as program

    seen = []
    for module in program.BENCHMARKS:

        def run(context, name=module.NAME):
            seen.append((name, context.precision, context.brief))
            yield context.name(name), {"ours_s": 1.0, "reference_s": 2.0, "ratio": 2.0, "ratio_low": 2, "ratio_high": 2}

        monkeypatch.setattr(module, "run", run)
    program.main(["--precision", "float32", "bfloat16", "--device", "cpu", "--out", str(tmp_path / "results.json")])
    both = [("float32", True), ("bfloat16", False)]
    for name in program._IN_BOTH:
        assert [row for row in seen if row[0] == name] == [(name, *pair) for pair in both]
    assert ("sampler", "float32", True) in seen and len(seen) == len(program.BENCHMARKS) + len(program._IN_BOTH)
