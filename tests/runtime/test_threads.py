import os
import subprocess
import sys

from pwm.runtime.threads import wait_politely


def test_the_users_choice_stands(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_politely()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    wait_politely()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    wait_politely()
    assert os.environ["GOMP_SPINCOUNT"] == "5"


def test_the_command_line_settles_it_before_torch_is_imported():
    code = (
        "import sys, os; from pwm.cli import main; assert 'torch' not in sys.modules; "
        "main.main(['--help']); print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        environment.pop(name, None)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert child.stdout.splitlines()[-1] == "1000 False"
