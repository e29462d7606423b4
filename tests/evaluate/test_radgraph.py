"""RadGraph F1 by hand, and files of annotations that are something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from osler.errors import FileFormatError, RequestError
from osler.evaluate.radgraph import (
    VARIANTS,
    Entity,
    ReportGraph,
    graphs_of,
    keyed_reports,
    radgraph_f1,
    read_annotations,
    report_key,
)

FIELDS = ("rg_er", "rg_mean", "rg_e", "rg_er_bar")


def graph(*entities: tuple[object, ...]) -> ReportGraph:
    """Entities ``(tokens, label, (relation, target), ...)``, numbered from 1."""
    return ReportGraph(
        entities={
            str(n): Entity(tokens=str(tokens), label=str(label), relations=tuple(relations))  # type: ignore[arg-type]
            for n, (tokens, label, *relations) in enumerate(entities, start=1)
        }
    )


def scores(said: ReportGraph, truth: ReportGraph) -> dict[str, float]:
    return {variant.field: radgraph_f1(said, truth, variant=variant) for variant in VARIANTS}


# As the package annotates "no evidence of acute cardiopulmonary process moderate hiatal hernia" (its own test).
HERNIA = graph(
    ("acute", "OBS-DA"),
    ("cardiopulmonary", "ANAT-DP"),
    ("process", "OBS-DA", ("located_at", "2")),
    ("moderate", "OBS-DP"),
    ("hiatal", "ANAT-DP"),
    ("hernia", "OBS-DP"),
)


def test_the_likeliest_variant_is_the_first() -> None:
    assert tuple(variant.field for variant in VARIANTS) == FIELDS


def test_a_report_agrees_with_itself() -> None:
    assert scores(HERNIA, HERNIA) == dict.fromkeys(FIELDS, 1.0)


def test_variants_by_hand() -> None:
    truth = graph(
        ("small", "OBS-DP", ("modify", "2")),
        ("effusion", "OBS-DP", ("located_at", "3")),
        ("left", "ANAT-DP"),
        ("pneumothorax", "OBS-DA"),
    )
    said = graph(
        ("effusion", "OBS-DP", ("located_at", "2")),
        ("right", "ANAT-DP"),
        ("pneumothorax", "OBS-DA"),
        ("small", "OBS-DP"),
    )
    found = scores(said, truth)
    assert found["rg_e"] == pytest.approx(3 / 4)  # effusion, pneumothorax, small of 4 and 4
    assert found["rg_er"] == pytest.approx(2 / 4)  # small has no relation here
    assert found["rg_er_bar"] == pytest.approx(1 / 4)  # the effusion lies elsewhere, too
    assert found["rg_mean"] == pytest.approx((3 / 4 + 0) / 2)  # no relation is the same


def test_precision_and_recall_weigh_the_same() -> None:
    truth = graph(("clear", "OBS-DP", ("located_at", "2")), ("lungs", "ANAT-DP"), ("edema", "OBS-DA"))
    said = graph(("clear", "OBS-DP", ("located_at", "2")), ("lungs", "ANAT-DP"))
    for one, other in ((said, truth), (truth, said)):
        found = scores(one, other)
        assert found["rg_e"] == found["rg_er"] == found["rg_er_bar"] == pytest.approx(2 * 2 / (2 + 3))
        assert found["rg_mean"] == pytest.approx((4 / 5 + 1) / 2)


def test_present_and_absent_are_two_things() -> None:
    assert scores(graph(("edema", "OBS-DP")), graph(("edema", "OBS-DA"))) == dict.fromkeys(FIELDS, 0.0)


def test_what_is_said_twice_counts_once() -> None:
    twice = graph(("edema", "OBS-DA"), ("edema", "OBS-DA"), ("lungs", "ANAT-DP"))
    assert scores(twice, graph(("edema", "OBS-DA")))["rg_e"] == pytest.approx(2 / 3)


def test_each_relation_of_an_entity_counts_alone() -> None:
    both = graph(
        ("opacity", "OBS-DP", ("located_at", "2"), ("suggestive_of", "3")), ("base", "ANAT-DP"), ("x", "OBS-U")
    )
    one = graph(("opacity", "OBS-DP", ("located_at", "2")), ("base", "ANAT-DP"), ("x", "OBS-U"))
    found = scores(one, both)
    assert found["rg_er"] == found["rg_e"] == 1.0
    assert found["rg_er_bar"] == pytest.approx(2 * 3 / (3 + 4))
    assert found["rg_mean"] == pytest.approx((1 + 2 / 3) / 2)


def test_case_counts_but_between_related_entities_of_the_strictest_variant() -> None:
    upper = graph(("Lungs", "ANAT-DP"), ("Clear", "OBS-DP", ("located_at", "1")))
    lower = graph(("lungs", "ANAT-DP"), ("clear", "OBS-DP", ("located_at", "1")))
    assert scores(upper, lower) == {"rg_er": 0.0, "rg_mean": 0.0, "rg_e": 0.0, "rg_er_bar": 0.5}


@pytest.mark.parametrize("empty", [ReportGraph(), graph()])
def test_a_report_without_entities_scores_nothing(empty: ReportGraph) -> None:
    for one, other in ((empty, HERNIA), (HERNIA, empty), (empty, empty)):
        assert scores(one, other) == dict.fromkeys(FIELDS, 0.0)


def test_entities_without_any_relation_get_half_of_the_mean() -> None:
    plain = graph(("edema", "OBS-DA"))
    assert scores(plain, plain) == {"rg_er": 1.0, "rg_mean": 0.5, "rg_e": 1.0, "rg_er_bar": 1.0}


CLEAR = "Lungs are clear."
ENTITIES: dict[str, Any] = {
    "1": {"tokens": "Lungs", "label": "ANAT-DP", "start_ix": 0, "end_ix": 0, "relations": []},
    "2": {"tokens": "clear", "label": "OBS-DP", "start_ix": 2, "end_ix": 2, "relations": [["located_at", "1"]]},
}


def annotated(entities: object = ENTITIES, *, text: object = "Lungs are clear .") -> dict[str, object]:
    return {"text": text, "entities": entities, "data_source": None, "data_split": "inference"}


def test_a_file_in_the_layout_of_the_package_is_read(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({report_key(CLEAR): annotated()}))
    found = graphs_of((CLEAR, "", CLEAR), read_annotations(path))
    assert set(found) == {CLEAR, ""}
    assert found[CLEAR].entities["2"] == Entity(tokens="clear", label="OBS-DP", relations=(("located_at", "1"),))
    assert found[""].entities == {}
    assert keyed_reports((CLEAR, " \n", CLEAR)) == {report_key(CLEAR): CLEAR}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", "annotations.json is no JSON"),
        ("[]", "annotations.json holds a list"),
        (json.dumps({"k": {}}), "the annotation of 'k' is not RadGraph's"),
        (json.dumps({"k": annotated([])}), "the annotation of 'k' is not RadGraph's"),
        (json.dumps({"k": annotated(text=None)}), "the annotation of 'k' is not RadGraph's"),
        (json.dumps({"k": annotated({"1": {"tokens": "x", "label": "y"}})}), "the annotation of 'k' is not RadGraph's"),
        (json.dumps({"k": annotated({"1": {"tokens": "x", "label": "y", "relations": ["modify"]}})}), "not RadGraph's"),
        (
            json.dumps({"k": annotated({"1": {"tokens": "x", "label": "y", "relations": [["modify", "2"]]}})}),
            "entity '1' of 'k' is related to '2', which is none",
        ),
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(content)
    with pytest.raises(FileFormatError, match=match) as caught:
        read_annotations(path)
    assert '"relations": [["located_at", "2"]]' in caught.value.allowed


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"Cannot read RadGraph annotations from '.*gone.json'.*--radgraph"):
        read_annotations(tmp_path / "gone.json")


def test_annotations_of_other_reports_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({report_key(CLEAR): annotated(text="Lungs are hazy .")}))
    with pytest.raises(FileFormatError, match="is that of another report"):
        graphs_of((CLEAR,), read_annotations(path))
    with pytest.raises(FileFormatError, match="1 of 2 reports have no RadGraph annotation, such as"):
        graphs_of((CLEAR, "No effusion."), read_annotations(path))
