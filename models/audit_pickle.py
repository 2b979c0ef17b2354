"""Reads the opcodes of a checkpoint's pickles and refuses every import that tensors do not need. Nothing is unpickled.

A pickle is a program for a small stack machine (Python's `pickletools`). What it can do to the outside is decided by the
globals that it names: `GLOBAL` and `STACK_GLOBAL` are compared with a list, `INST`, `OBJ`, `EXT*` and `NEWOBJ_EX`
do not occur where only tensors were saved.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from bithive.limits import MIB
from models.errors import PickleRefused
from models.torch_zip import is_torch_zip, members_of

Allowed = Callable[[tuple[str, str]], bool]

_TYPES = (
    *("FloatStorage", "DoubleStorage", "HalfStorage", "BFloat16Storage", "LongStorage", "IntStorage"),
    *("ShortStorage", "CharStorage", "ByteStorage", "BoolStorage", "UntypedStorage", "Size", "device"),
    *("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
)
ALLOWED = frozenset(
    {
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch.nn.parameter", "Parameter"),
        ("torch.serialization", "_get_layout"),
        ("torch.storage", "UntypedStorage"),
        ("torch.storage", "TypedStorage"),
        ("torch", "Tensor"),
        *(("torch", name) for name in _TYPES),
    }
)

_REFUSED = frozenset({"INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"})
_STRINGS = frozenset(
    {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
)
_PUTS = frozenset({"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PICKLE_BYTES_MAX = 64 * MIB
_OPCODES_MAX = 5_000_000
_LEGACY_PICKLES = 5


def audit_pickle(path: Path) -> int:
    """Check every pickle of a checkpoint: a zip of `torch.save`, or its older form of pickles one after another.

    Returns
    -------
    int
        How many pickles were read.

    Raises
    ------
    PickleRefused
        If a pickle imports what is not on the list, or cannot be read to its end.
    """
    if not is_torch_zip(path):
        with path.open("rb") as file:
            return _audit_legacy(file)
    with members_of(path, PickleRefused) as archive:
        pickles = [member for member in archive.infolist() if _is_pickle(archive, member)]
        if not any(member.filename.endswith("data.pkl") for member in pickles):
            raise PickleRefused("the checkpoint holds no pickle of tensors")
        for member in pickles:
            check_member(archive, member, ALLOWED.__contains__)
        return len(pickles)


def check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, allowed: Allowed) -> None:
    """Read one pickle of an archive, and nothing behind it. Raises `PickleRefused`."""
    if member.file_size > _PICKLE_BYTES_MAX:
        raise PickleRefused("a pickle is too large", size_bytes_max=_PICKLE_BYTES_MAX)
    with archive.open(member) as packed:
        content = io.BytesIO(packed.read())
    check_opcodes(content, allowed)
    if content.read(1):
        raise PickleRefused("something stands behind a pickle")


def _is_pickle(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """By its name, or by how it begins wherever it is not a storage's bytes."""
    name = member.filename
    if name.endswith((".pkl", ".pickle", ".pth", ".pt")):
        return True
    parts = name.split("/")
    if len(parts) >= 2 and parts[-2] in {"data", "tensors"} and parts[-1].isdecimal():
        return False
    with archive.open(member) as file:
        begin = file.read(2)
    return len(begin) == 2 and begin[0] == 0x80 and 2 <= begin[1] <= 5


def _audit_legacy(file: IO[bytes]) -> int:
    """Magic number, protocol, system, the object, the keys of its storages: five pickles, then raw bytes."""
    for _ in range(_LEGACY_PICKLES):
        check_opcodes(file, ALLOWED.__contains__)
    return _LEGACY_PICKLES


def check_opcodes(file: IO[bytes], allowed: Allowed) -> None:
    """Read one pickle to its end.

    What stands on its stack is followed only as far as two texts that were just pushed or fetched; an import whose name is
    put together in any other way is refused.

    Raises
    ------
    PickleRefused
        If it imports what is not allowed.
    """
    recent: list[str | None] = []
    memo: dict[int, str | None] = {}
    for name, argument in _opcodes(file):
        if name in _REFUSED:
            raise PickleRefused("a pickle makes objects of other classes", opcode=name)
        if name == "GLOBAL":
            _check_global(*str(argument).split(" ", 1), allowed=allowed)
        elif name == "STACK_GLOBAL":
            module, attribute = recent[-2:] if len(recent) >= 2 else (None, None)
            _check_global(module, attribute, allowed=allowed)
        top = recent[-1] if recent else None
        if name in _STRINGS:
            recent.append(str(argument))
        elif name in _PUTS:
            memo[len(memo) if name == "MEMOIZE" else _index(argument)] = top
        elif name in _GETS:
            recent.append(memo.get(_index(argument)))
        elif name not in {"PROTO", "FRAME"}:
            recent.append(None)
        del recent[:-2]


def _index(argument: object) -> int:
    if not isinstance(argument, int | str) or not str(argument).isdecimal():
        raise PickleRefused("a pickle is malformed")
    return int(argument)


def _opcodes(file: IO[bytes]) -> Iterator[tuple[str, object]]:
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count > _OPCODES_MAX:
                raise PickleRefused("a pickle is too long", opcodes_max=_OPCODES_MAX)
            yield opcode.name, argument
    except (ValueError, KeyError, IndexError, UnicodeDecodeError, MemoryError, OverflowError):
        raise PickleRefused("a pickle cannot be read to its end") from None


def _check_global(module: str | None, attribute: str | None = None, *, allowed: Allowed) -> None:
    if module is None or attribute is None:
        raise PickleRefused("a pickle hides what it imports")
    if not allowed((module, attribute)):
        raise PickleRefused("a pickle imports what tensors do not need", name=f"{module}.{attribute}"[:100])
