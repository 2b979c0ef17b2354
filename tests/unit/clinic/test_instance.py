"""Which instance a file is, and when it is none."""

from __future__ import annotations

import pytest

from clinic import part10
from clinic.errors import MalformedUid, MissingUids, TruncatedInstance, UnsupportedSopClass
from clinic.instance import (
    ORIGINAL_ATTRIBUTES,
    SOP_CLASS,
    SOP_UID,
    first,
    identify,
    is_uid,
    named,
    were_uids_corrected,
    with_uids,
)
from tests.common.dicom_factory import content_of, files_of, make_series


def read(**members):
    (dataset,) = make_series((1, 2, 2))
    for name, value in members.items():
        setattr(dataset, name, value)
    return part10.read(content_of(dataset))


def test_an_instance_says_who_it_is():
    identity = identify(read())
    assert (identity.study_uid, identity.sop_uid, identity.warning) == ("1.2.3.100", "1.2.3.100.1.1", "")
    assert named(read()) == (identity.sop_class, identity.sop_uid)


def test_blank_uids_of_a_real_study_are_filled_in(shared):
    files = [part10.read(content) for content in files_of(shared / "data" / "ct-body-j2k")]
    identities = [identify(file) for file in files]
    assert {identity.warning for identity in identities} == {"uids-derived"}
    assert len({identity.study_uid for identity in identities}) == 1
    assert len({identity.series_uid for identity in identities}) == 1
    assert len({identity.sop_uid for identity in identities}) == len(files) == 20
    header = with_uids(files[0].header, identities[0])
    assert first(header, SOP_UID) == identities[0].sop_uid
    assert first(header, SOP_CLASS) == "1.2.840.10008.5.1.4.1.1.2"
    assert is_uid(first(header, "0020000D"))
    assert list(header) == sorted(header)


def test_what_was_blank_is_recorded(shared):
    file = part10.read(files_of(shared / "data" / "ct-body-j2k")[0])
    identity = identify(file)
    header = with_uids(file.header, identity, 1_800_000_000_000)
    (changed,) = header[ORIGINAL_ATTRIBUTES]["Value"]
    assert changed["04000550"]["Value"] == [
        {tag: {"vr": "UI"} for tag in ("00080016", "00080018", "0020000D", "0020000E")}
    ]
    assert changed["04000562"]["Value"] == ["20270115080000+0000"]
    assert (changed["04000563"]["Value"], changed["04000565"]["Value"]) == (["BitHive"], ["CORRECT"])
    assert were_uids_corrected(header)
    assert not were_uids_corrected(file.header)
    again = with_uids({**file.header, ORIGINAL_ATTRIBUTES: header[ORIGINAL_ATTRIBUTES]}, identity)
    assert len(again[ORIGINAL_ATTRIBUTES]["Value"]) == 2


def test_a_header_that_lacks_nothing_stays_as_it_is():
    file = read()
    assert with_uids(file.header, identify(file)) is file.header
    file.header[ORIGINAL_ATTRIBUTES] = {"vr": "SQ", "Value": ["x", {"04000563": {"vr": "LO", "Value": ["A"]}}]}
    assert not were_uids_corrected(file.header)


def test_blank_sop_uids_come_from_the_file_meta():
    file = read()
    file.header[SOP_UID] = {"vr": "UI"}
    identity = identify(file)
    assert (identity.sop_uid, identity.warning) == ("1.2.3.100.1.1", "uids-from-file-meta")


def test_nothing_is_derived_across_acquisitions_or_without_a_frame_of_reference():
    one, other, none = read(), read(), read()
    for file in (one, other, none):
        file.header["0020000D"] = {"vr": "UI"}
    other.header["00200052"]["Value"] = ["1.2.77"]
    assert identify(one).study_uid != identify(other).study_uid
    del none.header["00200052"]
    with pytest.raises(MissingUids):
        identify(none)


@pytest.mark.parametrize(
    ("tag", "value", "error"),
    [
        ("0020000D", "1.2.x", MalformedUid),
        ("0020000E", "1..2", MalformedUid),
        ("00080018", "../../etc", MalformedUid),
        ("00080018", "1." + "2" * 63, MalformedUid),
        ("00080016", "1.2.840.10008.1.1", UnsupportedSopClass),
    ],
)
def test_what_is_refused(tag, value, error):
    file = read()
    file.header[tag] = {"vr": "UI", "Value": [value]} if value is not None else {"vr": "UI"}
    with pytest.raises(error):
        identify(file)


def test_an_image_without_pixels_is_cut_short():
    (dataset,) = make_series((1, 2, 2))
    del dataset.PixelData
    with pytest.raises(TruncatedInstance):
        identify(part10.read(content_of(dataset)))
    dataset.PixelDataProviderURL = "https://elsewhere"
    assert identify(part10.read(content_of(dataset)))


def test_warnings():
    file = read()
    file.meta["00020003"]["Value"] = ["1.9"]
    assert identify(file).warning == "file-meta-differs"
    assert identify(read(SOPClassUID="1.3.12.2.1107.5.9.1")).warning == "private-sop-class"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("1.2", True),
        ("0", True),
        ("1.02", True),
        ("1" * 64, True),
        ("1" * 65, False),
        ("", False),
        ("1.", False),
        ("1.2\n", False),
        ("١.٢", False),
    ],
)
def test_uids(text, good):
    assert is_uid(text) is good


def test_first_values():
    header = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A", "Phonetic": "C"}]},
        "00100020": {"vr": "LO", "Value": ["a\x00b", "c"]},
        "00100030": {"vr": "DA"},
        "00100040": {"vr": "CS", "Value": [None]},
    }
    assert [first(header, tag) for tag in (*header, "00200010")] == ["A==C", "ab", "", "", ""]
