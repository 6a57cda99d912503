"""Steps environments in several processes, including this one.

The other processes are spawned (PyTorch's threads do not survive a fork), import no PyTorch, do not run the calling
program again, and only hold environments. Numbers are in shared memory; messages go through one pipe per process. A
process ends when its pipe closes, so none outlives this one, however it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from pwm.acting.environments import Environments, Index, Table, describe
from pwm.runtime.errors import PWMError
from pwm.tasks.spec import TaskSpec

MOST_WORKERS = 16
"""Limit of the automatic choice; a worker takes some hundred megabytes."""
FEW_STEPS = 20_000
"""Up to this many agent steps, starting more processes takes longer than it saves."""
_PATIENCE = 5.0  # seconds that a process gets to exit


def count_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_workers(asked: int | None, agent_steps: int) -> int:
    """Number of processes: `asked`, or if None one per core if there is enough work."""
    if asked is not None:
        return asked
    return 0 if agent_steps < FEW_STEPS else min(count_cores(), MOST_WORKERS)


def open_workers(asked: int | None, specs: Sequence[TaskSpec], environments: int, agent_steps: int) -> Workers:
    """`Workers` for groups of up to `environments` episodes of any of these tasks; see `choose_workers`."""
    widths = (max(spec.observation_dim for spec in specs), max(spec.action_dim for spec in specs))
    return Workers(min(choose_workers(asked, agent_steps), max(environments, 1)), Table.size(environments, *widths))


class Workers:
    """Steps groups of episodes, one after the other, in `count` processes including this one.

    A context manager; processes start with the first group that needs them, and end with the block. 0 and 1 start none.
    `capacity` is the largest group in bytes (`Table.size`).

    A task that cannot be sent to another process or built there stays in this one, and a printed line says so: its
    `make` may be a lambda, or defined in the calling program instead of an importable module.
    """

    def __init__(self, count: int, capacity: int) -> None:
        if count < 0:
            raise PWMError(f"workers is {count}: pass 0 for this process alone, or how many processes share the work")
        self.count, self._capacity = count, capacity
        self._others: list[_Worker] = []
        self._buffer: Any = None
        self._here: set[str] = set()
        self._own: Environments | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, specs: Sequence[TaskSpec], seeds: np.ndarray, observation_dim: int, action_dim: int) -> Table:
        """Make and reset the environments of N tasks x E episodes with `seeds` [N, E]; returns their table.

        Raises:
            PWMError: an environment cannot be made or reset, or a process died (naming task and seed).
        """
        payloads = [self._payload(spec) for spec in specs]
        indices = list(np.ndindex(*seeds.shape))
        if self.count > 1 and any(payloads) and not self._others and len(indices) > 1:
            self._start()
        shares: list[list[Index]] = [[] for _ in range(len(self._others) + 1)]
        shares[0] = [index for index in indices if not payloads[index[0]]]
        for index in indices:
            if payloads[index[0]]:
                min(shares, key=len).append(index)
        dims = (seeds.shape, observation_dim, action_dim)
        table = Table(*dims, self._buffer if self._others else None)
        table.clear()
        table.seeds[:] = seeds
        self._own = Environments(table, specs)
        for worker, share in zip(self._others, shares[1:]):
            worker.begin(dims, payloads, table.seeds, specs, share)
        self._own.add(shares[0])
        refused = [refusal for worker in self._others for refusal in worker.receive()]
        self._own.add(index for index, _ in refused)
        for index, reason in refused:
            self._keep_here(specs[index[0]].id, reason)
        self._own.reset()
        for worker in self._others:
            worker.wait()
        return table

    def step(self) -> None:
        """One step of every running episode, with the actions in the table. Raises PWMError as `begin` does."""
        self._everywhere("step")

    def reset(self) -> None:
        """Start the next episode, with its seed in the table, where none is running. Raises as `begin` does."""
        self._everywhere("reset")

    def _everywhere(self, what: str) -> None:
        assert self._own is not None
        for worker in self._others:
            worker.send(what)
        getattr(self._own, what)()
        for worker in self._others:
            worker.wait()

    def end(self) -> None:
        """Close the environments of the group; the processes are kept."""
        if self._own is not None:
            own, self._own = self._own, None
            own.close()
        for worker in self._others:
            worker.send("end")

    def close(self) -> None:
        """Close the environments and end the processes."""
        others, self._others = self._others, []
        for worker in others:
            worker.pipe.close()
        try:
            self.end()
        finally:
            for worker in others:
                worker.stop()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._buffer = context.RawArray("b", self._capacity)
        at = context.RawArray("q", self.count)
        with _no_interrupts(), _no_main_program():
            for place in range(1, self.count):
                self._others.append(_Worker(context, self._buffer, at, place))

    def _payload(self, spec: TaskSpec) -> bytes | None:
        """The pickled task; None if it has to stay in this process."""
        if self.count < 2 or spec.id in self._here:
            return None
        try:
            return pickle.dumps(spec)
        except Exception as error:  # pickle raises all kinds
            self._keep_here(spec.id, describe(error))
            return None

    def _keep_here(self, task: str, reason: str) -> None:
        if task not in self._here:
            self._here.add(task)
            print(f"Workers: {task} runs in this process alone; a worker process cannot build it ({reason})")


class _Worker:
    """Handle of another process."""

    def __init__(self, context: Any, buffer: Any, at: Any, place: int) -> None:
        self.pipe, theirs = context.Pipe()
        self._at, self._place = at, place
        self._describe = lambda: "no environment yet"
        self._process = context.Process(target=_work, args=(theirs, buffer, at, place), daemon=True)
        try:
            self._process.start()
        except (OSError, RuntimeError) as error:
            raise PWMError(f"no worker process could be started ({describe(error)}); use 0 workers") from error
        theirs.close()

    def begin(
        self,
        dims: tuple[Index, int, int],
        payloads: Sequence[bytes | None],
        seeds: np.ndarray,
        specs: Sequence[TaskSpec],
        share: Sequence[Index],
    ) -> None:
        def doing() -> str:
            index = np.unravel_index(self._at[self._place], seeds.shape)
            return f"{specs[index[0]].id}, episode with seed {seeds[index]}"

        self._describe = doing
        needed = {n for n, _ in share}
        self.send((dims, [p if n in needed else None for n, p in enumerate(payloads)], list(share)))

    def wait(self) -> None:
        """Wait until it has finished its command; raises the PWMError that occurred there."""
        if (failure := self.receive()) is not None:
            raise PWMError(failure)

    def send(self, message: Any) -> None:
        try:
            self.pipe.send(message)
        except OSError as error:
            raise self._died() from error

    def receive(self) -> Any:
        try:
            return self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error

    def _died(self) -> PWMError:
        self._process.join(_PATIENCE)
        code = self._process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return PWMError(
            f"{self._describe()}: the worker process died ({how}); use fewer workers if memory ran out, "
            "or 0 workers to see the environment fail in this process"
        )

    def stop(self) -> None:
        """Wait for it to exit; terminate or kill it if it does not."""
        for last_resort in (self._process.terminate, self._process.kill):
            self._process.join(_PATIENCE)
            if self._process.exitcode is not None:
                break
            last_resort()
        self._process.join(_PATIENCE)


def _work(pipe: Any, buffer: Any, at: Any, place: int) -> None:
    """The main function of another process, which returns when its pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
    envs = None
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            message = pipe.recv()
            if message == "end":
                envs, ended = None, envs
                if ended is not None:
                    with suppress(Exception):  # its episodes are over and their results are known
                        ended.close()
                continue
            try:
                if isinstance(message, str):
                    getattr(envs, message)()
                else:
                    envs = _begin(pipe, message, buffer, at, place)
            except PWMError as error:
                pipe.send(str(error))
            else:
                pipe.send(None)
    if envs is not None:
        envs.close()


def _begin(pipe: Any, message: Any, buffer: Any, at: Any, place: int) -> Environments:
    """Build this process's share of a group, report what could not be built, and reset the rest."""
    dims, payloads, share = message

    def note(index: Index) -> None:
        at[place] = np.ravel_multi_index(index, dims[0])

    specs: list[TaskSpec | None] = [None] * len(payloads)
    reasons: dict[int, str] = {}
    for n, payload in enumerate(payloads):
        if payload is not None:
            try:
                specs[n] = pickle.loads(payload)  # written by the process that started this one
            except Exception as error:
                reasons[n] = describe(error)
    envs = Environments(Table(*dims, buffer), specs, note)
    refused = []
    for index in share:
        if index[0] not in reasons:
            try:
                envs.make(index)
                continue
            except Exception as error:
                reasons[index[0]] = describe(error)
        refused.append((index, reasons[index[0]]))
    pipe.send(refused)
    envs.reset()
    return envs


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Block SIGINT while processes start: they inherit the mask, which protects them until they ignore the signal."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it inside would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _no_main_program() -> Iterator[None]:
    """Let processes start without importing the calling program, which may call `pwm.evaluate` at its top level and
    would run again in each of them."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
