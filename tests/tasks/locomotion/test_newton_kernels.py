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


def test_warp_is_imported_late_and_a_missing_extra_is_named():
    code = """
import sys, pwm
from pwm.runtime.errors import PWMError
from pwm.tasks.registry import get_task
import pwm.tasks.locomotion.environment
spec = get_task("ant")
print([name for name in ("warp", "newton") if name in sys.modules])
sys.modules["newton"] = None
try:
    spec.make()
except PWMError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    first, second = ran.stdout.splitlines()
    assert first == "[]"
    assert second.startswith("the locomotion tasks need Newton and Warp")
    assert second.endswith("pip install 'pwm[locomotion]'")
