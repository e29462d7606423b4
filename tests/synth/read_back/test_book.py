"""Mentions into facts."""

from __future__ import annotations

from osler.synth.read_back.book import Book, Setting, region_groups
from osler.synth.read_back.clauses import Mention, read_sentence
from osler.synth.read_back.read_facts import ReadFact


def book(*sentences: str, region: str = "chest", section: str = "findings") -> list[ReadFact]:
    result = Book(setting=Setting(groups=region_groups(region)))
    for text in sentences:
        result.add(read_sentence(text), text=text, section=section)
    return result.facts


def test_the_site_tells_which_nodule() -> None:
    assert book("nodule in the left thyroid lobe")[0].key == "thyroid-nodule"
    assert book("nodule in the lingula")[0].key == "pulmonary-nodule"


def test_the_exam_tells_which_cyst() -> None:
    assert book("cyst in the left kidney", region="abdomen")[0].key == "renal-cyst"
    assert book("cyst in the popliteal fossa", region="knee")[0].key == "baker-cyst"


def test_side_and_place_complete_each_other() -> None:
    (fact,) = book("nodule in the upper lobe on the right")
    assert (fact.side, fact.site) == ("right", "right-upper-lobe")
    (fact,) = book("left renal cyst", region="abdomen")
    assert (fact.side, fact.site) == ("left", "left-kidney")


def test_the_impression_repeats_and_the_findings_list() -> None:
    result = Book(setting=Setting(groups=region_groups("chest")))
    for section, text in (
        ("findings", "5 mm nodule in the right upper lobe"),
        ("findings", "there is a nodule in the right upper lobe"),
        ("findings", "it measures 8 mm"),
        ("impression", "right upper lobe nodule, 8 mm, unchanged"),
    ):
        result.add(read_sentence(text), text=text, section=section)
    assert [(fact.size_mm, fact.change) for fact in result.facts] == [(5, "first"), (8, "stable")]


def test_a_statement_of_presence_outweighs_a_later_denial() -> None:
    facts = book("small left pleural effusion", "no other pleural effusion")
    assert [fact.certainty for fact in facts] == ["present"]


def test_percent_has_the_sign_of_the_change() -> None:
    (fact,) = book("nodule in the lingula shrunk to 9 mm, previously 12 mm")
    assert (fact.change, fact.change_percent) == ("smaller", -25)
    assert book("nodule in the lingula, 12 mm, previously 12 mm")[0].change == "stable"


def test_a_text_that_repeats_itself_does_not_grow_without_end() -> None:
    result = Book(setting=Setting())
    for _ in range(300):
        result.add([Mention(keys=("pulmonary-nodule",), another=True)], text="another nodule", section="findings")
    assert len(result.facts) == 50
