"""The findings that can be asked for; the list itself is `osler.prepare.finding_names`, which heads read too."""

from osler.prepare.finding_names import FindingName, finding_names, findings_for, named_findings

__all__ = ["FindingName", "finding_names", "findings_for", "named_findings"]
