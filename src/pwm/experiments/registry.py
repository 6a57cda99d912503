"""The experiments by name: runs one, and writes its numbers and its page."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, read_json, write_atomic, write_json

EXPERIMENTS = {
    "quickstart": "the quickstart over three seeds (6 minutes)",
    "recipe": "what the parts of the quickstart's recipe contribute (10 minutes)",
    "precision": "the quickstart in bfloat16 and float32 (half an hour)",
    "online": "learning on line: single tasks, four at once, and what it is owed to (40 hours of one core)",
    "locomotion": "SHAC, PPO and SAC on Ant and Hopper (5 hours)",
    "locomotion_gradients": "gradients of the locomotion tasks and finite differences (7 minutes)",
}
"""Name of a module of this package that is an `Experiment` -> its question, with the time on two cores."""


class Experiment(Protocol):
    """The interface of an experiment's module. One with a picture also has `draw(record) -> bytes` (PNG).

    One of many hours may have `PARTS` (names), `missing(record)` (those not in the numbers yet), `run_part(part, runs,
    tiny)` and `add(record, part, numbers)` in place of `run`. Then the numbers are written after each part.
    """

    def run(self, runs: Path, tiny: bool) -> dict[str, Any]:
        """Run what is missing in folders below `runs`, at toy size if `tiny`; returns JSON-serialisable numbers."""

    def render(self, record: dict[str, Any]) -> str:
        """The page about the numbers, in Markdown."""


def find_experiment(name: str) -> Experiment:
    """The module of an experiment. Raises PWMError for an unknown name."""
    if name not in EXPERIMENTS:
        raise PWMError(f"{name}: no such experiment; {_choices(name, EXPERIMENTS)}")
    module: Any = importlib.import_module(f"pwm.experiments.{name}")
    return module


def reproduce(name: str, out: PathLike, runs: PathLike, tiny: bool = False, only: Sequence[str] = ()) -> Path:
    """Run an experiment, write `out/NAME.json` and render it; returns the path of the page. The same call resumes.

    Args:
        only: run these parts, again where they have numbers; by default all that have none. Others stay as they are.

    Raises:
        PWMError: there is no such experiment or part.
    """
    experiment, path = find_experiment(name), Path(out) / f"{name}.json"
    known = getattr(experiment, "PARTS", ())
    if wrong := [part for part in only if part not in known]:
        raise PWMError(f"--only {wrong[0]}: no such part of {name}; {_choices(wrong[0], known)}")
    if not known:
        write_json(path, experiment.run(Path(runs), tiny))
        return render(name, out)
    split: Any = experiment
    for part in only or split.missing(_numbers(path)):
        found = split.run_part(part, Path(runs), tiny)
        write_json(path, split.add(_numbers(path), part, found))  # read again: other parts may run at the same time
    return render(name, out)


def _numbers(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _choices(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"choose one of {', '.join(known) or 'none'}"


def render(name: str, out: PathLike) -> Path:
    """Render `out/NAME.json` to `out/NAME.md` and, if there is a picture, `out/NAME.png`; returns the page's path.

    A "note" that was added to the numbers by hand is shown below them.

    Raises:
        PWMError: the name is unknown, or the numbers are missing or damaged.
    """
    experiment, path = find_experiment(name), Path(out) / f"{name}.json"
    record = read_json(path)
    source = f"Rendered from [{path.name}]({path.name}) by `pwm reproduce {name} --render`."
    try:
        parts = [experiment.render(record), record.get("note", ""), source]
        picture = experiment.draw(record) if hasattr(experiment, "draw") else None
    except (LookupError, TypeError, AttributeError, ValueError, StopIteration) as error:
        raise PWMError(f"{path}: not the numbers of {name} ({error!r}); run `pwm reproduce {name}` again") from error
    page = "\n\n".join(part.strip() for part in parts if part) + "\n"
    write_atomic(path.with_suffix(".md"), lambda file: file.write(page.encode()))
    if picture is not None:
        write_atomic(path.with_suffix(".png"), lambda file: file.write(picture))
    return path.with_suffix(".md")
