"""Rules of the house that no single room can keep: files stay short, and nothing names a package-index host."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 450
UNLIMITED = {".lock", ".json", ".svg", ".html", ".csv"}
# Put together from pieces, or this file would be the first to break its own rule.
HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("python" + "hosted", "org"), ("download.pytorch", "org"))]
FORBIDDEN = re.compile("|".join([*map(re.escape, HOSTS), r"--(extra-)?index-url\s*[=\s]\s*\w", r"://[^\s/]*/simple\b"]))


def tracked_texts() -> dict[Path, str]:
    """Path -> text of every file that git tracks, or would on `git add`; files that are not UTF-8 text are left out."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    texts = {}
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        data = path.read_bytes() if path.is_file() else b"\0"
        if b"\0" not in data[:4096]:
            texts[path] = data.decode("utf-8", errors="replace")
    assert Path(__file__).resolve() in texts
    return texts


def test_no_file_names_a_package_index():
    found = [
        f"{path.relative_to(ROOT)}: {m[0]}" for path, text in tracked_texts().items() if (m := FORBIDDEN.search(text))
    ]
    assert found == []


def test_the_host_check_sees_a_host():
    assert all(FORBIDDEN.search(f"https://{host}/x") for host in HOSTS)
    assert FORBIDDEN.search("--index-url " + "https://mirror.example")
    assert FORBIDDEN.search("https://mirror.example" + "/simple")


def test_no_file_is_too_long():
    long = {
        str(path.relative_to(ROOT)): lines
        for path, text in tracked_texts().items()
        if path.suffix not in UNLIMITED and (lines := text.count("\n")) > MOST_LINES
    }
    assert long == {}


def test_the_lock_pins_everything_and_names_no_place():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert len(lines) > 30
    assert [line for line in lines if not re.match(r"[a-z0-9._-]+==[^\s;]+( ; .+)?$", line)] == []


def test_ci_runs_the_tests():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "make test" in (ROOT / ".ci" / "run").read_text()
