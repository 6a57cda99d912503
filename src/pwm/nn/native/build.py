"""Compiles the C files of this folder once per machine and loads them.

A C compiler is not required: without one, or with `PWM_NATIVE=0`, PyTorch operations are used instead, which are slower
and round differently. `run.json` records which of them a step used on a CPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from pwm.runtime.errors import PWMError
from pwm.runtime.files import write_atomic

_SOURCES = sorted(Path(__file__).parent.glob("*.c"))
_HEADERS = sorted(Path(__file__).parent.glob("*.h"))
BLOCK = 32
"""Rows whose share of a column sum is formed in one go; room for the shares is made by the callers."""
CHUNK = 8192
"""Entries whose share of a gradient's norm is formed in one go."""
MOST_LAYERS = 16
"""Of a network that `regress` takes."""
_CONSTANTS = (f"-DBLOCK={BLOCK}", f"-DCHUNK={CHUNK}", f"-DMOST={MOST_LAYERS}")
_FLAGS = (*_CONSTANTS, "-std=gnu11", "-O3", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")
_TARGET = ("-march=native", "-mprefer-vector-width=512") if platform.machine() == "x86_64" else ("-mcpu=native",)
# Without AVX-512, vectors are kept in memory; loads stall if the copy before them was made in smaller pieces.
_COPIES = ("-mmove-max=256", "-mstore-max=256") if platform.machine() == "x86_64" else ()
_P, _I, _N, _F = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float
_SIGNATURES = {
    "mish_norm": (_P, _I, _P, _N, _N, _N, _P, _I, _P, _P, _I),
    "mish_norm_backward": (_P, _I, _P, _I, _P, _P, _P, _N, _N, _N, _P, _I, _P, _P, _I),
    "norm_act": (_P, _I, _P, _N, _N, _P, _P, _N, _N, _N, _P, _I, _P, _P, _I),
    "norm_act_backward": (_P, _I, _P, _I, _P, _N, _N, _P, _P, _N, _P, _P, _N, _N, _P, _I, _P, _P, _P, _I),
    "fold": (_P, _P, _P, _P, _N, _N, _N, _P, _I, _P, _I),
    "fold_backward": (_P, _I, _P, _P, _P, _P, _N, _N, _N, _P, _P, _P, _I),
    "clip_adam": (_N, *(_P,) * 8, _N, _F, _F, _F, _F, _P, _P, _I),
    "multiplies_bfloat16": (),
    "packed_words": (_N, _N, _N),
    "pack_factor": (_P, _I, _N, _N, _N, _I, _P, _I),
    "multiply_packed": (_P, _P, _N, _N, _N, _N, _P, _I, _I),
    "regress_room": (_N, _N, _N, _N, _P, _I),
    "regress": (_P, _P, _P, _N, _N, _N, _N, _P, _P, _P, _I, _P, _P, _I),
}
_RESULTS = {"multiplies_bfloat16": _I, "packed_words": _N, "regress_room": _N}


def kernels() -> ctypes.CDLL | None:
    """The compiled kernels, or None if there are none; `why_not` gives the reason."""
    return _load()[0]


def why_not() -> str:
    """Why there are no compiled kernels; empty if there are."""
    return _load()[1]


def description(device: torch.device | str) -> dict[str, str]:
    """Entry for the "versions" of a step on this device, since kernels affect rounding."""
    if torch.device(device).type != "cpu":
        return {"kernels": "not used"}
    return {"kernels": f"none ({why_not()})" if why_not() else "compiled"}


@functools.cache
def _load() -> tuple[ctypes.CDLL | None, str]:
    if os.environ.get("PWM_NATIVE", "1") == "0":
        return None, "switched off by PWM_NATIVE=0"
    names = (os.environ.get("CC"), "cc", "gcc", "clang")
    compiler = next(filter(None, (shutil.which(name) for name in names if name)), None)
    if compiler is None:
        return None, "no C compiler (cc, gcc or clang) on this machine"
    try:
        library = _compiled(compiler)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        said = (said.decode(errors="replace") if isinstance(said, bytes) else said).strip().splitlines()
        told = next((line for line in said if "error" in line), said[-1] if said else repr(error))
        return None, f"{compiler} could not build them: {told}"
    for name, types in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = types, _RESULTS.get(name)
    return library, ""


def _has_openmp(version: str) -> bool:
    """Make PyTorch's OpenMP library visible to the kernels, since two such libraries in one process would compete for
    cores; returns whether it fits this compiler."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return False
    found = re.findall(r"(/\S*/lib(?:gomp|omp|iomp5)\b[^/\s]*\.so[^/\s]*)", maps)
    own = next((path for path in found if "/torch/lib/" in path), found[0] if found else "")
    if not own or ("clang" in version and "gomp" in own):
        return False
    ctypes.CDLL(own, mode=ctypes.RTLD_GLOBAL)
    return True


def _compiled(compiler: str) -> ctypes.CDLL:
    """The library for this source, compiler, processor and PyTorch, from the cache or newly compiled."""
    version = _run(compiler, "--version")
    flags = [*_FLAGS, *_TARGET, *(["-fopenmp"] if _has_openmp(version) else [])]
    key = "\n".join(
        [
            *(path.read_text() for path in (*_SOURCES, *_HEADERS)),
            *flags,
            *_COPIES,
            version,
            _processor(),
            torch.__version__,
        ]
    )
    name = f"kernels-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    kept = _cache(name)
    if kept is not None and _whole(kept):
        return ctypes.CDLL(str(kept))
    if "avx512" not in _processor() and _knows(compiler, _COPIES):
        flags += _COPIES
    with tempfile.TemporaryDirectory() as folder:
        made, out = [str(Path(folder) / f"{path.stem}.o") for path in _SOURCES], Path(folder) / name
        for source, part in zip(_SOURCES, made, strict=True):
            _run(compiler, *flags, "-c", str(source), "-o", part)
        # Linked without OpenMP, whose symbols PyTorch's library provides.
        _run(compiler, "-shared", *made, "-o", str(out), "-lm")
        if kept is not None:
            with contextlib.suppress(PWMError):  # it cannot be cached, but this process can use it
                content = out.read_bytes()
                write_atomic(kept, lambda file: file.write(content + hashlib.sha256(content).digest()))
                return ctypes.CDLL(str(kept))
        return ctypes.CDLL(str(out))


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True, timeout=300).stdout


def _knows(compiler: str, flags: Sequence[str]) -> bool:
    try:
        _run(compiler, *flags, "-fsyntax-only", "-xc", os.devnull)
    except subprocess.CalledProcessError:
        return False
    return True


def _whole(path: Path) -> bool:
    """Whether a cached library exists and ends with its own digest; loading a damaged one would crash the process."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-32]).digest() == content[-32:]


def _cache(name: str) -> Path | None:
    """Path of a library in the cache; None for a user without a home, since public folders are not safe."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pwm" / name
    except RuntimeError:
        return None


def _processor() -> str:
    """Identifies the instruction set, since different machines may share the cache."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
