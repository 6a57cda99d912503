"""`pwm.import_checkpoint` and `pwm import-model`: imports a published checkpoint as the world model of a run."""

from __future__ import annotations

from collections.abc import Sequence

from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, sha256
from pwm.runtime.lock import alone
from pwm.runtime.progress import progress
from pwm.runtime.run_folder import read_run_file, record_step
from pwm.world_model.checkpoints.files import Checkpoint, read_checkpoint, save_heads
from pwm.world_model.files import save_world_model, world_model_path


@alone("out")
def import_checkpoint(
    file: PathLike, out: PathLike, tasks: Sequence[str] = (), command: str | None = None
) -> Checkpoint | None:
    """Convert a checkpoint to the run folder `out`: weights, heads if there are any, and run.json.

    If the import has finished before, returns None. Weights are written last, so an interrupted import starts over.
    `tasks` names the tasks of its embedding in order, if they are not a published set; `command` repeats the import,
    for run.json.

    Raises:
        PWMError: the file is unreadable, malicious, or not such a checkpoint, or `out` has another world model.
    """
    weights = world_model_path(out)
    before = read_run_file(out).get("config", {})
    if weights.exists():
        origin = before.get("import")
        same = isinstance(origin, dict) and origin.get("sha256") == sha256(file)
        if not same or (tasks and list(tasks) != origin.get("tasks")):
            raise PWMError(f"{out}: has a world model of another origin already; use another --out")
        return None
    if "pretrain" in before:
        raise PWMError(f"{out}: a world model is being pre-trained in it; use another --out")
    with progress("Import", 4) as bar:
        checkpoint = read_checkpoint(file, tasks, bar.advance)
        settings = {"import": checkpoint.about, "model": checkpoint.model.config}
        record_step(out, "import-model", settings, command=command)
        save_heads(out, checkpoint)
        bar.advance()
        save_world_model(weights, checkpoint.model)
        bar.advance()
    return checkpoint
