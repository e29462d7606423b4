"""Texts in a FHIR record: DiagnosticReports and DocumentReferences that carry their words with them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from osler.readers.fhir_events import refused
from osler.readers.fhir_fields import Json, clean, clean_text, coded, dicts, first_when, part
from osler.study import Document

_MOST_CHARACTERS = 200_000
_MOST_BASE64 = 8 * _MOST_CHARACTERS


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document, or the reason why there is none; and what was noticed."""

    document: Document | None = None
    left_out: str = ""
    problem: str = ""


def document_of(resource: Json, *, source: str) -> FoundDocument:
    """Reads the text of a DiagnosticReport or a DocumentReference."""
    refusal = refused(resource)
    if refusal:
        return FoundDocument(left_out=refusal)
    if resource.get("resourceType") == "DiagnosticReport":
        name, attachments = coded(resource.get("code")).name or "Report", dicts(resource.get("presentedForm"))
        when = first_when(resource, "effectiveDateTime", "effectivePeriod.start", "issued")
    else:
        name = coded(resource.get("type")).name or clean(resource.get("description")) or "Document"
        attachments = [part(content, "attachment") for content in dicts(resource.get("content"))]
        when = first_when(resource, "date", "context.period.start")
    texts = [text for text in (_text(attachment) for attachment in attachments) if text]
    ends = [clean_text(resource.get("conclusion"), most=_MOST_CHARACTERS)]
    ends += [coded(code).name for code in dicts(resource.get("conclusionCode"))]
    ends = [end for end in ends if end and not any(end.lower() in text.lower() for text in texts)]
    if ends:
        texts.append("Conclusion: " + "; ".join(ends))
    if not texts:
        return FoundDocument(left_out=_why(attachments))
    date = when.date
    document = Document(name=name, pages=("\n\n".join(texts),), date=date, source=source)
    return FoundDocument(document, problem=f"{when.problem}: kept without a date" if when.problem else "")


def _text(attachment: Json) -> str:
    kind = clean(attachment.get("contentType")).lower()
    data = attachment.get("data")
    if not kind.startswith("text/plain") or not isinstance(data, str) or len(data) > _MOST_BASE64:
        return ""
    try:
        return clean_text(base64.b64decode(data).decode("utf-8", "replace"), most=_MOST_CHARACTERS)
    except (binascii.Error, ValueError):
        return ""


def _why(attachments: list[Json]) -> str:
    if any(clean(attachment.get("url")) for attachment in attachments):
        return "its text is a file beside the record; files that are opened with it are read by themselves"
    if any(attachment.get("data") for attachment in attachments):
        return "its text is damaged, too long or no plain text"
    return "it has no text of its own; the values that it binds together are read"
