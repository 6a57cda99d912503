"""The rooms of the house import one way, down: each may use the rooms before it in ORDER, and the leaves.

The leaves are `runtime`, and `nn`, `tasks` and `learning`, which may use `runtime` (`learning` also `nn`). Every import
counts, also those inside functions, under TYPE_CHECKING, relative ones and `importlib.import_module("pwm...")` with a
literal name.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "pwm"
ORDER = ("data", "acting", "world_model", "agents", "evaluation", "report", "pipeline", "experiments", "cli")
LEAVES = {"runtime": set(), "nn": {"runtime"}, "tasks": {"runtime"}, "learning": {"runtime", "nn"}}
ALLOWED = LEAVES | {room: set(ORDER[:i]) | set(LEAVES) for i, room in enumerate(ORDER)}


def module_names(source: Path) -> dict[str, Path]:
    """Dotted name -> file for every module below `source`; a package goes by its own name."""
    names = {}
    for path in sorted(source.rglob("*.py")):
        parts = (source.name, *path.relative_to(source).with_suffix("").parts)
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imported_names(name: str, path: Path) -> set[tuple[str, int]]:
    """(dotted name, line) of everything that module `name` imports, each `from a import b` as `a.b`."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            found |= {(alias.name, node.lineno) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            found |= {(f"{base}.{alias.name}", node.lineno) for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            literal = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
            if isinstance(literal, str) and literal:
                found.add((literal, node.lineno))
    return found


def violations(source: Path) -> list[str]:
    """Every import against the direction, every room without a rule, every cycle among modules."""
    modules = module_names(source)
    root, wrong, graph = source.name, [], {name: set() for name in modules}
    for name, path in modules.items():
        room = name.split(".")[1] if "." in name else None
        if room is not None and room not in ALLOWED and room != "__main__":
            wrong.append(f"{path}: no rule places '{room}' in the house")
            continue
        for target, line in imported_names(name, path):
            parts = target.split(".")
            if parts[0] != root or len(parts) > 1 and parts[1].startswith("__"):
                continue
            known = list(parts)
            while ".".join(known) not in modules:
                known.pop()
            if len(known) > 1 or name == root:
                graph[name].add(".".join(known))
            if room is None or room == "__main__":
                continue  # the front door may show any room
            if len(known) == 1 and parts[1:2] and parts[1] not in ALLOWED:
                wrong.append(f"{path}:{line}: '{target}' goes through the front door; import from the room itself")
            elif len(parts) > 1 and parts[1] != room and parts[1] not in ALLOWED[room]:
                wrong.append(f"{path}:{line}: {room} must not import {parts[1]} ({target})")
    return wrong + [f"import cycle: {' -> '.join(cycle)}" for cycle in cycles(graph)]


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """One closed walk for every back edge met in a depth-first search."""
    done, found = set(), []

    def visit(node: str, trail: list[str]) -> None:
        if node in trail:
            found.append([*trail[trail.index(node) :], node])
        elif node not in done:
            for following in sorted(graph[node] - {node}):
                visit(following, [*trail, node])
            done.add(node)

    for start in sorted(graph):
        visit(start, [])
    return found


def test_imports_go_one_way():
    assert violations(SOURCE) == []


def plant(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "pwm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    (folder / "pwm" / "__init__.py").touch()
    return folder / "pwm"


STORE = {"data/store.py": "x = 1\n", "runtime/files.py": "y = 1\n", "agents/fleet.py": "z = 1\n"}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("data/a.py", "from pwm.agents.fleet import z\n", "data must not import agents"),
        ("data/a.py", "from pwm.agents import fleet\n", "data must not import agents"),
        ("data/a.py", "from pwm import agents\n", "data must not import agents"),
        ("data/a.py", "import pwm.agents.fleet as f\n", "data must not import agents"),
        ("data/a.py", "from ..agents import fleet\n", "data must not import agents"),
        ("data/a.py", "def f():\n    from pwm.agents.fleet import z\n", "a.py:2: data must not import agents"),
        ("data/a.py", "import importlib\nimportlib.import_module('pwm.agents.fleet')\n", "must not import agents"),
        ("runtime/a.py", "from pwm.data.store import x\n", "runtime must not import data"),
        ("nn/a.py", "from pwm.data.store import x\n", "nn must not import data"),
        ("data/a.py", "from pwm import EpisodeStore\n", "front door"),
        ("attic/a.py", "x = 1\n", "no rule places 'attic'"),
        ("data/store.py", "def f():\n    from pwm.data.b import x\n", "import cycle: pwm.data.b -> pwm.data.store"),
    ],
)
def test_the_checker_sees_a_violation(tmp_path, file, text, message):
    source = plant(tmp_path, STORE | {"data/b.py": "from pwm.data.store import x\n"} | {file: text})
    assert any(message in line for line in violations(source)), violations(source)


def test_the_checker_lets_good_imports_pass(tmp_path):
    good = "import json\nfrom ..data.store import x\nfrom pwm import __version__\nfrom pwm.runtime import files\n"
    source = plant(tmp_path, STORE | {"agents/good.py": good, "nn/good.py": "import pwm.runtime.files\n"})
    (source / "__init__.py").write_text("__version__ = '0'\ndef f():\n    from pwm.agents import good\n")
    assert violations(source) == []
