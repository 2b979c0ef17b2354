"""Bundle: a model as a versioned folder of declarations in MONAI's format. Code only interprets it.

`configs/metadata.json` follows MONAI's schema; what BitHive needs beyond it stands under `bithive`: engines with the
parity each must show, the shapes of the networks, reference work units, plausible findings, the payload's data class,
and for every file of weights its size, its SHA-256 and where it comes from. Reading a bundle imports neither PyTorch nor
MONAI.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bithive.canonical import digest
from bithive.offer import DataClass
from models.errors import BadBundle

METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"

_HEX64 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_REQUIRED = (
    "schema",
    "version",
    "changelog",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "name",
    "task",
    "description",
    "authors",
    "copyright",
    "license",
    "data_source",
    "data_type",
    "eval_metrics",
    "intended_use",
    "population",
    "references",
    "network_data_format",
    "bithive",
)


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A file inside a wheel of the Python package index.

    Attributes
    ----------
    distribution, version
        Exactly which release.
    wheel_sha256, wheel_size_bytes
        Of the wheel.
    member
        Path of the file in it.
    """

    distribution: str
    version: str
    wheel_sha256: str
    wheel_size_bytes: int
    member: str


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file that is not in the repository, and how to know it when it is found.

    Attributes
    ----------
    file
        Path relative to the bundle's folder, as its configuration names it.
    sha256, size_bytes
        Of the content.
    source
        Where it comes from when no mirror has it.
    """

    file: str
    sha256: str
    size_bytes: int
    source: WheelSource

    @classmethod
    def from_json(cls, value: Any) -> PinnedFile:
        """Read a declaration. Raises `BadBundle`."""
        try:
            source = value["source"]
            if source["kind"] != "wheel":
                raise BadBundle("weights come from a source that is not spoken here")
            pinned = cls(
                str(value["file"]),
                str(value["sha256"]),
                int(value["size_bytes"]),
                WheelSource(
                    str(source["distribution"]),
                    str(source["version"]),
                    str(source["wheel_sha256"]),
                    int(source["wheel_size_bytes"]),
                    str(source["member"]),
                ),
            )
        except (KeyError, TypeError, ValueError):
            raise BadBundle("a declaration of weights is incomplete") from None
        if not (_HEX64.fullmatch(pinned.sha256) and _HEX64.fullmatch(pinned.source.wheel_sha256)):
            raise BadBundle("weights are not pinned by SHA-256")
        if pinned.size_bytes <= 0 or ".." in Path(pinned.file).parts or Path(pinned.file).is_absolute():
            raise BadBundle("a declaration of weights has no size, or leads out of the bundle")
        return pinned


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A MONAI bundle at an exact version and SHA-256.

    Attributes
    ----------
    name, version
        Its folder's name; its metadata's version.
    sha256
        Digest over the SHA-256 of each of its files and of each of its weights: it changes when anything does.
    folder
        Where its declarations lie.
    metadata
        `configs/metadata.json`.
    """

    name: str
    version: str
    sha256: str
    folder: Path
    metadata: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read and check a bundle's folder.

        Raises
        ------
        BadBundle
            If its name is malformed, a file is missing or unreadable, or the metadata lacks a required member.
        """
        if not _NAME.fullmatch(folder.name):
            raise BadBundle("a bundle's folder is named in lower-case letters, digits and underscores")
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if _counts(path)}
        if METADATA not in files or INFERENCE not in files:
            raise BadBundle("metadata.json or inference.json is missing")
        metadata = _read_object(files[METADATA])
        missing = [key for key in _REQUIRED if key not in metadata]
        if missing:
            raise BadBundle(f"metadata.json lacks {', '.join(missing)}")
        pinned = _weights(metadata)
        listing = {
            "files": {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()},
            "weights": {item.file: item.sha256 for item in pinned},
        }
        bundle = cls(folder.name, str(metadata["version"]), digest(listing), folder, metadata)
        _check_extension(bundle)
        return bundle

    @property
    def weights(self) -> tuple[PinnedFile, ...]:
        """The files that the catalogue must supply."""
        return _weights(self.metadata)

    @property
    def extension(self) -> Mapping[str, Any]:
        """What BitHive adds to MONAI's schema."""
        extension: Mapping[str, Any] = self.metadata["bithive"]
        return extension

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines whose parity with the reference was shown, the fastest first."""
        return tuple(self.extension["engines"])

    @property
    def data_class(self) -> DataClass:
        """Of the payload."""
        return DataClass(self.extension["data_class"])

    def inference(self) -> dict[str, Any]:
        """`configs/inference.json`: how the bundle runs. Raises `BadBundle`."""
        return _read_object(self.folder / INFERENCE)

    def reference_work_units(self, voxels: int) -> int:
        """Reference work units of one run.

        Parameters
        ----------
        voxels
            Of the source Volume.

        Returns
        -------
        int
            The declared base, plus the declared units for each million voxels, rounded up. It is a property of the
            bundle and of the input's size alone: never of the seconds that a node reports.
        """
        assert voxels > 0, "a volume has voxels"
        units = self.extension["work_units"]
        return int(units["base"]) + -(-voxels * int(units["per_million_voxels"]) // 1_000_000)


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise BadBundle(f"{path.name} cannot be read") from None
    if not isinstance(value, dict):
        raise BadBundle(f"{path.name} is not an object")
    return value


def _weights(metadata: Mapping[str, Any]) -> tuple[PinnedFile, ...]:
    extension = metadata["bithive"]
    rows = extension.get("weights") if isinstance(extension, dict) else None
    if not isinstance(rows, list) or not rows:
        raise BadBundle("no weights are declared")
    return tuple(PinnedFile.from_json(row) for row in rows)


def _check_extension(bundle: Bundle) -> None:
    try:
        units = bundle.extension["work_units"]
        plain = all(type(units[key]) is int and units[key] >= 0 for key in ("base", "per_million_voxels"))
        complete = bool(bundle.engines) and bool(bundle.data_class) and bundle.reference_work_units(1) > 0
    except (KeyError, TypeError, ValueError):
        raise BadBundle("the bithive section of metadata.json is incomplete") from None
    if not (plain and complete):
        raise BadBundle("the bithive section of metadata.json is out of range")
