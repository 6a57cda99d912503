"""docs/tasks.md agrees with the registry."""

import re
from pathlib import Path

import pwm.tasks.dm_control as dm_control
from pwm.tasks.registry import list_task_sets, task_set

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "tasks.md").read_text()


def rows(title):
    """The cells of the first table of a section, without its two head lines."""
    section = TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_task_of_mt80_is_listed_as_it_is():
    suite = {row[0]: f"suite: {row[1]}/{row[2]}" for row in dm_control._STOCK}
    expected = []
    for number, spec in enumerate(task_set("mt80")):
        sizes = (spec.observation_dim, spec.action_dim, spec.episode_length, spec.action_repeat)
        origin = suite.get(spec.id, f"Meta-World: {spec.id[3:]}-v3" if number >= 30 else "custom, see below")
        expected.append([str(number), spec.id, *map(str, sizes), spec.score, origin])
    assert rows("The 80 tasks") == expected


def test_every_custom_task_has_its_reward():
    named = [task for row in rows("The custom tasks") for task in row[0].split(", ")]
    assert named == [spec.id for spec in task_set("mt30")[19:]]


def test_every_multi_task_set_is_listed_as_it_is():
    listed = {}
    for name, tasks, observation, action in rows("Sets"):
        first, last = map(int, re.match(r"ids (\d+) to (\d+)", tasks).groups())
        listed[name.strip("`")] = (first, last, int(observation), int(action))
    ids = [spec.id for spec in task_set("mt80")]
    for name, (first, last, observation, action) in listed.items():
        specs = task_set(name)
        assert [spec.id for spec in specs] == ids[first : last + 1]
        assert max(spec.observation_dim for spec in specs) == observation
        assert max(spec.action_dim for spec in specs) == action
    assert {"mt30-stock", "mt30", "metaworld-50", "mt80"} == set(listed) <= set(list_task_sets())
