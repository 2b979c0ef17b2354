"""Bundles as they lie in the store once installed, without weights: what a hub reads of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bithive.keys import SigningKey
from models import manifest
from models.bundle import Bundle
from models.structures import from_channels
from tests.common import zoo


def installed(
    folder: Path,
    name: str = "spleen_ct_segmentation",
    names: Sequence[str] = ("spleen",),
    modality: str = "CT",
    pixdim: Sequence[float] = (1.5, 1.5, 2.0),
    licence: str = "Apache-2.0",
    inputs: Mapping[str, Any] | None = None,
    title: str | None = None,
    **metadata: Any,
) -> Bundle:
    """A bundle of the zoo's form as installing leaves it.

    Parameters
    ----------
    folder
        Where `<name>/` goes.
    name, names
        Of the bundle; of its structures, in order.
    modality, pixdim, licence
        As it declares them.
    inputs
        Members of its input that replace the usual ones.
    title
        The name that its metadata gives it.
    metadata
        Members of metadata.json that replace the usual ones.
    """
    place = folder / name / "configs"
    place.mkdir(parents=True)
    labels = dict(enumerate(names, start=1))
    declared = zoo._metadata(name, "0.5.9", labels, modality, (96, 96, 96)) | metadata
    declared |= {} if title is None else {"name": title}
    declared["network_data_format"]["inputs"]["image"] |= inputs or {}
    shown = modality if modality in {"CT", "MR"} else "MR"
    config = zoo._inference((0.2, 0.7), shown, pixdim, (96, 96, 96), 0.5, "constant", interpolate=True)
    structures = from_channels(declared["network_data_format"]["outputs"]["pred"]["channel_def"])
    extension = {
        "data_class": "P3",
        "licence": licence,
        "engines": {"torch": {"precision": "float32"}},
        "networks": {"models/model.ts": {"input_shape": [1, 1, 96, 96, 96], "output_channels": len(labels) + 1}},
        "findings": {"structures": [{"label": s.label, "key": s.key, "name": s.name} for s in structures]},
        "work_units": {"base": 100, "per_million_voxels": 100},
        "weights": [
            {
                "file": "models/model.ts",
                "sha256": "0" * 64,
                "size_bytes": 1000,
                "source": {"kind": "installed", "bundle": name},
            }
        ],
    }
    for file, content in (("metadata", declared), ("inference", config), ("bithive", extension)):
        (place / f"{file}.json").write_text(json.dumps(content))
    return Bundle.load(place.parent)


def sign(bundle: Bundle, key_path: Path) -> None:
    """Sign a bundle's folder as installing does.

    Parameters
    ----------
    key_path
        Of the key; made if it is not there.
    """
    key = SigningKey.load_or_create(key_path)
    about = {"version": bundle.version, "weights": [], "licence": bundle.licence, "audit": {}, "origin": "folder"}
    manifest.sign(bundle.folder, about, key, 1_800_000_000_000)
