"""bfloat16 beside float32 in the quickstart, by final scores over seeds: `run` trains, `collect` and `render` the page.

python docs/results/precision.py run bfloat16 0 runs/precision/bfloat16-0      # and float32, and seeds 1 and 2
python docs/results/precision.py collect runs/precision/*
python docs/results/precision.py render
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from pwm.cli import quickstart
from pwm.cli.recipe import RECIPES
from pwm.runtime.files import read_json, write_atomic, write_json

HERE = Path(__file__).parent
PRECISIONS = ("float32", "bfloat16")
EPISODES = 30


def run(precision: str, seed: str, out: str) -> None:
    """The quickstart with all products in one precision, on one thread."""
    whole = RECIPES["quickstart"]
    RECIPES[f"quickstart-{precision}"] = replace(
        whole,
        pretrain=replace(whole.pretrain, precision=precision),
        policy=replace(whole.policy, precision=precision),
        episodes=EPISODES,
    )
    options = ["--preset", f"quickstart-{precision}", "--seed", seed, "--out", out, "--no-films", "--threads", "1"]
    sys.exit(quickstart.main(options))


if __name__ == "__main__":
    {"run": run}[sys.argv[1]](*sys.argv[2:])
