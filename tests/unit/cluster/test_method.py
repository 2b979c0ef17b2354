"""Like is held against like."""

from dataclasses import replace

import pytest

from cluster.method import comparable
from tests.unit.bithive.test_receipt import SIGNED


def test_the_same_method_on_another_node_is_comparable() -> None:
    other = replace(SIGNED, node="nod_other", node_key="0" * 64, wall_ms=9, attempt_id="att_other", output_digest="x")
    assert comparable(SIGNED, other)
    assert comparable(other, SIGNED)


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": "torch"},
        {"engine_version": "2"},
        {"precision": "bf16"},
        {"device": "cuda"},
        {"threads": 8},
        {"tf32": False},
        {"bf16": False},
        {"deterministic": False},
        {"bundle_sha256": "0" * 64},
    ],
    ids=str,
)
def test_any_difference_of_method_is_one_of_likeness(changes: dict[str, object]) -> None:
    other = replace(SIGNED, **changes)  # type: ignore[arg-type]
    assert not comparable(SIGNED, other)
    assert not comparable(other, SIGNED)


def test_what_does_not_repeat_itself_is_like_nothing() -> None:
    loose = replace(SIGNED, deterministic=False)
    assert not comparable(loose, loose)
