"""Formats numbers for readers (returns, durations, counts), and writes the report's summary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pwm.report.record import RunRecord, TaskResult, find, is_number

SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
ABSENT = "–"


def number(value: float | None, scale: float | None = None) -> str:
    """A return or a rate, with decimals appropriate to `scale` (the largest number shown next to it)."""
    if value is None:
        return ABSENT
    size = abs(value if scale is None else scale)
    text = f"{value:,.{1 if size >= 10 else 2 if size >= 1 else 3}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def percent(value: float | None) -> str:
    """A fraction in whole per cent."""
    return ABSENT if value is None else f"{100 * value:.0f} %".replace("-", "−")


def interval(row: TaskResult) -> str:
    """A row's bootstrap interval, as "low to high"."""
    if row.interval is None:
        return ABSENT
    low, high = (number(value, scale(row)) for value in row.interval)
    return f"{low} to {high}"


def scale(row: TaskResult) -> float:
    """The largest magnitude in a row, so that all its numbers get the same decimals."""
    values = [row.policy, row.data, row.best, row.random, *(row.interval or ())]
    return max(abs(value) for value in values if value is not None)


def cells(row: TaskResult) -> dict[str, str]:
    """A row's means and shares as plain text: column -> content."""
    means = {name: number(getattr(row, name), scale(row)) for name in ("random", "data", "best", "policy")}
    shares = {name: percent(getattr(row, name)) for name in ("ratio", "success", "success_any")}
    return {"task": row.task, "interval": interval(row)} | means | shares


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Rows of text in aligned columns, the first to the left and the others to the right; no trailing spaces."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    pad = [str.ljust, *[str.rjust] * (len(widths) - 1)]
    return "\n".join("  ".join(f(text, w) for f, text, w in zip(pad, row, widths)).rstrip() for row in table)


def duration(seconds: float) -> str:
    """ "43 s", "9 min 12 s", "2 h 05 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def small(value: int) -> str:
    """A count in words up to twelve, and in digits beyond."""
    return SMALL[value] if 0 <= value < len(SMALL) else f"{value:,}"


def count(value: int, noun: str, plural: str | None = None) -> str:
    """ "one task", "four policies", "2,000 updates"."""
    return f"{small(value)} {noun if value == 1 else plural or noun + 's'}"


def parameters(value: int) -> str:
    """ "1.4 million parameters", "29,312 parameters"."""
    return f"{value / 1e6:.1f} million parameters" if value >= 1_000_000 else f"{value:,} parameters"


def tally(answers: Iterable[bool | None]) -> tuple[int, int]:
    """(number of true answers, number of known answers)."""
    known = [answer for answer in answers if answer is not None]
    return sum(known), len(known)


def summary(record: RunRecord) -> list[str]:
    """What was done, in at most three sentences, including which steps have not been run."""
    if record.trained_in_simulator:
        return [training_sentence(record), evaluation_sentence(record)]
    if record.learned_online:
        return [online_sentence(record), evaluation_sentence(record)]
    return [pretraining_sentence(record), learning_sentence(record), evaluation_sentence(record)]


def pretraining_sentence(record: RunRecord) -> str:
    episodes, transitions = record.data_size()
    logged = "logged episodes" if episodes is None else f"{episodes:,} logged episodes ({transitions:,} transitions)"
    source = f"{logged} of {count(len(record.tasks), 'task')}"
    updates = record.updates("world_model")
    if updates is None and record.parameters is None:
        return f"This run is to learn from {source}; its world model has not been pre-trained yet."
    size = f" of {parameters(record.parameters)}" if record.parameters else ""
    if record.imported_from is not None:
        origin = f"A pre-trained world model{size} was imported from {record.imported_from}"
        return f"{origin}; start states come from {source}."
    trained = f" was pre-trained in {count(updates, 'update')}" if updates is not None else " was pre-trained"
    return f"On {source}, one world model{size}{trained}."


def learning_sentence(record: RunRecord) -> str:
    learned = {(line.get("task"), line.get("seed")) for line in record.lines("policy") if line.get("task")}
    if not learned:
        return "No policy has been learned in it yet."
    horizon = policy_setting(record, "horizon")
    rollouts = f"imagined rollouts of {count(horizon, 'step')}" if horizon else "imagined rollouts"
    policies = count(len(learned), "policy", "policies")
    together = " side by side" if len(learned) > 1 else ""
    each = " each" if len(learned) > 1 else ""
    updates, imitation = record.updates("policy") or 0, policy_setting(record, "behaviour_updates") or 0
    imitated = f"{count(imitation, 'update')} of imitating the data's best episodes, then " if imitation else ""
    return (
        f"The model was then frozen, and {policies} learned{together} from {rollouts} inside it: {imitated}"
        f"{count(max(updates - imitation, 0), 'update')} in imagination{each}, without touching the simulator."
    )


def training_sentence(record: RunRecord) -> str:
    """What a baseline did, from the lines of phase "train", whose steps are environment steps."""
    algorithm = str(record.run["config"]["train"].get("algorithm", "a baseline")).upper()
    trained = {(line.get("task"), line.get("seed")) for line in record.lines("train") if line.get("task")}
    tasks, steps = record.tasks, record.updates("train")
    if not trained or steps is None:
        return f"This run is to train {algorithm} in the simulator; nothing has been logged yet."
    what = f"{algorithm} trained {count(len(trained), 'policy', 'policies')} for {', '.join(tasks)}"
    each = " each" if len(trained) > 1 else ""
    return f"{what} in the simulator itself, over {count(steps, 'environment step')}{each}, without a world model."


def online_sentence(record: RunRecord) -> str:
    """What was learned on line, from the lines of phase "online", whose steps are real episodes per policy."""
    learned = {(line.get("task"), line.get("seed")) for line in record.lines("online")}
    if not learned:
        return "This run is to learn on line; nothing has been logged yet."
    policies, each = count(len(learned), "policy", "policies"), " each" if len(learned) > 1 else ""
    episodes = count(record.updates("online") or 0, "real episode")
    logs, tasks = " and from logs" if record.setting("data") else "", ", ".join(record.tasks)
    return f"One world model and {policies} for {tasks} learned together, from {episodes}{each}{logs}."


def count_policies(record: RunRecord) -> int:
    """Number of policies that a run has evaluated, or else learned or trained; one per task and seed."""
    phases = record.lines("policy") + record.lines("train") + record.lines("online")
    logged = {(line.get("task"), line.get("seed")) for line in phases if line.get("task")}
    measured = [entry.get("policies") for entry in ((record.results or {}).get("tasks") or {}).values()]
    return sum(len(policies) if isinstance(policies, dict) else 1 for policies in measured) or len(logged)


def policy_setting(record: RunRecord, name: str) -> int | None:
    """An integer setting of policy learning (pre-training has fields of the same names)."""
    section = next(find(record.run.get("config"), "policy"), None)
    value = section.get(name) if isinstance(section, dict) else None
    return value if isinstance(value, int) else None


def evaluation_sentence(record: RunRecord) -> str:
    total, one = record.wall_seconds().get("total"), count_policies(record) == 1
    noun = "policy has" if one else "policies have"
    if not record.rows:
        return f"The {noun} not been evaluated yet."
    above, known = tally(row.beats_data for row in record.rows)
    near, known_near = tally(row.near_best for row in record.rows)
    episodes = {row.episodes for row in record.rows}
    each = "" if one else " each"
    over = f" over {count(episodes.pop(), 'episode')}{each}" if len(episodes) == 1 and None not in episodes else ""
    clock = f"; the whole run took {duration(total)}" if total else ""
    if not known:
        return f"The {'policy was' if one else 'policies were'} evaluated in the simulator{over}{clock}."
    if one:
        verbs = "beats" if above else "does not beat", "reaches" if near else "does not reach"
        return (
            f"Evaluated in the simulator{over}, the policy {verbs[0]} the mean return of the data and {verbs[1]} "
            f"90 % of its ten best episodes{clock}."
        )
    return (
        f"Evaluated in the simulator{over}, the policies beat the mean return of the data on {share(above, known)} "
        f"and reach 90 % of its ten best episodes on {share(near, known_near)}{clock}."
    )


def share(part: int, whole: int) -> str:
    """ "all four tasks", "three of four tasks"."""
    return f"all {count(whole, 'task')}" if part == whole > 1 else f"{small(part)} of {count(whole, 'task')}"


def expectations(record: RunRecord) -> list[str]:
    """Actual and estimated time of each finished step that has an estimate."""
    estimates = record.run.get("estimates")
    found = []
    for step, entry in (estimates if isinstance(estimates, dict) else {}).items():
        numbers = [entry.get(name) for name in ("estimated_seconds", "seconds")] if isinstance(entry, dict) else [None]
        if all(is_number(x) and x > 0 for x in numbers):
            expected, taken = numbers
            name = str(step).split()[0]
            ratio = f"{taken / expected:.2f} times the {duration(expected)} expected"
            found.append(f"{name} took {duration(taken)}, {ratio}")
    return found
