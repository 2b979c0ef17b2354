"""Instances as the archive keeps them, and the decision whether a file that arrived is one."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clinic.errors import MalformedUid, MissingUids, TruncatedInstance, UnsupportedSopClass
from clinic.part10 import Part10
from clinic.syntaxes import is_private, is_storage

Header = dict[str, Any]

SOP_CLASS, SOP_UID = "00080016", "00080018"
STUDY_UID, SERIES_UID = "0020000D", "0020000E"
PATIENT_ID, ISSUER = "00100020", "00100021"
ORIGINAL_ATTRIBUTES = "04000561"

_SYSTEM = "BitHive"

_META_CLASS, _META_UID = "00020002", "00020003"
_ROWS, _PROVIDER = "00280010", "00287FE0"
_FRAME_OF_REFERENCE = "00200052"
_STUDY_SIGNS = (PATIENT_ID, ISSUER, "00080020", "00080050", "00200010")
_SERIES_SIGNS = (*_STUDY_SIGNS, "00080060", "00200011", "0008103E")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An instance on its way into the archive.

    Attributes
    ----------
    study_uid, series_uid, sop_uid, sop_class, transfer_syntax
        Who it is. UIDs come from the data set; see `identify` for blank ones.
    blob
        SHA-256 of the whole Part 10 file in `bithive.blobs`, hexadecimal.
    size_bytes
        Size of that file.
    header
        The data set without Pixel Data, DICOM JSON Model (PS3.18 Annex F). Large binary values are BulkDataURIs
        relative to the instance; a reader that builds a data set needs a handler for them.
    pixel_offset, pixel_length
        Where the native Pixel Data value lies in the file, in bytes; None when compressed, deflated or absent.
    received_ms
        When it came, milliseconds since the epoch.
    batch
        The request it came with (`bat_...`).
    own
        Whether BitHive made it: it then causes no analysis.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    blob: str
    size_bytes: int
    header: Header
    pixel_offset: int | None
    pixel_length: int | None
    received_ms: int
    batch: str
    own: bool = False


@dataclass(frozen=True, slots=True)
class InstanceRow(NewInstance):
    """An instance in the archive: a `NewInstance` and the institution (`ins_...`) whose it is."""

    institution: str = ""


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series in the archive.

    Attributes
    ----------
    attributes
        Its elements of series level, DICOM JSON Model, from the instance that came first.
    instances
        How many instances it has.
    """

    institution: str
    study_uid: str
    series_uid: str
    attributes: Header
    instances: int

    @property
    def modality(self) -> str:
        """Modality (0008,0060), or an empty text."""
        return first(self.attributes, "00080060")


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study in the archive.

    Attributes
    ----------
    patient_id, issuer
        Patient ID (0010,0020) and its issuer (0010,0021); both may be empty.
    attributes
        Its elements of patient and study level, DICOM JSON Model, from the instance that came first.
    modalities
        Modalities in Study, sorted.
    series, instances
        How many it has.
    created_ms, changed_ms
        When its first and its last instance came.
    """

    institution: str
    study_uid: str
    patient_id: str
    issuer: str
    attributes: Header
    modalities: tuple[str, ...]
    series: int
    instances: int
    created_ms: int
    changed_ms: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Which instance a file is, and the code of the warning that goes with storing it (or an empty text)."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    warning: str


def first(header: Header, tag: str) -> str:
    """The first value of an element as text; empty when it has none."""
    values = header.get(tag, {}).get("Value") or [None]
    value = values[0]
    if isinstance(value, dict):
        return "=".join(str(value.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    return "" if value is None else str(value).replace("\x00", "")


def is_uid(text: str) -> bool:
    """Whether a text has the form of a UID (PS3.5 section 9.1). Leading zeros exist in the field and are let pass."""
    return len(text) <= _UID_LENGTH_MAX and _UID.fullmatch(text) is not None


def named(file: Part10) -> tuple[str, str]:
    """SOP Class and Instance UID that a file names, as far as they are there and well formed: for answers."""
    sop_class = first(file.header, SOP_CLASS) or first(file.meta, _META_CLASS)
    sop_uid = first(file.header, SOP_UID) or first(file.meta, _META_UID)
    return (sop_class if is_uid(sop_class) else "", sop_uid if is_uid(sop_uid) else "")


def identify(file: Part10) -> Identity:
    """Which instance a file is.

    Blank SOP UIDs are taken from the file meta information, and blank study and series UIDs are derived from the Frame
    of Reference UID, each with a warning. The file itself stays as it came.

    Raises
    ------
    MissingUids, MalformedUid
        If it does not say so.
    UnsupportedSopClass
        If it is nothing that an archive stores.
    TruncatedInstance
        If it describes an image and ends before one.
    """
    own_study, own_series = first(file.header, STUDY_UID), first(file.header, SERIES_UID)
    study = own_study or _derived(file.header, _STUDY_SIGNS)
    series = own_series or _derived(file.header, _SERIES_SIGNS)
    own_class, own_uid = first(file.header, SOP_CLASS), first(file.header, SOP_UID)
    meta_class, meta_uid = first(file.meta, _META_CLASS), first(file.meta, _META_UID)
    sop_class, sop_uid = own_class or meta_class, own_uid or meta_uid
    uids = (study, series, sop_uid, sop_class)
    if not all(uids):
        raise MissingUids
    if not all(is_uid(uid) for uid in uids):
        raise MalformedUid
    if not is_storage(sop_class):
        raise UnsupportedSopClass
    if _ROWS in file.header and file.pixel_tag is None and _PROVIDER not in file.header:
        raise TruncatedInstance("the header describes an image, and there is none")
    warning = ""
    if not (own_study and own_series):
        warning = "uids-derived"
    elif not (own_class and own_uid):
        warning = "uids-from-file-meta"
    elif (meta_class and meta_class != own_class) or (meta_uid and meta_uid != own_uid):
        warning = "file-meta-differs"
    elif is_private(sop_class):
        warning = "private-sop-class"
    return Identity(study, series, sop_uid, sop_class, warning)


def with_uids(header: Header, identity: Identity, at_ms: int = 0) -> Header:
    """The header as it is indexed: with all four UIDs, even where the data set itself lacks them.

    What was blank is said in Original Attributes Sequence (0400,0561), PS3.3 C.12.1.1.9.

    Parameters
    ----------
    at_ms
        When the instance came, milliseconds since the epoch: Attribute Modification DateTime.
    """
    if identity.warning not in {"uids-derived", "uids-from-file-meta"}:
        return header
    uids = {
        SOP_CLASS: identity.sop_class,
        SOP_UID: identity.sop_uid,
        STUDY_UID: identity.study_uid,
        SERIES_UID: identity.series_uid,
    }
    blank: Header = {tag: {"vr": "UI"} for tag in sorted(uids) if not first(header, tag)}
    changed: Header = {
        "04000550": {"vr": "SQ", "Value": [blank]},
        "04000562": {"vr": "DT", "Value": [f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y%m%d%H%M%S+0000}"]},
        "04000563": {"vr": "LO", "Value": [_SYSTEM]},
        "04000564": {"vr": "LO"},
        "04000565": {"vr": "CS", "Value": ["CORRECT"]},
    }
    earlier = header.get(ORIGINAL_ATTRIBUTES, {}).get("Value") or []
    added: Header = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
    added[ORIGINAL_ATTRIBUTES] = {"vr": "SQ", "Value": [*earlier, changed]}
    return dict(sorted({**header, **added}.items()))


def were_uids_corrected(header: Header) -> bool:
    """Whether `with_uids` gave this header UIDs that the data set lacks."""
    items = header.get(ORIGINAL_ATTRIBUTES, {}).get("Value") or []
    return any(isinstance(item, dict) and first(item, "04000563") == _SYSTEM for item in items)


def _derived(header: Header, signs: tuple[str, ...]) -> str:
    """A UID in place of a blank one: the same for the same acquisition, and none without a Frame of Reference UID.

    That UID belongs to one acquisition of one patient alone, so nothing else can end in the same study or series.
    """
    frame = first(header, _FRAME_OF_REFERENCE)
    if not frame:
        return ""
    text = "\x00".join((frame, *signs, *(first(header, tag) for tag in signs)))
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode('utf-8', 'replace')).digest()[:16], 'big')}"
