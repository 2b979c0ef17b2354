"""Before a public set is sent: do its images, or the set's own manifest, say that nobody can be known by them?"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pydicom
from pydicom.errors import InvalidDicomError

from api.sender import Source
from bithive.errors import Refused
from clinic.public_sets import Basis

MANIFEST = "public-set.json"
_TAGS = ["StudyInstanceUID", "PatientIdentityRemoved", "BurnedInAnnotation"]
_MANIFEST_BYTES_MAX = 1 << 20


class NotDeidentified(Refused):
    code, title = "not-de-identified", "The images do not say that the patient's identity was removed"


@dataclass(frozen=True, slots=True)
class PublicSources:
    """What may be declared public.

    Attributes
    ----------
    study_uids
        The studies of the files, sorted.
    basis
        By what it is known.
    """

    study_uids: tuple[str, ...]
    basis: Basis


def check_public(folder: Path, sources: Sequence[Source], name: str, licence: str) -> PublicSources:
    """Look at the header of every file.

    Parameters
    ----------
    folder
        What was given; a manifest `public-set.json` may lie in it: `{"name": ..., "licence": ..., "de_identified": true}`.
    sources
        Its DICOM files.
    name, licence
        As the set is going to be declared; a manifest has to say the same.

    Raises
    ------
    NotDeidentified
        If any image says that the identity was not removed, or has burned-in text; or none says so, nor a manifest.
    """
    manifest = _manifest(folder, name, licence)
    studies, flagged = set(), True
    for source in sources:
        uid, removed, burned = _read(source)
        if removed == "NO" or burned == "YES":
            raise NotDeidentified("an image says that it shows who the patient is", file=_name(source))
        if removed != "YES":
            flagged = False
            if not manifest:
                raise NotDeidentified(f"say so in {MANIFEST} if the set's publisher does", file=_name(source))
        studies.add(uid)
    return PublicSources(tuple(sorted(studies)), Basis.FLAGS if flagged else Basis.MANIFEST)


def _read(source: Source) -> tuple[str, str, str]:
    """Study, and what (0012,0062) and (0028,0301) say."""
    try:
        if source.entry is None:
            with source.path.open("rb") as file:
                return _header(file, source)
        with zipfile.ZipFile(source.path) as archive, archive.open(source.entry) as member:
            return _header(member, source)
    except (InvalidDicomError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise NotDeidentified("a file cannot be read", file=_name(source)) from error


def _header(file: IO[bytes], source: Source) -> tuple[str, str, str]:
    dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
    uid = str(dataset.get("StudyInstanceUID", ""))
    if not uid:
        raise NotDeidentified("a file is of no study", file=_name(source))
    says = [str(dataset.get(name, "") or "").strip().upper() for name in _TAGS[1:]]
    return uid, says[0], says[1]


def _manifest(folder: Path, name: str, licence: str) -> bool:
    """Whether a manifest says, of this set and licence, that the identity was removed."""
    path = folder / MANIFEST
    if not folder.is_dir() or not path.is_file():
        return False
    try:
        said = json.loads(path.read_bytes()[:_MANIFEST_BYTES_MAX])
    except (OSError, ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise NotDeidentified(f"{MANIFEST} is no JSON object")
    if (said.get("name"), said.get("licence")) != (name, licence):
        raise NotDeidentified(f"{MANIFEST} is of another set or licence")
    return said.get("de_identified") is True


def _name(source: Source) -> str:
    return source.entry or source.path.name
