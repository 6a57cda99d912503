"""`pwm.finetune`: a run's world model and policies go on learning from real episodes, also of new tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pwm.acting.policy_file import DeployedPolicy
from pwm.agents.online.config import LEARNING, TRAINING, OnlineConfig
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.resume import trained_members
from pwm.data.growing import GrowingStore
from pwm.data.store import EpisodeStore, open_store
from pwm.pipeline.online import Play, Start, online
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.lock import alone
from pwm.runtime.run_folder import read_run_file
from pwm.runtime.stopwatch import Stopwatch
from pwm.tasks.registry import get_task
from pwm.world_model.config import PretrainConfig
from pwm.world_model.extend import extended
from pwm.world_model.files import load_world_model


@alone("out")
def finetune(
    run: PathLike,
    out: PathLike,
    tasks: Sequence[str] = (),
    config: OnlineConfig | None = None,
    data: EpisodeStore | None = None,
    seeds: Sequence[int] = (0,),
    device: torch.device | str = "auto",
    *,
    training: PretrainConfig = TRAINING,
    learning: PolicyConfig = LEARNING,
    play: Play | None = None,
    command: str | None = None,
    clock: Stopwatch | None = None,
) -> list[DeployedPolicy]:
    """`pwm.online`, beginning with the world model and the policies of a run (paper: "optionally fine-tune").

    A task that the model has never seen gets an embedding, which starts as that of the known task whose rewards
    predict its own best, and learns. Policies of the same task and seed go on; others begin anew.

    Args:
        run: a run folder with a world model: pre-trained, learned on line, or imported from TD-MPC2.
        out: folder of the new run.
        tasks: what to learn; all tasks of the run's policies by default.
        data: logs to begin with; by default those that the run names, where they are still there.
        config, seeds, device, training, learning, play: see `pwm.online`.

    Raises:
        PWMError: `run` has no world model, `out` is `run`, or see `pwm.online`.
    """
    if Path(out).resolve() == Path(run).resolve():
        raise PWMError(f"{out}: is the run itself; name another folder")
    model = load_world_model(run)
    policies, settings = trained_members(run)
    tasks = list(dict.fromkeys(tasks or [task for task, _ in policies]))
    if not tasks:
        raise PWMError(f"{run}: has no policies, so name the tasks to learn; its world model knows {model.tasks}")
    if policies:
        units = {name: tuple(settings[name]) for name in ("actor_units", "critic_units")}
        learning = replace(learning, critics=settings["critics"], reward_space=settings["reward_space"], **units)
    data = data or _data_of(run, tasks)
    again = {"training": training, "learning": learning, "play": play, "clock": clock}
    new = tuple(task for task in tasks if task not in model.tasks)
    start = Start(extended(model, [get_task(task) for task in tasks]), new, policies)
    return online(tasks, out, config, data=data, seeds=seeds, device=device, start=start, command=command, **again)


def _data_of(run: PathLike, tasks: Sequence[str]) -> EpisodeStore | None:
    """The episodes of these tasks that a run was trained on, where they are still there."""
    path, grown = read_run_file(run).get("data", {}).get("path"), Path(run) / "data"
    if (grown / "segment-000000").is_dir():
        known = open_store(grown / "segment-000000").tasks
        specs = [get_task(task) for task in tasks if task in known]
        return GrowingStore(grown, specs).upto() if specs else None
    if path is None:
        return None
    try:
        known = open_store(path).tasks
    except PWMError as error:
        print(f"Data of {run}: not used ({error})")
        return None
    chosen = [task for task in tasks if task in known]
    return open_store(path, chosen, verify=True) if chosen else None
