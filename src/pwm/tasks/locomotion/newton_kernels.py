"""Newton and Warp are imported only here. Newton's Featherstone kernels are private, so the minor version is checked.

Importing this module raises PWMError if Newton or Warp is missing, or Newton has another minor version.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from pwm.runtime.errors import PWMError
from pwm.runtime.progress import progress

NEWTON = "1.8"
_CURE = "pip install 'pwm[locomotion]'"

try:
    import warp as wp

    wp.config.log_level = wp.LOG_WARNING  # before Warp starts: no banner, no line per loaded kernel
    import newton
except ImportError as error:
    raise PWMError(f"the locomotion tasks need Newton and Warp ({error}): {_CURE}") from error


def check_version(found: str) -> None:
    """Raise PWMError if `found` is not a version of Newton whose private kernels this package supports."""
    if found.split(".")[:2] != NEWTON.split("."):
        raise PWMError(f"the locomotion tasks need Newton {NEWTON}, found {found}: {_CURE}")


check_version(newton.__version__)

from newton._src.solvers.featherstone import kernels as featherstone  # noqa: E402

_lock = threading.Lock()
_ready: set[str] = set()


def prepare(device: str, *own: ModuleType) -> None:
    """Load Newton's kernels and those of our `own` modules, once per device.

    Shows progress if they have to be compiled first, which takes half a minute. Compiled kernels stay in Warp's cache,
    in the user's cache folder (or `WARP_CACHE_PATH`).
    """
    with _lock:
        if device in _ready:
            return
        with _silent_stderr():
            wp.init()
        modules = [wp.get_module(module.__name__) for module in (*own, featherstone)]
        cold = [module for module in modules if not _compiled(module, device)]
        if cold:
            print("Compiling the locomotion simulator, once on this machine: about half a minute.", flush=True)
            with progress("Compile", len(cold)) as shown:
                for module in cold:
                    wp.load_module(module, device=device)
                    shown.advance()
        _ready.add(device)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Without a GPU driver, Warp's native code writes to stderr at every log level."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _compiled(module: wp.Module, device: str) -> bool:
    block = 1 if device == "cpu" else None
    return (Path(wp.config.kernel_cache_dir) / module.get_module_identifier(block_dim=block)).is_dir()
