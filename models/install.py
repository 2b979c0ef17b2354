"""Installing: from a folder or a zip to a signed bundle in the store. The old one or the new one is there, never a mix.

What is installed lies in a folder named by its content; `bundles/<name>` is a link to it that is renamed into place. A
process that is killed leaves the link as it was, and what it had begun in the spool, which the next one clears.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bithive.clock import Clock
from bithive.keys import SigningKey
from models import archive, derive, manifest
from models.audit import Audit, Judge, NetworkFound, audit
from models.bundle import DERIVED, INFERENCE, INFERENCES, NAME, Bundle, read_inference
from models.convert import convert
from models.errors import BadBundle
from models.pins import InstalledSource, PinnedFile
from models.store import WeightStore, sync_folder, sync_tree

Progress = Callable[[str, float], None]

FOLDER = "bundles"
_VERSIONS = ".installed"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a bundle came from.

    Attributes
    ----------
    named
        What the operator asked for: a name of the zoo's table, an HTTPS address, `folder` or `archive`.
    sha256
        Of the archive; empty for a folder.
    """

    named: str
    sha256: str = ""

    def to_json(self) -> dict[str, str]:
        """Plain values, for the manifest."""
        return {"named": self.named, "sha256": self.sha256}


def inspect(source: Path, spool: Path, judge: Judge) -> Audit:
    """Unpack a bundle into a folder of its own, audit it, and leave nothing. Raises as `models.archive.take`."""
    place = spool / f"audit-{secrets.token_hex(8)}"
    place.mkdir(parents=True)
    try:
        archive.take(source, place)
        return audit(place, judge)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def install(
    source: Path,
    name: str,
    origin: Origin,
    store: WeightStore,
    key: SigningKey,
    clock: Clock,
    judge: Judge,
    progress: Progress,
) -> Bundle:
    """Install a bundle. Call it with the store's lock held.

    Parameters
    ----------
    source
        A folder or a zip.
    name
        What it is to be called.
    origin
        Written into the manifest: what to install again when its weights are lost.
    store, key, clock
        Where to; who signs; when.
    judge
        As for `models.audit.audit`.
    progress
        Told the steps.

    Raises
    ------
    ArchiveRefused, BundleTooLarge, BadBundle
        As `models.archive.take`.
    Refused
        With the code of the first check that refused.
    ConversionFailed
        If a checkpoint cannot be converted.
    """
    if not NAME.fullmatch(name):
        raise BadBundle("a bundle is named in letters, digits and underscores")
    place = store.root / "spool" / f"bundle-{secrets.token_hex(8)}"
    folder = place / name
    folder.mkdir(parents=True)
    try:
        progress("unpacking", 0.0)
        behind = archive.take(source, folder)
        progress("auditing", 0.4)
        found = audit(folder, judge)
        if found.refusal is not None:
            raise found.refusal
        progress("installing", 0.6)
        notes, weights = _take_networks(folder, found, store)
        _write_facts(folder, found, weights)
        about: dict[str, Any] = {
            "version": found.version,
            "weights": weights,
            "licence": found.licence,
            "audit": [*found.to_json(), *notes, *_left_behind(behind)],
            "origin": origin.to_json(),
        }
        manifest.sign(folder, about, key, clock.now_ms())
        Bundle.load(folder)
        return Bundle.load(_publish(place, name, store))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _take_networks(folder: Path, found: Audit, store: WeightStore) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """Weights into the store, a checkpoint as safetensors; what to note, and the declarations of the files."""
    notes, weights = [], []
    for network in found.networks:
        path, file = folder / network.file, network.file
        if network.kind == "checkpoint":
            file = str(Path(file).with_suffix(".safetensors"))
            conversion = convert(path, folder / file)
            path = folder / file
            apart = "without a network" if conversion.offline else "the kernel does not let its network be taken away"
            notes.append(_note("conversion", f"{conversion.tensors} tensors, in a process of its own, {apart}"))
        weights.append(_put(path, file, folder.name, store))
    shutil.rmtree(folder / "models")
    return notes, weights


def _put(path: Path, file: str, name: str, store: WeightStore) -> dict[str, Any]:
    """A file into the store. What is declared of it is the same on every machine, and so is the bundle's digest."""
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        pinned = PinnedFile(file, sha256, path.stat().st_size, InstalledSource(name))
        opened.seek(0)
        store.put(pinned, opened)
    source = {"kind": "installed", "bundle": name}
    return {"file": file, "sha256": sha256, "size_bytes": pinned.size_bytes, "source": source}


def _write_facts(folder: Path, found: Audit, weights: list[dict[str, Any]]) -> None:
    """`configs/bithive.json`; and `inference.json` where it came as YAML, so that no node reads that."""
    assert found.shape is not None, "an accepted bundle has a shape"
    kinds = {row["file"]: _format(network) for row, network in zip(weights, found.networks, strict=True)}
    facts = derive.extension_of(kinds, weights, found.shape, found.structures, found.licence, found.regions)
    (folder / DERIVED).write_text(json.dumps(facts, indent=4) + "\n")
    if not (folder / INFERENCE).is_file():
        (folder / INFERENCE).write_text(json.dumps(read_inference(folder), indent=4) + "\n")
    for name in INFERENCES[1:]:
        (folder / name).unlink(missing_ok=True)


def _format(network: NetworkFound) -> str:
    return "safetensors" if network.kind == "checkpoint" else network.kind


def _left_behind(paths: list[str]) -> list[dict[str, str]]:
    if not paths:
        return []
    return [_note("left behind", f"{len(paths)} files, among them {', '.join(sorted(paths)[:3])}"[:300])]


def _note(name: str, detail: str) -> dict[str, str]:
    return {"check": name, "outcome": "noted", "code": "", "detail": detail}


def _publish(place: Path, name: str, store: WeightStore) -> Path:
    """Move the finished folder beside the others and turn the link to it; the folder before the last goes."""
    bundles = store.root / FOLDER
    versions = bundles / _VERSIONS
    versions.mkdir(parents=True, exist_ok=True)
    sync_tree(place)
    home = versions / f"{name}-{secrets.token_hex(8)}"
    place.rename(home)
    sync_folder(versions)
    link = bundles / name
    before = link.resolve().parent if link.is_symlink() else None
    draft = bundles / f".{name}.{secrets.token_hex(8)}"
    draft.symlink_to(Path(_VERSIONS) / home.name / name)
    if link.is_dir() and not link.is_symlink():
        link.rename(versions / f"{name}-{secrets.token_hex(8)}")
    draft.replace(link)
    sync_folder(bundles)
    _clear(bundles, name, {home, before})
    return home / name


def _clear(bundles: Path, name: str, kept: set[Path | None]) -> None:
    """Remove folders of this bundle that no link leads to, but for the last, which a reader may still hold."""
    for path in (bundles / _VERSIONS).iterdir():
        if path.name.rsplit("-", 1)[0] == name and path.resolve() not in {item.resolve() for item in kept if item}:
            shutil.rmtree(path, ignore_errors=True)
    for draft in bundles.glob(f".{name}.*"):
        if draft.is_symlink():
            draft.unlink()
