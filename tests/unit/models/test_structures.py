import pytest

from models.errors import BadBundle
from models.structures import Structure, from_channels, from_rows, key_of


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Spleen", "spleen"),
        ("vertebrae_L5", "vertebrae_l5"),
        (" central  gland ", "central_gland"),
        ("3rd-Ventricle", "3rd_ventricle"),
    ],
)
def test_keys(name, key):
    assert key_of(name) == key


def test_background_is_no_structure_and_order_is_by_label():
    found = from_channels({"0": "background", "2": "Kidney left", "1": "spleen"})
    assert found == (Structure(1, "spleen", "spleen"), Structure(2, "kidney_left", "Kidney left"))


@pytest.mark.parametrize(
    "channels",
    [
        {"0": "background", "2": "spleen"},
        {"0": "background", "1": "a", "2": "A"},
        {"0": "background", "x": "spleen"},
        {"0": "background", "1": 7},
        {"0": "background", "1": "---"},
        {"0": "background", "1": "x" * 65},
        {"0": "background", "-1": "spleen"},
    ],
)
def test_malformed_channels_are_refused(channels):
    with pytest.raises(BadBundle):
        from_channels(channels)


@pytest.mark.parametrize(
    "rows", [None, 7, [{}], [{"label": True, "key": "a", "name": "a"}] * 2, [{"label": 1, "key": "A", "name": "a"}]]
)
def test_malformed_rows_are_refused(rows):
    with pytest.raises(BadBundle):
        from_rows(rows)
