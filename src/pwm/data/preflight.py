"""What training assumes of its data, and where the data do not fit: one line each, with the number and the cure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from pwm.data.lucky_starts import LUCKY, explained_by_start
from pwm.data.moments import EPISODES, constant, moments, resolution
from pwm.data.store import EpisodeStore, TaskEpisodes
from pwm.runtime.config import to_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.progress import progress
from pwm.tasks.registry import get_task, list_tasks

_COMFORTABLE = 10.0  # scaled rewards reach this at most, and a tenth of it at least
_CROWDED = 0.2  # rewards within this fraction of a bin are not told apart by a short training
_ROUNDING = 100.0  # deviations below so many steps of float32 are named
_AT_BOUND = 0.999
_SHOWN = 12
_LONG = 10**7  # transitions that take seconds


@dataclass(frozen=True)
class Finding:
    """Something about a task's data that does not fit what training assumes."""

    task: str
    about: str
    """"rewards", "observations", "actions", "terminations", "horizon", "task" or "starts"."""
    text: str
    """What it is, with numbers, and what to do."""


@dataclass(frozen=True)
class Grid:
    """The two-hot reward code: `bins` points from `low` to `high`, evenly spaced in symlog space."""

    bins: int = 101
    low: float = -10.0
    high: float = 10.0

    @property
    def end(self) -> float:
        """Largest reward, positive or negative, that the code holds."""
        return math.expm1(min(-self.low, self.high))

    @property
    def width(self) -> float:
        """Distance of neighbouring bins in symlog space."""
        return (self.high - self.low) / (self.bins - 1)

    @property
    def finest(self) -> float:
        """Reward at the ends of the innermost bins."""
        return math.expm1(self.width)


@dataclass(frozen=True)
class Assumptions:
    """What a step assumes of the data."""

    horizon: int | None = 16
    """Steps of a slice; None where whole slices do not matter."""
    normalised: bool = True
    """Whether observations are normalised."""
    terminations: bool | None = None
    """Whether the model learns terminations; None means that it will where the data have them."""
    grid: Grid = Grid()
    scales: Mapping[str, float] | None = None
    """The factors of a model that is there already; None chooses them by the data."""


def reward_scale(data: TaskEpisodes, grid: Grid = Grid(), least: float = 1.0) -> float:
    """What to divide a task's rewards by: 1 where the code holds them, else the power of ten that makes them fit.

    The code does not hold rewards beyond its end, or that all stay below the fraction `least` of its innermost step.
    """
    largest = _largest(data.rewards)
    if largest == 0.0 or least * grid.finest <= largest <= grid.end:
        return 1.0
    exponent = math.ceil(math.log10(largest) - math.log10(min(_COMFORTABLE, grid.end)))
    return 10.0 ** min(max(exponent, -37), 37)


def preflight(
    store: EpisodeStore, tasks: Iterable[str] | None = None, assumed: Assumptions = Assumptions()
) -> list[Finding]:
    """Everything about the data of these tasks (by default all) that does not fit what training assumes.

    Rewards and terminations are all read; of observations and actions, at most 500 episodes per task.
    """
    found, chosen = [], list(tasks or store.tasks)
    long = sum(int(store[task].offsets[-1]) for task in chosen) > _LONG
    with progress("Check data", len(chosen)) if long else nullcontext() as bar:
        for task in chosen:
            data = store[task]
            lines = {
                "rewards": _rewards(data, assumed),
                "observations": _observations(store, task, assumed),
                "actions": _actions(data),
                "terminations": _terminations(data, assumed),
                "horizon": _horizon(data, assumed),
                "starts": _starts(store, task),
            }
            found += [Finding(task, about, text) for about, texts in lines.items() for text in texts]
            found += against_task({"id": task} | {name: getattr(data, name) for name in _COMPARED})
            if bar is not None:
                bar.advance()
    return found


_COMPARED = ("observation_dim", "action_dim", "episode_length", "action_repeat")


def against_task(facts: Mapping[str, object]) -> list[Finding]:
    """Where the sizes of data, by name and with the task's "id", differ from those of the registered task, if any."""
    task = str(facts["id"])
    try:
        if task not in list_tasks():
            return []
        spec = get_task(task)
    except PWMError as error:  # it matters in the simulator; training goes on without it
        return [Finding(task, "task", f"not compared with the registered task ({error})")]
    known = {name: facts[name] for name in _COMPARED if isinstance(facts.get(name), int)}
    ours = {name: getattr(spec, name) for name in known}
    texts = []
    if ours.get("action_repeat") != known.get("action_repeat"):
        texts.append(
            f"the data have action repeat {known['action_repeat']}, the registered task {ours['action_repeat']}: its "
            "returns and the data's do not compare, and policies act at another rate than they learned; register the "
            "task with the repeat of the data, or import the data with the --action-repeat that they were recorded with"
        )
    elif ours.get("episode_length") != known.get("episode_length"):
        texts.append(
            f"the data's episodes have up to {known['episode_length']} steps, the registered task's "
            f"{ours['episode_length']}: returns over different lengths do not compare"
        )
    for name in ("observation_dim", "action_dim"):
        if ours.get(name) != known.get(name):
            texts.append(
                f"{name} is {known[name]} in the data and {ours[name]} in the registered task, which cannot play their "
                "policies; record what the task's environment returns"
            )
    return [Finding(task, "task", text) for text in texts]


def as_facts(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """The findings as run.json keeps them."""
    return [to_dict(finding) for finding in findings]


def as_lines(findings: Sequence[Finding]) -> list[str]:
    """The findings as lines for the terminal; of many, the first, and how many more there are."""
    shown = [f"note: {finding.task}: {finding.text}" for finding in findings[:_SHOWN]]
    more = len(findings) - _SHOWN
    return [*shown, f"note: and {more} more; run.json and the report have all"] if more > 0 else shown


def _largest(rewards: np.ndarray) -> float:
    return max(float(rewards.max()), -float(rewards.min()))


def _rewards(data: TaskEpisodes, assumed: Assumptions) -> Iterator[str]:
    grid, rewards = assumed.grid, data.rewards
    low, high, largest = float(rewards.min()), float(rewards.max()), _largest(rewards)
    if low == high:
        yield f"every reward is {low:g}: there is nothing to improve but the length of episodes; check the recording"
        return
    given = None if assumed.scales is None else assumed.scales.get(data.id, 1.0)
    wanted = reward_scale(data, grid)
    scale = wanted if given is None else given
    if wanted != 1.0 and given is None:
        where = (
            f"go beyond {grid.end:,.0f}, where the model's reward code ends"
            if largest > grid.end
            else f"are finer than {grid.finest:.2g}, the innermost step of the model's reward code"
        )
        yield (
            f"rewards of {low:.4g} to {high:.4g} {where}: the model learns them divided by {scale:g}, and all values "
            "are given in the units of the data"
        )
    elif not grid.finest <= largest / scale <= grid.end:
        yield (
            f"rewards of {low:.4g} to {high:.4g} do not fit this world model's reward code, whose innermost step is "
            f"{grid.finest * scale:.2g} and which ends at {grid.end * scale:,.6g}; pre-train one on these data, or "
            "scale their rewards"
        )
    place = [math.copysign(math.log1p(abs(x) / scale), x) / grid.width for x in (low, high)]
    if place[1] - place[0] < _CROWDED and grid.finest <= largest / scale <= grid.end:
        step = grid.width * (scale + largest)
        yield (
            f"rewards differ by {high - low:.3g} around {(low + high) / 2:.6g}, where the model's reward code has "
            f"steps of {step:.2g}: hardly any of it is learned; subtract a constant from them"
        )
    sizes = np.abs(rewards[:: max(1, len(rewards) // 1_000_000)])
    sizes = sizes[sizes > 0]
    if scale > 1.0 and len(sizes) and (usual := float(np.median(sizes))) / scale < 0.1 * grid.finest:
        yield (
            f"half of the rewards are below {usual:.2g}, the largest is {largest:.4g}: too far apart to learn both; "
            "cut or weaken the largest"
        )


def _observations(store: EpisodeStore, task: str, assumed: Assumptions) -> Iterator[str]:
    mean, deviation = moments(store, task, np.arange(len(store[task].lengths)))
    still, step = constant(mean, deviation), resolution(mean)
    coarse = (deviation < _ROUNDING * step) & (deviation > 0)
    if coarse.any():
        k = int(np.flatnonzero(coarse)[(deviation / step)[coarse].argmin()])
        kept = "and counts as constant" if still[k] else "and is rounded away in part"
        yield (
            f"observation {_entries(coarse)}: {mean[k]:.6g} +- {deviation[k]:.2g} is near float32's resolution of "
            f"{step[k]:.1g} there, {kept}; subtract the offset before it is stored"
        )
    moving = deviation[~still]
    if assumed.normalised or not len(moving):
        return
    if moving.max() > 1000.0 or moving.min() < min(0.01, 0.001 * moving.max()):
        yield (
            f"observations deviate by {moving.min():.2g} to {moving.max():.2g} from their means, and the model does "
            "not normalise them: it hardly sees the small ones; pre-train with --normalise-observations"
        )


def _actions(data: TaskEpisodes) -> Iterator[str]:
    every = max(1, len(data.lengths) // EPISODES)
    low, high, edge, rows = np.inf, -np.inf, 0.0, 0
    for e in range(0, len(data.lengths), every):
        actions = data.episode(e).actions
        low, high = np.minimum(low, actions.min(axis=0)), np.maximum(high, actions.max(axis=0))
        edge, rows = edge + (np.abs(actions) >= _AT_BOUND).sum(axis=0), rows + len(actions)
    span = np.asarray(high - low)
    still, narrow, edge = span == 0.0, (span > 0.0) & (span <= 1.0), np.asarray(edge / rows)
    if still.any():
        yield f"action {_entries(still)} never changes: what it does cannot be learned; vary it in the data"
    if narrow.any():
        k = int(np.flatnonzero(narrow)[span[narrow].argmin()])
        yield (
            f"action {_entries(narrow)} stays within half of [-1, 1], from {low[k]:.3g} to {high[k]:.3g}: beyond it "
            "the model guesses; if the robot goes no further, scale actions so that its bounds are -1 and 1"
        )
    saturated = (edge >= 0.5) & ~still
    if saturated.any():
        yield (
            f"action {_entries(saturated)} lies at -1 or 1 in {edge[saturated].max():.0%} of the steps: where it was "
            "cut off there, scale by wider bounds; what is in between is hardly in the data"
        )


def _terminations(data: TaskEpisodes, assumed: Assumptions) -> Iterator[str]:
    ended, count = int(np.count_nonzero(data.terminations)), len(data.lengths)
    if not ended:
        return
    if assumed.terminations is False:
        yield (
            f"{ended:,} of {count:,} episodes terminate, and the world model does not learn terminations: its imagined "
            "episodes go on; pre-train with --episodic"
        )
    else:
        yield (
            f"{ended:,} of {count:,} episodes terminate: the world model learns terminations (as with --episodic; "
            "--no-episodic or --termination-weight 0 leave them out)"
        )


def _horizon(data: TaskEpisodes, assumed: Assumptions) -> Iterator[str]:
    lengths = data.lengths
    if assumed.horizon is None or not (short := lengths < assumed.horizon).any():
        return
    share = lengths[short].sum() / lengths.sum()
    yield (
        f"{int(short.sum()):,} of {len(lengths):,} episodes ({share:.1%} of the steps) are shorter than the horizon of "
        f"{assumed.horizon} and left out; --horizon {int(lengths.min())} takes all"
    )


def _starts(store: EpisodeStore, task: str) -> Iterator[str]:
    share = explained_by_start(store, task)
    if share >= LUCKY:
        yield (
            f"where an episode starts explains {share:.0%} of the differences between returns: the ten best episodes "
            "had the best starts, and their mean is no measure of skill; compare policies from the same starts"
        )


def _entries(mask: np.ndarray) -> str:
    """The positions of an entry or entries: "3", "0, 1 and 4", "0, 1, 2 and 36 more"."""
    where = [str(k) for k in np.flatnonzero(mask)]
    if len(where) > 5:
        return f"{', '.join(where[:3])} and {len(where) - 3} more"
    return where[0] if len(where) == 1 else f"{', '.join(where[:-1])} and {where[-1]}"
