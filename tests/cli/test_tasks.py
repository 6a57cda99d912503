"""`pwm tasks`."""

import json
import subprocess
import sys

from pwm.tasks import registry

HEAVY = ("torch", "mujoco", "dm_control", "metaworld", "newton", "warp")


def rows(text):
    """The cells of every line that shows a task."""
    return [line.split() for line in text.splitlines() if line.startswith("  ")][1:]


def test_every_task_is_listed_once_as_it_is(pwm):
    outcome = pwm("tasks")
    assert (outcome.code, outcome.err) == (0, "")
    specs = [registry.get_task(id) for id in registry.list_tasks()]
    expected = [
        [s.id, *map(str, (s.observation_dim, s.action_dim, s.episode_length, s.action_repeat)), s.score] for s in specs
    ]
    assert sorted(rows(outcome.out)) == sorted(expected)
    assert f"{len(specs)} tasks; all sets: mt30-stock (19), mt30 (30)" in outcome.out


def test_a_part_of_a_name_and_a_set_narrow_it(pwm):
    listed = lambda *arguments: [row[0] for row in rows(pwm("tasks", *arguments).out)]  # noqa: E731
    assert listed("Walker", "--set", "mt30-stock") == ["walker-stand", "walker-walk", "walker-run"]
    assert listed("double", "anymal") == ["anymal", "double-pendulum"]
    assert listed("--set", "locomotion") == [spec.id for spec in registry.task_set("locomotion")]
    assert "\nlocomotion:\n" in pwm("tasks", "anymal").out and "\n1 task; " in pwm("tasks", "anymal").out


def test_json_has_all_facts(pwm):
    assert json.loads(pwm("tasks", "cup-c", "--json").out) == [
        registry.get_task("cup-catch").as_dict() | {"sets": ["mt30-stock", "mt30", "mt80"]}
    ]


def test_tasks_of_one_s_own_are_there(pwm):
    """The toy tasks that the tests register are in no set."""
    assert "\nin no set:\n  toy-a " in pwm("tasks", "toy").out


def test_what_is_not_there(pwm):
    assert pwm("tasks", "nix").err == "pwm: no task has nix in its name; pwm tasks lists all\n"
    outcome = pwm("tasks", "--set", "mt31")
    assert outcome.code == 2 and "unknown task set 'mt31'; did you mean mt30" in outcome.err


def test_it_imports_no_simulator():
    code = (
        f"import sys; from pwm.cli.main import main; main(['tasks']); print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
