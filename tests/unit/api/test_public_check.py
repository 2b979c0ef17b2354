"""What may be declared public: images that say so, or a manifest that does and is of this very set."""

import json
import zipfile
from pathlib import Path

import pytest

from api.public_check import MANIFEST, NotDeidentified, check_public
from api.sender import collect
from clinic.public_sets import Basis
from tests.common.dicom_factory import content_of, make_series

SET = ("A Set", "CC0-1.0")


def folder(tmp_path: Path, removed: str | None = "YES", burned: str | None = None, manifest: object = None) -> Path:
    for number, dataset in enumerate(make_series((2, 4, 4))):
        if removed is not None:
            dataset.PatientIdentityRemoved = removed
        if burned is not None:
            dataset.BurnedInAnnotation = burned
        (tmp_path / f"{number}.dcm").write_bytes(content_of(dataset))
    if manifest is not None:
        (tmp_path / MANIFEST).write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
    return tmp_path


SAYS = {"name": SET[0], "licence": SET[1], "de_identified": True}


def test_flags_are_enough(tmp_path: Path) -> None:
    given = folder(tmp_path)
    checked = check_public(given, collect(given), *SET)
    assert checked.basis is Basis.FLAGS
    assert checked.study_uids == ("1.2.3.100",)


def test_a_manifest_stands_in_for_flags(tmp_path: Path) -> None:
    given = folder(tmp_path, removed=None, manifest=SAYS)
    assert check_public(given, collect(given), *SET).basis is Basis.MANIFEST


@pytest.mark.parametrize(
    ("removed", "burned", "manifest"),
    [
        (None, None, None),
        ("NO", None, SAYS),
        ("YES", "YES", SAYS),
        (None, None, SAYS | {"name": "Other"}),
        (None, None, SAYS | {"licence": "MIT"}),
        (None, None, SAYS | {"de_identified": "yes"}),
        (None, None, {"name": SET[0], "licence": SET[1]}),
        (None, None, "{"),
        (None, None, "[" * 100_000),
        (None, None, "[]"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, removed: str | None, burned: str | None, manifest: object) -> None:
    given = folder(tmp_path, removed, burned, manifest)
    with pytest.raises(NotDeidentified):
        check_public(given, collect(given), *SET)


def test_a_zip_is_read_like_a_folder(tmp_path: Path) -> None:
    given = folder(tmp_path)
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for path in sorted(given.glob("*.dcm")):
            made.write(path, path.name)
    assert check_public(archive, collect(archive), *SET).study_uids == ("1.2.3.100",)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    given = folder(tmp_path)
    whole = (given / "0.dcm").read_bytes()
    (given / "0.dcm").write_bytes(whole[:140])
    with pytest.raises(NotDeidentified):
        check_public(given, collect(given), *SET)
