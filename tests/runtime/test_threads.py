import os
import subprocess
import sys

from pwm.runtime.threads import wait_politely


def test_the_users_choice_stands(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    wait_politely()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_politely()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_the_command_line_settles_it_before_torch_is_imported():
    code = (
        "import sys, os; from pwm.cli import main; assert 'torch' not in sys.modules; "
        "main.main(['--help']); print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("OMP_WAIT_POLICY", None)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert child.stdout.splitlines()[-1] == "PASSIVE False"
