import pytest

from models.errors import BadBundle
from models.pins import AddressSource, InstalledSource, PinnedFile, is_inside

ROW = {"file": "models/model.ts", "sha256": "a" * 64, "size_bytes": 3}


def test_sources_of_each_kind():
    address = PinnedFile.from_json({**ROW, "source": {"kind": "address", "address": "https://a.example/x"}})
    assert address.source == AddressSource("https://a.example/x")
    installed = PinnedFile.from_json({**ROW, "source": {"kind": "installed", "bundle": "spleen"}})
    assert installed.source == InstalledSource("spleen")


@pytest.mark.parametrize(
    "change",
    [
        {"source": {"kind": "address", "address": "http://a.example/x"}},
        {"source": {"kind": "address"}},
        {"source": {"kind": "elsewhere"}},
        {"source": {}},
        {"source": None},
        {"sha256": "A" * 64},
        {"size_bytes": 0},
        {"size_bytes": "many"},
        {"file": "../x"},
        {"file": ""},
    ],
)
def test_what_is_not_a_pin_is_refused(change):
    with pytest.raises(BadBundle):
        PinnedFile.from_json({**ROW, "source": {"kind": "installed", "bundle": "b"}, **change})


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("a/b", True),
        ("a..b", True),
        ("", False),
        ("..", False),
        ("a/../b", False),
        ("/a", False),
        ("a\\b", False),
        ("a\0", False),
    ],
)
def test_inside_is_inside(path, inside):
    assert is_inside(path) is inside
