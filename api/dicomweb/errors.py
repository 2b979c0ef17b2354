"""What can go wrong with a DICOMweb request as such."""

from __future__ import annotations

from bithive.errors import BadInput, Forbidden, Unsupported


class BadMultipart(BadInput):
    code, title = "bad-multipart", "The multipart body is malformed"


class BadUid(BadInput):
    code, title = "bad-uid", "The address names no well-formed UID"


class UnsupportedMediaType(Unsupported):
    code, title = "unsupported-media-type", "This service does not take content of that type"


class NotAcceptable(Unsupported):
    code, title, status = "not-acceptable", "None of the accepted media types can be given", 406


class NoInstitution(Forbidden):
    code, title = "no-institution", "The account belongs to no institution"
