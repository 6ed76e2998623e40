"""What an audit found, in words."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from thinned.models.card import Finding, ShortAudit
from thinned.service.cli.output import console

__all__ = ["print_findings", "print_short_audit"]

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def print_findings(findings: Sequence[Finding]) -> None:
    """One paragraph a finding, the gravest first."""
    out = console()
    for finding in findings:
        text = Text.assemble((finding.level.capitalize(), _STYLES[finding.level]), f" {finding.code}: {finding.text}")
        if finding.remedy:
            text.append(f" {finding.remedy}", style="italic")
        if finding.reference:
            text.append(f" [{finding.reference}]", style="dim")
        out.print(text, soft_wrap=True)
    if not findings:
        out.print("Nothing was found that a person should know.")


def print_short_audit(audit: ShortAudit, name: str) -> None:
    """What a card says of its audit: the verdict, and what is graver than a note."""
    console().print(Text(audit.verdict), soft_wrap=True)
    grave = [finding for finding in audit.findings if finding.level != "note"]
    if grave:
        print_findings(grave)
    notes = len(audit.findings) - len(grave)
    if notes:
        console().print(f"{notes} {'note' if notes == 1 else 'notes'} more: thinned audit {name}", soft_wrap=True)
