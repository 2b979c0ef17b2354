"""Records of evaluations: what was measured of a bundle, on which data set, with which engine and when.

A record is written once by `bithive models evaluate`, beside the weights:
`<model_store>/evaluations/<bundle>/<SHA-256 of the data set>.json`. A bundle that comes with BitHive may carry records
in its own folder, `docs/evaluation.json` with {`format`, `records`}; that file is not part of the bundle's digest. Of
a bundle from elsewhere only records made here count.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bithive.canonical import digest
from bithive.limits import BUNDLE_FILE_BYTES_MAX
from models.bundle import EVALUATION, NAME, Bundle
from models.errors import BadBundle
from models.store import sync_folder

FORMAT = 1
FOLDER = "evaluations"

Record = dict[str, Any]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RECORDS_MAX = 100


def method(bundle: Bundle) -> str:
    """SHA-256 over what decides a bundle's answers: its configuration, its weights, and the version it goes by.

    A record stays true while this does: a card that is written anew changes the bundle's digest, not its answers.
    """
    listing = {
        "name": bundle.name,
        "version": bundle.version,
        "inference": json.dumps(bundle.inference(), sort_keys=True),
        "weights": {pinned.file: pinned.sha256 for pinned in bundle.weights},
    }
    return digest(listing)


class Evaluations:
    """Records by bundle.

    Parameters
    ----------
    store
        The store of weights (`settings.model_store`).
    """

    def __init__(self, store: Path) -> None:
        self._folder = store / FOLDER

    def write(self, record: Record) -> Path:
        """Keep a record, durably and in one step; one of the same bundle and data set is replaced."""
        name, dataset = str(record["bundle"]), str(record["dataset"]["sha256"])
        assert NAME.fullmatch(name), "a record names a bundle"
        assert _SHA256.fullmatch(dataset), "a record names a data set"
        target = self._folder / name / f"{dataset}.json"
        _write(target, record)
        return target

    def records(self, bundle: Bundle) -> list[Record]:
        """All records of a bundle, the newest first: made here, and carried by one that comes with BitHive.

        Of two of one data set the newer counts. What cannot be read is left out.
        """
        made = [_read(path) for path in sorted(_listed(self._folder / bundle.name))[:_RECORDS_MAX]]
        carried = shipped(bundle.folder) if bundle.form == "bithive" else []
        known: dict[str, Record] = {}
        for record in sorted((*carried, *made), key=lambda row: str((row or {}).get("date", ""))):
            if record is not None and is_record(record) and record["bundle"] == bundle.name:
                known[record["dataset"]["sha256"]] = record
        return list(reversed(known.values()))


def shipped(folder: Path) -> list[Record]:
    """The records that a bundle's folder carries; none where there are none or they cannot be read."""
    found = _read(folder / EVALUATION)
    rows = found.get("records") if found and found.get("format") == FORMAT else None
    return [row for row in rows if is_record(row)] if isinstance(rows, list) else []


def ship(folder: Path, record: Record) -> Path:
    """Put a record into a bundle's own folder, in place of one of the same data set."""
    kept = [row for row in shipped(folder) if row["dataset"]["sha256"] != record["dataset"]["sha256"]]
    _write(folder / EVALUATION, {"format": FORMAT, "records": [*kept, record]})
    return folder / EVALUATION


def is_current(record: Mapping[str, Any], bundle: Bundle) -> bool:
    """Whether a record is of what the bundle does now."""
    return bool(record.get("method") == method(bundle))


def is_record(value: Any) -> bool:
    """Whether a value has what every reader of a record relies on."""
    if not isinstance(value, dict) or value.get("format") != FORMAT or not isinstance(value.get("metrics"), dict):
        return False
    texts = all(isinstance(value.get(key), str) for key in ("bundle", "version", "sha256", "method", "kind", "date"))
    dataset = value.get("dataset")
    named = isinstance(dataset, dict) and isinstance(dataset.get("name"), str)
    return texts and named and isinstance(dataset, dict) and bool(_SHA256.fullmatch(str(dataset.get("sha256"))))


def _write(target: Path, value: Record) -> None:
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    if len(text.encode()) > BUNDLE_FILE_BYTES_MAX:
        raise BadBundle("the record of the evaluation is too large")
    target.parent.mkdir(parents=True, exist_ok=True)
    spool = target.parent / f".{target.name}.{secrets.token_hex(8)}"
    try:
        with spool.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        spool.rename(target)
        sync_folder(target.parent)
    finally:
        spool.unlink(missing_ok=True)


def _read(path: Path) -> Record | None:
    try:
        if path.stat().st_size > BUNDLE_FILE_BYTES_MAX:
            return None
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if _SHA256.fullmatch(path.stem) and path.suffix == ".json"]
    except OSError:
        return []
