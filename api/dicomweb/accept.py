"""Content negotiation (RFC 9110 section 12.5.1, PS3.18 section 8.7): what a client takes, most wanted first."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastapi import Request

from api.dicomweb.errors import NotAcceptable
from api.dicomweb.multipart import parameters
from clinic.syntaxes import EXPLICIT_LITTLE_ENDIAN

MULTIPART = "multipart/related"
DICOM = "application/dicom"
OCTETS = "application/octet-stream"
JSON_TYPES = ("application/dicom+json", "application/json")

_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')
_HEADER_CHARACTERS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Range:
    """One media range of an Accept header.

    Attributes
    ----------
    media_type
        In lower case: "multipart/related", "image/*", "*/*".
    part_type
        The `type` parameter of a multipart; "*/*" when absent.
    syntax
        The `transfer-syntax` parameter: a UID, "*", or the default, Explicit VR Little Endian.
    named
        Whether the client named a transfer syntax at all.
    quality
        0 to 1.
    """

    media_type: str
    part_type: str
    syntax: str
    named: bool
    quality: float

    def takes(self, media_type: str) -> bool:
        """Whether a single part of that type is welcome."""
        return matches(self.media_type, media_type)

    def takes_parts(self, media_type: str) -> bool:
        """Whether a multipart of that type is welcome."""
        return matches(self.media_type, MULTIPART) and matches(self.part_type, media_type)

    def takes_syntax(self, syntax: str) -> bool:
        """Whether that transfer syntax is welcome."""
        return self.syntax in {"*", syntax}


def ranges(request: Request) -> list[Range]:
    """What the client takes, most wanted first; anything when it does not say.

    The `accept` query parameter (PS3.18 8.3.3.1) goes before the header.
    """
    wanted = request.query_params.get("accept") or ", ".join(request.headers.getlist("accept")) or "*/*"
    if len(wanted) > _HEADER_CHARACTERS_MAX:
        raise NotAcceptable("the Accept header is too long")
    found = [_range(text) for text in _COMMA.split(wanted) if text.strip()]
    return sorted((item for item in found if item.quality > 0), key=lambda item: -item.quality)


def wants_json(request: Request) -> str:
    """The JSON media type to answer with: always the DICOM one where that is welcome.

    Raises
    ------
    NotAcceptable
        If the client takes no JSON.
    """
    for item in ranges(request):
        for media_type in JSON_TYPES:
            if item.takes(media_type):
                return media_type
    raise NotAcceptable


def single(request: Request, offers: tuple[str, ...]) -> str:
    """The most wanted of some single-part media types. Raises `NotAcceptable`."""
    for item in ranges(request):
        for media_type in offers:
            if item.takes(media_type):
                return media_type
    raise NotAcceptable


def _range(text: str) -> Range:
    media_type, names = parameters(text.strip())
    try:
        quality = float(names.get("q", "1"))
    except ValueError:
        quality = 1.0
    syntax = names.get("transfer-syntax", "")
    return Range(media_type, names.get("type", "*/*").lower(), syntax or EXPLICIT_LITTLE_ENDIAN, bool(syntax), quality)


def matches(pattern: str, media_type: str) -> bool:
    """Whether a media range such as `image/*` takes a media type."""
    if pattern in {"*/*", "*"}:
        return True
    return pattern == media_type or (pattern.endswith("/*") and media_type.startswith(pattern[:-1]))
