"""Reports: text, facts and metadata of every exam, rendered from the same facts."""

from osler.synth.reports.facts_json import FACTS_SCHEMA, ReportFacts, facts_json, read_report_facts
from osler.synth.reports.render import render_texts
from osler.synth.reports.voices import LANGUAGES, STYLES

__all__ = ["FACTS_SCHEMA", "LANGUAGES", "STYLES", "ReportFacts", "facts_json", "read_report_facts", "render_texts"]
