from __future__ import annotations

import pytest

from api.demonstration import Outcome
from api.demonstration_check import _check_objects
from api.errors import StepFailed
from tests.common.dicom_factory import content_of, make_series

STUDY = "1.2.3.100"


def _outcome(kind="sr", measured=({"key": "tiv"},), **members):
    (instance,) = make_series((1, 4, 4), study_uid=STUDY)
    for keyword, value in members.items():
        setattr(instance, keyword, value)
    return Outcome(STUDY, 1, 1.0, {"measured": list(measured)}, {kind: content_of(instance)}, {})


def test_what_is_in_order():
    _check_objects(_outcome(Modality="SR", VerificationFlag="UNVERIFIED"))
    _check_objects(_outcome("seg", Modality="SEG"))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (_outcome(Modality="SR", VerificationFlag="VERIFIED"), "UNVERIFIED|verified"),
        (_outcome("seg", Modality="MR"), "not of this study"),
        (_outcome("seg", Modality="SEG", StudyInstanceUID="9.9"), "not of this study"),
        (_outcome("seg", (), Modality="SEG"), "nothing was measured"),
        (Outcome(STUDY, 1, 1.0, {"measured": [1]}, {"seg": b"no DICOM"}, {}), "no DICOM file"),
    ],
)
def test_what_is_not(outcome, words):
    with pytest.raises(StepFailed, match=words):
        _check_objects(outcome)
