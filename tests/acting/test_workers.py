"""The same results from any number of processes, and a clear end when one of them fails."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pwm.acting.environments import Table
from pwm.acting.rollout import run_episodes
from pwm.acting.workers import Workers, count_cores
from pwm.runtime.errors import PWMError
from pwm.tasks.registry import get_task
from tests.acting import odd_tasks
from tests.toys import toy_task, travelling_task

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("returns", "lengths", "success", "success_any")


def act(observations):
    weights = np.random.default_rng(0).normal(size=(observations.shape[-1], 2))
    return np.tanh(np.einsum("neo,oa->nea", observations, weights)).astype(np.float32)


def workers(count, environments=16, observation_dim=6):
    return Workers(count, Table.size(environments, observation_dim, 2))


def processes_of(pool):
    return [worker._process for worker in pool._others]


def same(a, b):
    pairs = [(getattr(a, name), getattr(b, name)) for name in NAMES]
    return all(x is y is None or x.tobytes() == y.tobytes() for x, y in pairs)


@pytest.fixture(scope="module")
def two():
    with workers(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def three():
    with workers(3) as pool:
        yield pool


def test_the_simulator_in_any_number_of_processes(two, three):
    specs = [get_task("cartpole-swingup"), get_task("reacher-easy")]
    seeds = np.array([[5, 6, 7], [5, 8, 9]])
    seen = []

    def watch(observations):
        seen.append(observations.tobytes())
        return act(observations)

    alone = run_episodes(specs, watch, seeds)
    assert len(np.unique(alone.returns)) > 3 and (alone.lengths == 500).all()
    first, seen = seen, []
    for pool in (workers(0), workers(1), two, three):
        assert same(alone, run_episodes(specs, watch, seeds, None, None, pool))
        assert seen == first and len(set(seen)) == 500  # every bit of every observation
        seen.clear()
        for n, spec in enumerate(specs):  # other groups in the same processes
            part = run_episodes([spec], act, seeds[n : n + 1, 1:], None, 6, pool)
            assert part.returns.tobytes() == np.ascontiguousarray(alone.returns[n : n + 1, 1:]).tobytes()
    assert len(processes_of(two)) == 1 and len(processes_of(three)) == 2


def test_success_comes_from_there_too(two):
    specs, seeds = [travelling_task("a"), travelling_task("b", 9)], [[1, 2, 3], [4, 5, 6]]
    alone = run_episodes(specs, act, seeds)
    assert 0 < alone.success.sum() < alone.success_any.sum()
    assert same(alone, run_episodes(specs, act, seeds, None, None, two))


def test_no_process_starts_where_none_is_needed():
    with workers(4) as pool:
        run_episodes([travelling_task("a")], act, [[1]], None, None, pool)
        run_episodes([toy_task()], act, [[1, 2]], None, None, pool)
        assert processes_of(pool) == []
    assert workers(1).count == 1 and count_cores() >= 1


def test_a_task_that_cannot_travel_stays_here(two, capsys):
    here = [
        toy_task("a-closure"),
        travelling_task("known-here", make=partial(odd_tasks.make_here_alone, 6)),
        travelling_task("read-here", make=odd_tasks.OnlyHere()),
    ]
    specs, seeds = [*here, travelling_task("d")], np.arange(16).reshape(4, 4)
    alone = run_episodes(specs, act, seeds)
    assert same(alone, run_episodes(specs, act, seeds, None, None, two))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and sorted(line.split()[1] for line in lines) == sorted(spec.id for spec in here)
    assert all("runs in this process alone; a worker process cannot build it" in line for line in lines)
    assert any("RuntimeError: known to the leader alone" in line for line in lines)
    assert same(alone, run_episodes(specs, act, seeds, None, None, two)) and capsys.readouterr().out == ""


@pytest.mark.parametrize("count", [0, 2])
def test_an_environment_that_raises_is_named(count):
    specs = [travelling_task("good"), travelling_task("broken", trouble=odd_tasks.raise_at_three)]
    with workers(count) as pool:
        pattern = (
            r"broken: its environment failed at step 3 in the episode with seed 1[12] .ValueError: the arm fell off"
        )
        with pytest.raises(PWMError, match=pattern) as caught:
            run_episodes(specs, act, [[1, 2], [11, 12]], None, None, pool)
        assert "odd_tasks.py" in str(caught.value) and "\n" not in str(caught.value)
        assert processes_of(pool) == []


@pytest.mark.parametrize(("trouble", "how"), [("die_elsewhere", "signal 9"), ("leave_elsewhere", "exit code 7")])
def test_a_process_that_dies_is_named(trouble, how):
    specs = [travelling_task("good"), travelling_task("deadly", trouble=getattr(odd_tasks, trouble))]
    with workers(2) as pool:
        # Every second environment is there: the deadly one with seed 12.
        with pytest.raises(PWMError, match=rf"^deadly, episode with seed 12: the worker process died \({how}\); use"):
            run_episodes(specs, act, [[1, 2], [11, 12]], None, None, pool)


def test_a_policy_that_fails_ends_the_processes():
    with workers(2) as pool:

        def fail(observations):
            started.extend(processes_of(pool))
            raise ZeroDivisionError

        started = []
        with pytest.raises(ZeroDivisionError):
            run_episodes([travelling_task("a")], fail, [[1, 2]], None, None, pool)
        assert len(started) == 1 and not started[0].is_alive()


PROGRAM = """
import sys
sys.path[:0] = {path!r}
print("begin", flush=True)  # at the top level: a process that ran this program again would print it again
import numpy as np
from pwm.acting.environments import Table
from pwm.acting.rollout import run_episodes
from pwm.acting.workers import Workers
from tests.acting import odd_tasks
from tests.toys import travelling_task
def announce(steps):
    print("pids", *(w._process.pid for w in pool._others), flush=True) if steps == 2 else None
with Workers(3, Table.size(6, 3, 2)) as pool:
    spec = travelling_task("slow", {length}, trouble=odd_tasks.sleep)
    act = lambda observations: np.zeros((*observations.shape[:2], 2))
    print(run_episodes([spec], act, [[1, 2, 3, 4, 5, 6]], announce, None, pool).lengths.tolist())
"""


def start(tmp_path, length):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(path=[str(ROOT), str(ROOT / "src")], length=length))
    environment = {k: v for k, v in os.environ.items() if k != "PWM_TEST_LEADER"}
    return subprocess.Popen(
        [sys.executable, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job inherits an ignored one
    )


def alive(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def test_a_program_without_a_guard_runs_once(tmp_path):
    output, errors = start(tmp_path, 4).communicate(timeout=300)
    assert output.splitlines()[0] == "begin" and output.count("begin") == 1
    assert output.splitlines()[-1] == "[[4, 4, 4, 4, 4, 4]]" and errors == ""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_leaves_no_process_behind(tmp_path, how):
    program = start(tmp_path, 100_000)
    assert program.stdout.readline() == "begin\n"
    pids = [int(pid) for pid in program.stdout.readline().split()[1:]]
    assert len(pids) == 2 and all(map(alive, pids))
    if how == signal.SIGINT:
        os.killpg(program.pid, signal.SIGINT)  # Ctrl-C reaches the whole group
    else:
        program.kill()
    _, errors = program.communicate(timeout=300)
    deadline = time.monotonic() + 120
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))
    # The leader's own KeyboardInterrupt is the only complaint.
    assert errors.count("Traceback") == (how == signal.SIGINT) and program.returncode == -how


def test_processes_need_no_torch():
    code = "import sys, pwm.acting.workers; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")})


def test_wrong_counts_are_named():
    with pytest.raises(PWMError, match="workers is -1: pass 0"):
        Workers(-1, 0)


def test_a_table_is_the_same_memory_for_all():
    buffer = bytearray(Table.size(6, 5, 2))
    one, other = (Table((2, 3), 5, 2, buffer) for _ in range(2))
    one.clear()
    one.actions[1, 2] = [0.5, -0.5]
    one.observations[:] = 7
    assert other.actions[1, 2].tolist() == [0.5, -0.5] and not other.running.any() and np.isnan(other.success).all()
    assert (other.returns == 0).all() and other.lengths.shape == (2, 3) and other.observations.shape == (2, 3, 5)
    assert all(getattr(one, name).ctypes.data % 8 == 0 for name in ("returns", "observations", "success_any"))
    with pytest.raises(ValueError, match="buffer"):
        Table((4, 4), 5, 2, buffer)
