"""Transfer syntaxes and storage SOP classes: which are taken, and what their frames are called on the web."""

from __future__ import annotations

from pydicom.uid import UID_dictionary

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

NATIVE = frozenset({IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, DEFLATED})

# Codecs of the permissive packages that are installed: pillow, pylibjpeg-openjpeg, gdcm, pydicom's own RLE.
DECODABLE = NATIVE | {
    "1.2.840.10008.1.2.1.98",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.5",
}

# PS3.18 Table 8.7.3-5: media types of compressed frames.
FRAME_MEDIA_TYPES = {
    **dict.fromkeys(
        (f"1.2.840.10008.1.2.4.{suffix}" for suffix in ("50", "51", "57", "70")),
        "image/jpeg",
    ),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{suffix}" for suffix in ("80", "81")), "image/jls"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{suffix}" for suffix in ("90", "91")), "image/jp2"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{suffix}" for suffix in ("92", "93")), "image/jpx"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{suffix}" for suffix in ("201", "202", "203")), "image/jphc"),
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}

_ROOT = "1.2.840.10008."
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_DIRECTORY = "1.2.840.10008.1.3.10"
_CLASSES = {uid: entry[0] for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class"}


def is_known(transfer_syntax: str) -> bool:
    """Whether data sets of that transfer syntax can be read: each that DICOM has defined for files."""
    entry = UID_dictionary.get(transfer_syntax)
    return entry is not None and entry[1] == "Transfer Syntax"


def is_private(sop_class: str) -> bool:
    """Whether a SOP class is a manufacturer's own."""
    return not sop_class.startswith(_ROOT)


def is_storage(sop_class: str) -> bool:
    """Whether a SOP class is kept by the archive.

    Private classes are (with a warning), and so are classes under DICOM's storage root that are newer than the
    dictionary. Services and the media directory are not.
    """
    if is_private(sop_class):
        return True
    if sop_class == _DIRECTORY:
        return False
    name = _CLASSES.get(sop_class)
    if name is None:
        return sop_class.startswith(_STORAGE)
    if sop_class.startswith(_STORAGE):
        return not name or "Storage" in name
    return "Storage" in name and "Commitment" not in name
