"""What can go wrong on the way into the archive and out of it.

An `InstanceRefused` leaf concerns one instance of a request and is answered inside a STOW-RS response: `reason` is its
Failure Reason (0008,1197), from PS3.18 Table I.2-2 and PS3.7 Annex C, one value a code.
"""

from __future__ import annotations

from typing import ClassVar

from bithive.errors import BadInput, LimitExceeded, NotFound, Refused, Unavailable, leaves


class InstanceRefused(Refused):
    code, title = "instance-refused", "The instance was not stored"
    reason: ClassVar[int] = 0x0110


class StoreFailed(InstanceRefused):
    code, title = "store-failed", "The instance could not be stored"
    reason = 0x0110


class InstanceDiffers(InstanceRefused):
    code, title = "instance-differs", "Another data set with the same SOP Instance UID is already stored"
    reason = 0x0111


class UnsupportedSopClass(InstanceRefused):
    code, title = "unsupported-sop-class", "The SOP class is not one for storage"
    reason = 0x0122


class UnsupportedTransferSyntax(InstanceRefused):
    code, title = "unsupported-transfer-syntax", "The transfer syntax is not known"
    reason = 0xC122


class NoSpace(InstanceRefused):
    code, title = "no-space", "There is not enough disk space for the instance"
    reason = 0xA700


class InstanceTooLarge(InstanceRefused):
    code, title = "instance-too-large", "The instance is larger than the limit"
    reason = 0xA701


class StudyFull(InstanceRefused):
    code, title = "study-full", "The study holds as many instances as the limit allows"
    reason = 0xA702


class MissingUids(InstanceRefused):
    code, title = "missing-uids", "The data set lacks a UID that every instance needs"
    reason = 0xA900


class StudyMismatch(InstanceRefused):
    code, title = "study-mismatch", "The instance belongs to another study than the request names"
    reason = 0xA901


class PatientMismatch(InstanceRefused):
    code, title = "patient-mismatch", "The study already holds instances of another patient"
    reason = 0xA902


class SeriesMismatch(InstanceRefused):
    code, title = "series-mismatch", "The series already belongs to another study"
    reason = 0xA903


class NotDicom(InstanceRefused):
    code, title = "not-dicom", "It is no DICOM Part 10 file"
    reason = 0xC000


class TruncatedInstance(InstanceRefused):
    code, title = "truncated-instance", "The instance ends before its data set does"
    reason = 0xC001


class UnreadableDataset(InstanceRefused):
    code, title = "unreadable-dataset", "The data set is malformed"
    reason = 0xC002


class MalformedUid(InstanceRefused):
    code, title = "malformed-uid", "A UID is malformed"
    reason = 0xC003


class HeaderTooDeep(InstanceRefused):
    code, title = "header-too-deep", "Sequences are nested deeper than the limit"
    reason = 0xC004


class HeaderTooLarge(InstanceRefused):
    code, title = "header-too-large", "The header is larger than the limit"
    reason = 0xC005


class DeflatedTooLarge(InstanceRefused):
    code, title = "deflated-too-large", "The deflated data set expands beyond the limit"
    reason = 0xC006


WARNINGS = {
    "uids-derived": 0xB000,
    "uids-from-file-meta": 0xB007,
    "file-meta-differs": 0xB007,
    "private-sop-class": 0xB007,
}
"""Instances that were stored with a Warning Reason (0008,1196): their codes and its value.

`uids-derived`: the study or series UID was blank and is indexed as derived from the Frame of Reference UID.
`uids-from-file-meta`: SOP Class or Instance UID stood only in the file meta information. `file-meta-differs`: the file
meta information names another instance than the data set, which counts. `private-sop-class`: kept, and not understood.
"""


class RequestTooLarge(LimitExceeded):
    code, title = "request-too-large", "The request is larger than the limit"


class TooManyInstances(LimitExceeded):
    code, title = "too-many-instances", "The request holds more instances than the limit"


class NoInstances(BadInput):
    code, title = "no-instances", "The request holds no instance"


class DiskLow(Unavailable):
    code, title = "disk-low", "Disk space is low: new studies are not taken at the moment"


class DiskFull(Unavailable):
    code, title = "disk-full", "Disk space is exhausted: nothing can be stored at the moment"


class BadQuery(BadInput):
    code, title = "bad-query", "A query parameter is unknown or malformed"


class StudyAbsent(NotFound):
    code, title = "study-absent", "There is no such study"


class SeriesAbsent(NotFound):
    code, title = "series-absent", "There is no such series"


class InstanceAbsent(NotFound):
    code, title = "instance-absent", "There is no such instance"


class FrameAbsent(NotFound):
    code, title = "frame-absent", "The instance has no such frame"


class BulkAbsent(NotFound):
    code, title = "bulk-absent", "The instance has no such bulk value"


class BadFrameList(BadInput):
    code, title = "bad-frame-list", "The list of frames is malformed"


class UnreadablePixels(Refused):
    code, title = "unreadable-pixels", "The pixels cannot be decoded"


class BadZip(BadInput):
    code, title = "bad-zip", "The zip archive is damaged or is none"


class ZipEncrypted(Refused):
    code, title = "zip-encrypted", "The zip archive is encrypted"


class ZipMethod(Refused):
    code, title = "zip-method", "The zip archive is packed in a way that is not read"


class ZipNested(Refused):
    code, title = "zip-nested", "The zip archive holds another archive"


class ZipPath(Refused):
    code, title = "zip-path", "The zip archive holds a path that leads out of it"


class ZipTooMany(LimitExceeded):
    code, title = "zip-too-many-entries", "The zip archive holds more entries than the limit"


class ZipTooLarge(LimitExceeded):
    code, title = "zip-too-large", "The zip archive expands beyond the limit"


class ZipBomb(LimitExceeded):
    code, title = "zip-bomb", "The zip archive expands out of all proportion, or its entries overlap"


class AccessLogBroken(Refused):
    code, title = "access-log-broken", "The access log's chain does not hold"


REASONS: dict[str, int] = {
    leaf.code: leaf.reason for leaf in leaves() if issubclass(leaf, InstanceRefused) and leaf is not InstanceRefused
}
"""Failure Reason (0008,1197) by code."""
