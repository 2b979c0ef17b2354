"""Bundle: a model as a versioned folder of declarations in MONAI's format. Code only interprets it.

`configs/metadata.json` follows MONAI's schema. What BitHive needs beyond it is the extension: engines with the parity
each must show, the shapes of the networks, reference work units, findings, the payload's data class, the licence, and
for every file of weights its size, its SHA-256 and where it comes from. A bundle of rules has no networks (`{}`) and no
weights (`[]`), and lists the engine `numpy`. A bundle written for BitHive has it under
`bithive` in its metadata; for one of the zoo's form, installing derives it and writes `configs/bithive.json`. Reading a
bundle imports neither PyTorch nor MONAI.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bithive.canonical import digest
from bithive.limits import BUNDLE_FILE_BYTES_MAX
from bithive.offer import DataClass
from models import licence, structures
from models.errors import BadBundle
from models.pins import PinnedFile, WheelSource
from models.structures import Structure

__all__ = ["DERIVED", "INFERENCE", "MANIFEST", "METADATA", "SIGNATURE", "Bundle", "PinnedFile", "WheelSource"]

METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"
INFERENCES = (INFERENCE, "configs/inference.yaml", "configs/inference.yml")
DERIVED = "configs/bithive.json"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
EVALUATION = "docs/evaluation.json"

RULES = "numpy"
"""The engine of a bundle that has no networks."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
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
_REQUIRED_OF_ZOO = ("version", "network_data_format")
"""Old versions of the zoo's bundles have little more; a card shows what is there."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A MONAI bundle at an exact version and SHA-256.

    Attributes
    ----------
    name, version
        Its folder's name; its metadata's version.
    sha256
        Digest over the SHA-256 of each of its files and of each of its weights: it changes when anything does. Neither
        the manifest nor the record of an evaluation is among them: who installed it when, and what was measured of it,
        changes nothing of what runs, and a record can name the digest of what it measured.
    folder
        Where its declarations lie.
    form
        How `configs/inference.json` is to be read: `bithive` names transforms of ours, `zoo` is the zoo's own.
    metadata
        `configs/metadata.json`.
    extension
        What BitHive adds to MONAI's schema.
    """

    name: str
    version: str
    sha256: str
    folder: Path
    form: Literal["bithive", "zoo"]
    metadata: Mapping[str, Any]
    extension: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read and check a bundle's folder.

        Raises
        ------
        BadBundle
            If its name is malformed, a file is missing or unreadable, or the metadata lacks a required member.
        """
        if not NAME.fullmatch(folder.name):
            raise BadBundle("a bundle's folder is named in letters, digits and underscores")
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if _counts(path)}
        if METADATA not in files or not any(name in files for name in INFERENCES):
            raise BadBundle("metadata.json or inference.json is missing")
        metadata = read_object(files[METADATA])
        form: Literal["bithive", "zoo"] = "zoo" if DERIVED in files else "bithive"
        missing = [key for key in (_REQUIRED_OF_ZOO if form == "zoo" else _REQUIRED) if key not in metadata]
        if missing:
            raise BadBundle(f"metadata.json lacks {', '.join(missing)}")
        extension = read_object(files[DERIVED]) if form == "zoo" else metadata["bithive"]
        if not isinstance(extension, dict):
            raise BadBundle("the bithive section of metadata.json is no object")
        kept = {name: path for name, path in files.items() if name not in {MANIFEST, SIGNATURE, EVALUATION}}
        listing = {
            "files": {name: _sha256(path) for name, path in kept.items()},
            "weights": {item.file: item.sha256 for item in _weights(extension)},
        }
        bundle = cls(folder.name, str(metadata["version"]), digest(listing), folder, form, metadata, extension)
        _check_extension(bundle)
        return bundle

    @property
    def weights(self) -> tuple[PinnedFile, ...]:
        """The files that the catalogue must supply."""
        return _weights(self.extension)

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines whose parity with the reference was shown, the fastest first."""
        return tuple(self.extension["engines"])

    @property
    def data_class(self) -> DataClass:
        """Of the payload."""
        return DataClass(self.extension["data_class"])

    @property
    def licence(self) -> str:
        """SPDX identifier of the licence of the weights, or `unknown`."""
        declared = self.extension.get("licence")
        return licence.spdx(str(declared)) if declared else licence.of_bundle(self.folder, self.metadata)

    @property
    def structures(self) -> tuple[Structure, ...]:
        """What each label of its label map stands for, by label; none for a bundle that finds masks."""
        return structures.from_rows(self.extension.get("findings", {}).get("structures", ()))

    @property
    def regions(self) -> tuple[str, ...]:
        """Keys of what its boxes hold, in the order of the network's classes; none for a bundle that finds no boxes."""
        return tuple(str(key) for key in self.extension.get("findings", {}).get("regions", ()))

    def inference(self) -> dict[str, Any]:
        """`configs/inference.json` (or `.yaml`, `.yml`): how the bundle runs. Raises `BadBundle`."""
        return read_inference(self.folder)

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


def read_object(path: Path) -> dict[str, Any]:
    """A small JSON file that holds an object. Raises `BadBundle`."""
    try:
        value = json.loads(_read_small(path))
    except (ValueError, RecursionError):
        raise BadBundle(f"{path.name} cannot be read") from None
    if not isinstance(value, dict):
        raise BadBundle(f"{path.name} is not an object")
    return value


def read_inference(folder: Path) -> dict[str, Any]:
    """`configs/inference.json` of a bundle's folder, or its YAML form. Raises `BadBundle`."""
    path = next((folder / name for name in INFERENCES if (folder / name).is_file()), None)
    if path is None:
        raise BadBundle("inference.json is missing")
    return read_object(path) if path.suffix == ".json" else _read_yaml(path)


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        value = yaml.safe_load(_read_small(path))
    except (yaml.YAMLError, ValueError, RecursionError):
        raise BadBundle(f"{path.name} cannot be read") from None
    if not isinstance(value, dict):
        raise BadBundle(f"{path.name} is not an object")
    return value


def _read_small(path: Path) -> bytes:
    try:
        if path.stat().st_size > BUNDLE_FILE_BYTES_MAX:
            raise BadBundle(f"{path.name} is too large for a declaration")
        return path.read_bytes()
    except OSError:
        raise BadBundle(f"{path.name} cannot be read") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")


def _weights(extension: Mapping[str, Any]) -> tuple[PinnedFile, ...]:
    rows = extension.get("weights")
    if not isinstance(rows, list):
        raise BadBundle("no weights are declared")
    return tuple(PinnedFile.from_json(row) for row in rows)


def _check_extension(bundle: Bundle) -> None:
    try:
        units = bundle.extension["work_units"]
        plain = all(type(units[key]) is int and units[key] >= 0 for key in ("base", "per_million_voxels"))
        complete = bool(bundle.engines) and bool(bundle.data_class) and bundle.reference_work_units(1) > 0
        known = bundle.structures or bundle.regions
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BadBundle("what BitHive needs of the bundle is incomplete") from None
    by_rules = bundle.form != "zoo" and bundle.engines == (RULES,) and bundle.extension.get("networks") == {}
    if not bundle.weights and not by_rules:
        raise BadBundle("no weights are declared")
    if not (plain and complete) or (bundle.form == "zoo" and not known):
        raise BadBundle("what BitHive needs of the bundle is out of range")
