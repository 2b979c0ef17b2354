"""Which SOP classes and transfer syntaxes are taken."""

from __future__ import annotations

import pytest

from clinic.syntaxes import DECODABLE, FRAME_MEDIA_TYPES, NATIVE, is_known, is_private, is_storage


@pytest.mark.parametrize(
    ("sop_class", "stored"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", True),
        ("1.2.840.10008.5.1.4.1.1.66.4", True),
        ("1.2.840.10008.5.1.4.1.1.66.7", True),  # Label Map Segmentation is newer than the dictionary
        ("1.2.840.10008.5.1.4.1.1.88.34", True),
        ("1.2.840.10008.5.1.4.1.1.12.77", True),  # retired and without a name
        ("1.2.840.10008.5.1.4.34.7", True),
        ("1.3.12.2.1107.5.9.1", True),  # a manufacturer's own
        ("1.2.840.10008.1.1", False),
        ("1.2.840.10008.1.3.10", False),
        ("1.2.840.10008.1.20.1", False),
        ("1.2.840.10008.5.1.4.1.2.2.1", False),
        ("1.2.840.10008.5.1.4.1.1.201.6", False),
        ("1.2.840.10008.99.1", False),
    ],
)
def test_storage_classes(sop_class, stored):
    assert is_storage(sop_class) is stored


def test_private_classes_are_known_by_their_root():
    assert is_private("1.3.12.2.1107.5.9.1")
    assert not is_private("1.2.840.10008.5.1.4.1.1.2")


def test_whatever_is_decoded_or_named_is_known():
    assert all(is_known(syntax) for syntax in {*DECODABLE, *FRAME_MEDIA_TYPES})
    assert NATIVE < DECODABLE
    assert not is_known("1.2.840.10008.1.1")
