"""The zip archives that PyTorch writes, opened only when every reader must see the same members in them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bithive.errors import BitHiveError
from bithive.limits import BUNDLE_EXPANDED_BYTES_MAX
from models.pins import is_inside

_BEGIN = b"PK\x03\x04"
_END = b"PK\x05\x06"
_END_BYTES = 22
_MEMBERS_MAX = 100_000


def is_torch_zip(path: Path) -> bool:
    """Whether PyTorch would open it as a zip: it looks at the first bytes alone."""
    with path.open("rb") as file:
        return file.read(len(_BEGIN)) == _BEGIN


def holds_script(path: Path) -> bool:
    """Whether a file is a TorchScript archive: a zip with code and constants in it."""
    if not is_torch_zip(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    return any("/code/" in name for name in names) and any(name.endswith("/constants.pkl") for name in names)


@contextmanager
def members_of(path: Path, refusal: type[BitHiveError]) -> Iterator[zipfile.ZipFile]:
    """Open an archive.

    Raises
    ------
    refusal
        If something stands before or behind the zip, so that readers may disagree about what is in it; if members have one
        name, lead outside, are packed or too large; or if it cannot be read while it is open.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(len(_BEGIN))
            file.seek(max(0, path.stat().st_size - _END_BYTES))
            end = file.read(len(_END))
        if begin != _BEGIN or end != _END:
            raise refusal("the archive does not begin and end as PyTorch writes it")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            if len(members) > _MEMBERS_MAX or sum(member.file_size for member in members) > BUNDLE_EXPANDED_BYTES_MAX:
                raise refusal("the archive has too many members, or they are too large")
            if len(names) != len(members) or not all(is_inside(name) for name in names):
                raise refusal("two members of the archive have one name, or one leads out of it")
            if len({name.split("/", 1)[0] for name in names}) != 1:
                raise refusal("the members of the archive do not lie in one folder")
            if min(member.header_offset for member in members) != 0:
                raise refusal("something stands before the archive")
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError):
        raise refusal("the archive cannot be read") from None
