"""The door to Newton: its version is checked, it is opened late, and a missing extra is named."""

import subprocess
import sys

import pytest

from pwm.runtime.errors import PWMError
from pwm.tasks.locomotion.newton_kernels import check_version


def test_only_the_known_minor_version_passes():
    check_version("1.8.0")
    check_version("1.8.11")
    for version in ("1.7.9", "1.9.0", "2.8.0", "1.80.0"):
        with pytest.raises(PWMError, match=rf"need Newton 1\.8, found {version}: pip install 'pwm\[locomotion\]'"):
            check_version(version)


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True).stdout


def test_neither_pwm_nor_the_registry_imports_warp():
    code = "import sys, pwm, pwm.tasks.registry as r; r.get_task('ant'); import pwm.tasks.locomotion.environment; "
    assert run(code + "print([m for m in ('warp', 'newton') if m in sys.modules])").strip() == "[]"


def test_a_missing_extra_is_named():
    code = """
import sys
sys.modules["newton"] = None
from pwm.runtime.errors import PWMError
from pwm.tasks.registry import get_task
try:
    get_task("ant").make()
except PWMError as error:
    print(error)
"""
    assert "the locomotion tasks need Newton and Warp" in run(code) and "pip install 'pwm[locomotion]'" in run(code)
