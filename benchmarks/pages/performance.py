"""The page about speed beside the reference: `make bench BENCH='--out docs/results/performance.json'`."""

from __future__ import annotations

from typing import Any

from benchmarks.results import duration

HEAD = """# Speed beside the reference

`ours` and `reference` are medians of calls that take turns in one process; `ratio` is reference / ours, `quartiles`
those of the rounds' own ratios. The reference (`benchmarks/reference`) is plain PyTorch in float32. It trains one
policy at a time, so that a fleet of N stands beside N of its updates. Rows that end in bfloat16 round the factors of
ours to bfloat16. `of peak`: arithmetic that the algorithm needs, over the best square product of the same format.
Other denominators: for products PyTorch's own in the same number format, for the planner rows acting by a plan instead
of the policy, for the sampler a plain loop, for locomotion Newton's stock solver (which never applies muscles), for
evaluation one environment after the other (`2 workers`: one process).

| benchmark | ours | reference | ratio | quartiles | GFLOP | of peak |
|---|---|---|---|---|---|---|"""


def row(name: str, record: dict[str, Any]) -> str:
    """One line of the table."""
    if "skipped" in record:
        return f"| {name} | not measured: {record['skipped']} | | | | | |"
    ratio, flops, share = (record.get(key) for key in ("ratio", "flops", "share_of_peak"))
    cells = [
        name,
        duration(record["ours_s"]),
        duration(record.get("reference_s")),
        f"{ratio:.2f}" if ratio else "",
        f"{record['ratio_low']:.2f}-{record['ratio_high']:.2f}" if ratio else "",
        f"{flops / 1e9:.3g}" if flops else "",
        f"{share:.0%}" if share else "",
    ]
    return f"| {' | '.join(cells)} |"


def origins(records: dict[str, dict[str, Any]]) -> list[str]:
    """Command, machine, threads, versions and dates: one line for all rows that share them."""
    found: dict[str, list[str]] = {}
    for name, record in records.items():
        versions = record.get("versions") or {}
        threads = f", {record['threads']} threads" if "threads" in record else ""
        day = str(record.get("date"))[:10]
        where = f"`{record.get('command')}`: {record.get('machine')}{threads}, torch {versions.get('torch')}, {day}"
        found.setdefault(where, []).append(name)
    if len(found) == 1:
        return [*found]
    return [f"- {where} ({', '.join(names)})" for where, names in found.items()]


def page(found: dict[str, Any]) -> str:
    """The page for the numbers of the benchmarks."""
    records = found["benchmarks"]
    return "\n".join([HEAD, *(row(*item) for item in records.items()), "", *origins(records), ""])
