"""The pipelines that a site declares for itself: a folder of YAML files beside the installation.

A file that is wrong declares nothing, says where it is wrong, and keeps nobody else from anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bithive.errors import Refused
from bithive.limits import PIPELINE_FILE_BYTES_MAX, PIPELINE_FILES_MAX
from models.bundle import Bundle
from pipelines.errors import PipelineFileRefused
from pipelines.from_bundle import pipeline_of
from pipelines.from_file import PipelineFile, pipeline_from, read
from pipelines.spec import Pipeline

SUFFIXES = (".yaml", ".yml")
BUNDLE_ABSENT = "bundle-absent"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file gives no pipeline.

    Attributes
    ----------
    file
        Its name, without the folder.
    line
        Counted from 1.
    code
        `pipeline-file-refused`, `bundle-absent`, or why the bundle gives no pipeline.
    detail
        One sentence.
    """

    file: str
    line: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Site:
    """What the folder declares.

    Attributes
    ----------
    files
        What was read, by the file's name.
    pipelines
        Of those whose bundle is here and is the one they want, by the pipeline's name.
    problems
        Of the others, in order of the files' names.
    """

    files: Mapping[str, PipelineFile]
    pipelines: Mapping[str, Pipeline]
    problems: tuple[Problem, ...]


def stamp(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Changes when a file of the folder comes, goes or is written."""
    found = []
    for path in _listed(folder):
        try:
            seen = path.stat()
        except OSError:
            continue
        found.append((path.name, seen.st_ino, seen.st_size, seen.st_mtime_ns))
    return tuple(found)


def site(folder: Path, bundles: Mapping[str, Bundle], declared: Mapping[str, Pipeline]) -> Site:
    """What a folder declares, with the bundles that are installed.

    Parameters
    ----------
    folder
        It need not exist.
    bundles
        The catalogue's, by name.
    declared
        The tasks that come with BitHive, by name: theirs are not taken, and one that runs a bundle is what a file about
        that bundle starts from.
    """
    files: dict[str, PipelineFile] = {}
    problems: list[Problem] = []
    for number, path in enumerate(_listed(folder)):
        if number >= PIPELINE_FILES_MAX:
            detail = f"there are more than {PIPELINE_FILES_MAX} files; this one and the rest are not read"
            problems.append(Problem(path.name, 1, PipelineFileRefused.code, detail))
            break
        try:
            files[path.name] = read(_content(path))
        except PipelineFileRefused as error:
            problems.append(Problem(path.name, error.line, error.code, error.detail))
    found: dict[str, Pipeline] = {}
    for name, file in files.items():
        try:
            _check_name(name, file, files, bundles, declared)
            found[file.name] = _pipeline(file, bundles, declared)
        except PipelineFileRefused as error:
            problems.append(Problem(name, error.line, error.code, error.detail))
        except Refused as error:
            problems.append(Problem(name, file.lines["bundle.name"], error.code, error.detail))
        except _BundleAbsent:
            wanted = file.bundle["name"]
            detail = f"the bundle {wanted} is not installed: bithive models pull {file.name}"
            problems.append(Problem(name, file.lines["bundle.name"], BUNDLE_ABSENT, detail))
    return Site(files, found, tuple(sorted(problems, key=lambda problem: problem.file)))


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a bundle is to be had.

    Attributes
    ----------
    bundle
        Its name.
    source
        A path or an HTTPS address; empty: what the catalogue knows by that name.
    sha256
        Of the zip.
    """

    bundle: str = ""
    source: str = ""
    sha256: str | None = None


def references(folder: Path) -> dict[str, Reference]:
    """What the files of a folder say of where their bundles are, by the bundle's name and by the pipeline's.

    A path that is not absolute starts from the folder. Files that cannot be read say nothing.
    """
    found: dict[str, Reference] = {}
    for path in _listed(folder):
        try:
            file = read(_content(path))
        except PipelineFileRefused:
            continue
        bundle, source = file.bundle["name"], file.bundle.get("from", "")
        if source and not source.startswith("https://"):
            source = str((folder / source).absolute())
        for name in (bundle, file.name):
            found.setdefault(name, Reference(bundle, source or bundle, file.bundle.get("from_sha256")))
    return found


def read_file(path: Path) -> PipelineFile:
    """One file, looked at by itself. Raises `PipelineFileRefused`."""
    return read(_content(path))


class _BundleAbsent(Exception):
    pass


def _pipeline(file: PipelineFile, bundles: Mapping[str, Bundle], declared: Mapping[str, Pipeline]) -> Pipeline:
    bundle = bundles.get(file.bundle["name"])
    if bundle is None:
        raise _BundleAbsent
    ready_made = next((item for _, item in sorted(declared.items()) if item.bundle == bundle.name), None)
    return pipeline_from(file, bundle, ready_made or pipeline_of(bundle))


def _check_name(
    name: str,
    file: PipelineFile,
    files: Mapping[str, PipelineFile],
    bundles: Mapping[str, Bundle],
    declared: Mapping[str, Pipeline],
) -> None:
    line = file.lines["name"]
    others = [other for other, item in files.items() if item.name == file.name and other != name]
    if others:
        raise PipelineFileRefused(f"name: {file.name} stands in {', '.join(others)[:100]} too", line=line)
    if file.name in declared:
        raise PipelineFileRefused(f"name: {file.name} comes with BitHive", line=line)
    if file.name in bundles and file.bundle["name"] != file.name:
        raise PipelineFileRefused(f"name: {file.name} is the name of another bundle", line=line)


def _content(path: Path) -> bytes:
    """A regular file's bytes, no more than one too many."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not path.is_file():
                raise PipelineFileRefused("it is no file", line=1)
            return file.read(PIPELINE_FILE_BYTES_MAX + 1)
    except OSError:
        raise PipelineFileRefused("it cannot be read", line=1) from None


def _listed(folder: Path) -> Sequence[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    except OSError:
        return ()
