"""The library's front door: light to import, complete, and short to use."""

import ast
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pwm

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "fifteen_lines.py"


def test_import_is_light():
    code = "import sys; before = set(sys.modules); import pwm; print(*(set(sys.modules) - before))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    loaded = {name.partition(".")[0] for name in child.stdout.split()}
    assert "pwm" in loaded and not loaded & {"torch", "numpy", "dm_control", "mujoco", "gymnasium", "tyro", "rich"}


def test_every_name_is_there():
    for name in pwm.__all__:
        assert getattr(pwm, name) is not None
        assert name in dir(pwm)
    assert set(pwm.__all__) == set(pwm._PLACES) | {"__version__"}
    assert pwm.open_dataset(pwm.sample_dataset()).tasks
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pwm.nonsense


def test_what_type_checkers_see_is_what_one_gets():
    tree = ast.parse(Path(pwm.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname or alias.name: f"{node.module}:{alias.name}" for node in block.body for alias in node.names}
    assert seen == pwm._PLACES


def test_the_story_in_fifteen_lines(tmp_path, monkeypatch, capsys):
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith('"""')]
    assert len(lines) < 15
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path / "run"), "3"])
    names = runpy.run_path(str(EXAMPLE))
    assert (tmp_path / "run" / "results.json").is_file()
    policy = names["policies"][0]
    action = policy.act(names["observation"])
    assert action.shape == (policy.action_dim,) and np.abs(action).max() <= 1
    many = policy.act(np.stack([names["observation"]] * 3))
    assert many.shape == (3, policy.action_dim)
    loaded = pwm.load_policy(tmp_path / "run" / "policies" / policy.task / "seed0.safetensors")
    assert np.array_equal(loaded.act(names["observation"]), action)
    assert pwm.write_report(tmp_path / "run").is_file()
