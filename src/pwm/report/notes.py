"""The report's section on the data: what did not fit what training assumes."""

from __future__ import annotations

from html import escape

from pwm.report.figures import section
from pwm.report.record import RunRecord


def notes_section(record: RunRecord) -> str:
    """A list of what the steps found about their data (`pwm.data.preflight`); empty if they found nothing."""
    found: dict[tuple[str, str], None] = {}
    for findings in (record.run.get("preflight") or {}).values():
        for finding in findings if isinstance(findings, list) else ():
            if isinstance(finding, dict):
                found[str(finding.get("task", "")), str(finding.get("text", ""))] = None
    if not found:
        return ""
    items = "\n".join(f"<li><b>{escape(task)}</b>: {escape(text)}</li>" for task, text in found)
    lead = "What in the data does not fit what training assumes, and what to do about it."
    return section("Notes on the data", lead, f'<ul class="meanings">\n{items}\n</ul>')
