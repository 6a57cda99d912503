"""The documents keep pace with the code: settings exist, commands are the recipe's, examples are the tested ones."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from pwm.agents.pwm.config import PRESETS, PolicyConfig
from pwm.cli.evaluate import Evaluate
from pwm.cli.learn import Learn
from pwm.cli.parse import parse
from pwm.cli.pretrain import Pretrain
from pwm.pipeline.recipe import RECIPES
from pwm.world_model.config import PretrainConfig, WorldModelConfig, world_model_size

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def readme_command(name: str) -> list[str]:
    """The arguments of `pwm name` where the README shows the quickstart step by step."""
    [block] = [block for block in blocks((ROOT / "README.md").read_text(), "bash") if "pwm pretrain" in block]
    lines = block.replace("\\\n", " ").splitlines()
    [found] = [line for line in lines if line.startswith(f"pwm {name} ")]
    return shlex.split(found)[2:]


def flags(used: object, default: object) -> str:
    """What the README's command has to say for these settings; shown where it says something else."""
    words = []
    for field in dataclasses.fields(used):  # type: ignore[arg-type]
        value, name = getattr(used, field.name), field.name.replace("_", "-")
        if value != getattr(default, field.name):
            values = value if isinstance(value, tuple) else () if value is True else (value,)
            words += [f"--{name}" if value is not False else f"--no-{name}", *map(str, values)]
    return " ".join(words)


def test_the_steps_of_the_readme_are_the_quickstart():
    recipe = RECIPES["quickstart"]
    arguments = readme_command("pretrain")
    size = world_model_size(arguments[arguments.index("--size") + 1])
    pretrain = parse(Pretrain, "pretrain", arguments, model=size)
    assert pretrain.model == recipe.model, flags(recipe.model, size)
    assert pretrain.training == recipe.pretrain, flags(recipe.pretrain, PretrainConfig())
    assert (ROOT / pretrain.data / "manifest.json").is_file()
    learn = parse(Learn, "learn", readme_command("learn"))
    assert learn.learning == recipe.policy, flags(recipe.policy, PolicyConfig())
    assert learn.world_model == pretrain.out
    evaluate = parse(Evaluate, "evaluate", readme_command("evaluate"))
    assert (evaluate.run, evaluate.seed) == (pretrain.out, pretrain.seed)
    assert (evaluate.episodes, evaluate.film_seconds) == (recipe.episodes, recipe.film_seconds)


def test_the_readme_shows_the_tested_example():
    code = "".join(blocks((ROOT / "README.md").read_text(), "python"))
    example = (ROOT / "examples" / "fifteen_lines.py").read_text().splitlines()[1:]
    for line in example:
        if not line.startswith(("import sys", "run, updates =")):
            assert line in code


def test_the_configuration_page_names_fields_that_exist():
    known = {f.name for config in (WorldModelConfig, PretrainConfig, PolicyConfig) for f in dataclasses.fields(config)}
    rows = [line.split("|") for line in CONFIGURATION.splitlines() if line.startswith("| ")]
    named = {name for row in rows for cell in row[1:3] for name in re.findall(r"`(\w+)`", cell)}
    named -= {"WorldModelConfig", "PretrainConfig", "PolicyConfig", "as_paper", "as_published"}
    assert len(named) > 30 and named <= known


def test_the_configuration_page_tells_every_departure():
    default = dataclasses.asdict(PolicyConfig())
    for name, preset in PRESETS.items():
        for field, value in dataclasses.asdict(preset).items():
            assert value == default[field] or f"`{field}`" in CONFIGURATION, (name, field)
    recipe = RECIPES["quickstart"]
    for used, paper in ((recipe.pretrain, PretrainConfig()), (recipe.policy, PolicyConfig())):
        for field in dataclasses.fields(used):
            assert getattr(used, field.name) == getattr(paper, field.name) or f"`{field.name}`" in CONFIGURATION


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_lead_to_code(page):
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", page.read_text())
    folders = ("src", "tests", "benchmarks", "examples")
    known = [path.as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in known)] == []


def test_the_architecture_page_names_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rooms = [folder.name for folder in (ROOT / "src" / "pwm").iterdir() if (folder / "__init__.py").exists()]
    assert [room for room in rooms if f"**{room}" not in page] == []
