"""`python -m benchmarks.pages [FOLDER]`: write the page of every file of numbers in a folder (docs/results)."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.pages import large_models, locomotion_speed, performance
from pwm.runtime.files import read_json, write_atomic

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
PAGES = {
    "performance": performance.page,
    "performance_one_thread": performance.page,
    "large_models": large_models.page,
    "locomotion_speed": locomotion_speed.page,
}
"""Name of a file of numbers -> the text of its page."""


def text(path: Path) -> str:
    """The page of one file of numbers. Raises PWMError where the file cannot be read."""
    return f"{PAGES[path.stem](read_json(path))}\nRendered from `{path.name}` by `python -m benchmarks.pages`.\n"


def main(folder: Path = RESULTS) -> None:
    """Write the pages of the files that are in `folder`."""
    for path in (folder / f"{name}.json" for name in PAGES):
        if path.exists():
            page = text(path)
            write_atomic(path.with_suffix(".md"), lambda file, page=page: file.write(page.encode()))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
