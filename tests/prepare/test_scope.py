from __future__ import annotations

import pytest

from osler.prepare.scope import named_kinds, scope_warnings
from osler.study import Study


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        ("What does this chest X-ray show?", {"X-ray"}),
        ("Read the radiograph and the CXR", {"X-ray"}),
        ("Is there a nodule on CT?", {"CT"}),
        ("Compare the ct scan with the MRI", {"CT", "MR"}),
        ("Describe this mri", {"MR"}),
        ("Grade the tumor in this histology slide", {"pathology"}),
        ("Is the PET positive?", {"PET"}),
        ("Which direction does the object point?", set()),
        ("Is the patient's pet a cat?", set()),
        ("Does Mr Smith have pneumonia?", set()),
    ],
)
def test_question_names_kinds_of_imaging(question, kinds):
    assert named_kinds(question) == kinds


@pytest.mark.parametrize(
    ("question", "modalities", "warning"),
    [
        ("Read this X-ray.", ["CT"], "The question speaks of X-ray, but the data is CT."),
        ("Read this CT.", ["DX", "CR"], "The question speaks of CT, but the data is X-ray."),
        ("Is this an X-ray or a CT?", ["CT"], None),
        ("Read this X-ray.", ["CT", "DX"], None),
        ("Read this X-ray.", [""], None),
        ("Read this X-ray.", ["", "CT"], None),
        ("Read this X-ray.", ["OT"], None),
        ("What is seen?", ["MR"], None),
    ],
)
def test_mismatch_is_said(question, modalities, warning):
    assert scope_warnings(question, study=Study(timepoints=()), modalities=modalities) == (
        (warning,) if warning else ()
    )


def test_question_about_an_image_without_one():
    assert scope_warnings("What does this CT show?", study=None, modalities=()) == (
        "The question speaks of CT, but no image was given.",
    )
    assert scope_warnings("What is the dose of aspirin?", study=None, modalities=()) == ()
