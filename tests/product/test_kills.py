"""Twenty SIGKILLs of each long command, and the same command until it ends: the same files as if nothing had happened.

Half of the kills come at a random moment, the other half as the command begins a random change of a file.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from tests.commands import FAST, FAST_POLICY
from tests.product.forked import changes_of, start
from tests.stores import random_store
from tests.toys import LENGTH, SIZES

KILLS = 20
PRETRAIN = ["pretrain", "--data", "store", "--out", "run", "--size", "tiny", *FAST, "--updates", "40"]
LEARN = ["learn", "--world-model", "run", "--seeds", "2", "--fleet", "2", *FAST_POLICY, "--updates", "16"]
EVALUATE = ["evaluate", "run", "--episodes", "40", "--film-seconds", "1"]
ONLINE = (
    "online --tasks toy-a toy-b --out run --seeds 2 --episodes 10 --episodes-per-round 2 --random-episodes 2 "
    "--first-model-updates 4 --first-policy-updates 3 --model-updates 0.2 --policy-updates 0.2 --recent-episodes 4 "
    "--evaluate-every 4 --evaluation-episodes 2 --training.batch-size 8 --training.horizon 4 --learning.batch-size 4 "
    "--learning.horizon 3 --learning.actor-units 8 --learning.critic-units 8 --model.units 16 16"
).split()
FINETUNE = ["finetune", "run", "--out", "more", *ONLINE[ONLINE.index("--episodes") : ONLINE.index("--model.units")]]
COLLECT = "data collect --tasks toy-a toy-b --policy random --episodes 300 --workers 1 --out new".split()
COMMANDS = {"pretrain": PRETRAIN, "learn": LEARN, "evaluate": EVALUATE}
COMMANDS |= {"online": ONLINE, "finetune": FINETUNE, "collect": COLLECT}
BEFORE = {"learn": [PRETRAIN], "evaluate": [PRETRAIN, LEARN], "finetune": [ONLINE]}
TIMES = ("created", "used")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_twenty_kills_change_nothing(name, tmp_path):
    folder, said = tmp_path / "here", tmp_path / "said"
    random_store(folder / "store", SIZES, [LENGTH] * 12, action_repeat=1)
    for arguments in (["--version"], *BEFORE.get(name, [])):  # the first starts the server
        assert finish(arguments, folder, said) == 0, said.read_text()
    shutil.copytree(folder, tmp_path / "before")
    begun = time.perf_counter()
    assert finish(COMMANDS[name], folder, said) == 0, said.read_text()
    seconds, changes = time.perf_counter() - begun, changes_of(said)
    wanted = final_files(folder)
    random, killed = np.random.default_rng(list(COMMANDS).index(name)), 0
    while killed < KILLS:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "before", folder)
        code = None
        while code != 0:
            at_change, share = killed % 2 == 0, random.random()
            die_at = 1 + int(share * changes) if at_change and killed < KILLS else None
            process = start(COMMANDS[name], folder, said, die_at)
            process.join(share * seconds if die_at is None and killed < KILLS else 120)
            process.kill()
            process.join()
            code = process.exitcode
            assert code in (0, -signal.SIGKILL), said.read_text()
            killed += code != 0
        found = final_files(folder)
        assert found.keys() == wanted.keys()
        assert [path for path in wanted if found[path] != wanted[path]] == []


def finish(arguments, folder, said) -> int | None:
    process = start(arguments, folder, said)
    process.join()
    return process.exitcode


def final_files(folder: Path) -> dict[str, Any]:
    """Relative path -> content without times, of all files but TensorBoard's, of which there may be any number."""
    paths = sorted(path for path in folder.rglob("*") if not path.name.startswith("events.out.tfevents"))
    return {str(path.relative_to(folder)): content(path) for path in paths}


def content(path: Path) -> Any:
    if path.is_dir() or path.name == "clock.json":
        return None
    if path.suffix == ".json":
        return timeless(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [timeless(json.loads(line)) for line in path.read_text().splitlines()]
    if path.name == "online.safetensors":  # its description has seconds
        with safe_open(path, "numpy") as file:
            tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
            return timeless(json.loads(file.metadata()["pwm"])), tensors
    return path.read_bytes()


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: timeless(x) for name, x in value.items() if name not in TIMES and "seconds" not in name}
    return value
