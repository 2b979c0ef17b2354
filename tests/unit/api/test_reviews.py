from __future__ import annotations

import pytest

from api.reviews import REASON_LENGTH_MAX, Verdict
from api.reviews import router as reviews_router


def test_every_route_that_changes_something_names_its_scope():
    paths = {route.path for route in reviews_router.routes}
    assert {f"/api/workitems/{{workitem_id}}/{verb}" for verb in ("rerun", "accept", "reject")} <= paths


@pytest.mark.parametrize("body", [{"reason": "x" * (REASON_LENGTH_MAX + 1)}, {"reason": 1}, {"other": "x"}])
def test_a_verdict_that_is_malformed(body):
    with pytest.raises(ValueError, match="validation error"):
        Verdict.model_validate(body)
    assert Verdict.model_validate({"reason": "wrong side"}).reason == "wrong side"
