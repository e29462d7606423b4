"""Agreement of read facts with the truth."""

from __future__ import annotations

from dataclasses import replace

from osler.synth.facts import FindingFact
from osler.synth.read_back import CORE, Factuality, ReadFact, ReadFacts, compare, factuality

NODULE = FindingFact(
    key="pulmonary-nodule", lesion=1, certainty="present", side="right", site="right-upper-lobe", size_mm=12,
    change="larger", change_percent=33, prior_size_mm=9,
)  # fmt: skip
DENIED = FindingFact(key="pneumothorax", lesion=0, certainty="absent")
READ = ReadFact(
    key="pulmonary-nodule", side="right", site="right-upper-lobe", size_mm=12, change="larger", change_percent=33,
    prior_size_mm=9,
)  # fmt: skip
READ_DENIED = ReadFact(key="pneumothorax", certainty="absent")


def kinds(*read: ReadFact, truth: tuple[FindingFact, ...] = (NODULE, DENIED)) -> list[str]:
    return sorted(failure.kind for failure in compare(ReadFacts(findings=read), truth))


def test_all_right() -> None:
    result = factuality(ReadFacts(findings=(READ_DENIED, READ)), (NODULE, DENIED))
    assert result.failures == {}
    assert result.recovered() == 1.0
    assert {score.f1 for score in result.scores.values()} == {1.0}
    assert sum(result.score(kind).truth for kind in CORE) == 5


def test_each_fault_has_its_name() -> None:
    assert kinds(replace(READ, side="left"), READ_DENIED) == ["wrong side"]
    assert kinds(replace(READ, size_mm=None), READ_DENIED) == ["size missing"]
    assert kinds(replace(READ, change="first", change_percent=None, prior_size_mm=None), READ_DENIED) == [
        "change missing", "percent missing", "prior size missing",
    ]  # fmt: skip
    assert kinds(READ, replace(READ_DENIED, certainty="present")) == ["negation flipped"]
    assert kinds(replace(READ, certainty="absent"), READ_DENIED) == ["negation flipped"]
    assert kinds(READ) == ["negation missing"]
    assert kinds(READ_DENIED) == ["finding missing"]
    assert kinds(READ, READ_DENIED, ReadFact(key="pneumonia")) == ["extra finding"]
    assert kinds(replace(READ, severity="mild"), READ_DENIED) == ["extra severity"]


def test_alike_lesions_are_paired_by_what_they_share() -> None:
    other = replace(NODULE, lesion=2, site="lingula", side="left", size_mm=5, change_percent=None, prior_size_mm=None)
    read_other = replace(READ, site="lingula", side="left", size_mm=5, change_percent=None, prior_size_mm=None)
    assert kinds(read_other, READ, truth=(NODULE, other)) == []
    assert kinds(replace(read_other, size_mm=6), READ, truth=(NODULE, other)) == ["wrong size"]


def test_the_size_before_is_not_asked_of_a_stable_finding() -> None:
    stable = replace(NODULE, change="stable", change_percent=None)
    assert kinds(replace(READ, change="stable", change_percent=None, prior_size_mm=None), truth=(stable,)) == []


def test_a_denial_that_the_truth_does_not_mention_is_no_error_of_precision() -> None:
    result = factuality(ReadFacts(findings=(READ_DENIED,)), ())
    assert result.failures == {"extra negation": 1}
    assert result.score("negation").precision == 1.0
    assert (
        factuality(ReadFacts(findings=(READ_DENIED,)), (replace(DENIED, certainty="present"),))
        .score("negation")
        .precision
        == 0.0
    )


def test_precision_recall_and_sums() -> None:
    total = Factuality()
    total.add(factuality(ReadFacts(findings=(READ, ReadFact(key="pneumonia"))), (NODULE,)))
    total.add(factuality(ReadFacts(findings=()), (NODULE,)))
    score = total.score("finding")
    assert (score.right, score.truth, score.read) == (1, 2, 2)
    assert (score.precision, score.recall, score.f1) == (0.5, 0.5, 0.5)
    assert total.score("size").recall == 0.5
    assert total.reports == 2
