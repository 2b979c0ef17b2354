import pytest

from clinic.completeness import RECEIVING_PAUSE_S, wait_s
from clinic.workitem_store import SeriesWatch


def watch(one_request=True, due_ms=2_000) -> SeriesWatch:
    return SeriesWatch("ins", "1.2", "1.2.3", 1_000, due_ms, one_request, 10)


@pytest.mark.parametrize(
    ("one_request", "gap_free", "receiving", "now_ms", "expected"),
    [
        (True, True, False, 1_000, 0),
        (True, True, True, 1_000, RECEIVING_PAUSE_S),
        (True, False, False, 1_500, 0.5),
        (False, True, False, 1_500, 0.5),
        (False, True, True, 1_900, 0.1),
        (False, False, False, 2_000, 0),
        (False, False, True, 9_000, RECEIVING_PAUSE_S),
        (False, True, False, 9_000, 0),
    ],
)
def test_when_a_series_counts_as_whole(one_request, gap_free, receiving, now_ms, expected):
    assert wait_s(watch(one_request), gap_free, receiving, now_ms) == pytest.approx(expected)
