"""The experiments by name: runs one, and writes its numbers and its page."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Any, Protocol

from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, read_json, write_atomic, write_json

EXPERIMENTS = {
    "quickstart": "the quickstart over three seeds (6 minutes)",
    "recipe": "what the parts of the quickstart's recipe contribute (10 minutes)",
    "precision": "the quickstart in bfloat16 and float32 (half an hour)",
    "locomotion": "SHAC, PPO and SAC on Ant and Hopper (5 hours)",
    "locomotion_gradients": "gradients of the locomotion tasks and finite differences (7 minutes)",
}
"""Name of a module of this package that is an `Experiment` -> its question, with the time on two cores."""


class Experiment(Protocol):
    """The interface of an experiment's module. One with a picture also has `draw(record) -> bytes` (PNG)."""

    def run(self, runs: Path, tiny: bool) -> dict[str, Any]:
        """Run what is missing in folders below `runs`, at toy size if `tiny`; returns JSON-serialisable numbers."""

    def render(self, record: dict[str, Any]) -> str:
        """The page about the numbers, in Markdown."""


def find_experiment(name: str) -> Experiment:
    """The module of an experiment. Raises PWMError for an unknown name."""
    if name not in EXPERIMENTS:
        close = difflib.get_close_matches(name, EXPERIMENTS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(EXPERIMENTS)}"
        raise PWMError(f"{name}: no such experiment; {hint}")
    module: Any = importlib.import_module(f"pwm.experiments.{name}")
    return module


def reproduce(name: str, out: PathLike, runs: PathLike, tiny: bool = False) -> Path:
    """Run an experiment, write `out/NAME.json` and render it; returns the path of the page. The same call resumes."""
    record = find_experiment(name).run(Path(runs), tiny)
    write_json(Path(out) / f"{name}.json", record)
    return render(name, out)


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
