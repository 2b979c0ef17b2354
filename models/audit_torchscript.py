"""Reads a TorchScript archive as text and opcodes: what it could call, without loading it.

TorchScript is a language of its own that PyTorch's interpreter runs; it has no imports and no Python objects, but it has
operators that read and write files and, where a library registered them, operators of anybody. Its code is parsed with
`ast`, which its syntax is a part of.
"""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path

from bithive.limits import MIB
from models.audit_pickle import ALLOWED, check_member
from models.errors import PickleRefused, TorchScriptRefused
from models.torch_zip import members_of

_KINDS = frozenset(
    {
        *("data.pkl", "constants.pkl", "traced_inputs.pkl", "attributes.pkl", "version", "byteorder"),
        *(".format_version", ".storage_alignment"),
    }
)
_FOLDERS = ("code/", "data/", "constants/", ".data/", "extra/", "tensors/", "traced_inputs/")
_NAMESPACES = frozenset({"aten", "prim", "prims", "quantized"})
_FORBIDDEN = frozenset(
    {
        *("from_file", "save", "load", "_save", "_load", "save_to_file", "load_library", "load_for_lite_interpreter"),
        *("classes", "hub", "package", "distributed", "rpc", "os", "system", "open", "popen"),
    }
)
_CALLS_FORBIDDEN = frozenset({"open", "eval", "exec", "compile", "__import__", "print", "globals"})
_BUILDERS = frozenset(
    {
        *("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "build_tensor_from_id"),
        "restore_type_tag",
    }
)
_CODE_BYTES_MAX = 32 * MIB


def audit_torchscript(path: Path) -> int:
    """Check every member of a TorchScript archive.

    Returns
    -------
    int
        How many files of code were read.

    Raises
    ------
    TorchScriptRefused
        If a member is of no known kind, a pickle names a class from elsewhere, or code calls an operator that reads or
        writes files, or one of an unknown library.
    """
    with members_of(path, TorchScriptRefused) as archive:
        read = [_check(archive, member) for member in archive.infolist()]
        if not any(read):
            raise TorchScriptRefused("the archive holds no code: it is no TorchScript")
        return sum(read)


def _check(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Check a member; True if it is code."""
    inner = member.filename.split("/", 1)[1]
    if inner not in _KINDS and not inner.startswith(_FOLDERS):
        raise TorchScriptRefused("the archive has a member of an unknown kind", member=inner[:100])
    if inner.endswith((".pkl", ".debug_pkl")):
        try:
            check_member(archive, member, _is_scripted)
        except PickleRefused as refused:
            raise TorchScriptRefused(refused.detail, **refused.context) from None
        return False
    if inner.startswith("code/"):
        if not inner.endswith(".py") or member.file_size > _CODE_BYTES_MAX:
            raise TorchScriptRefused("the archive has code of an unknown kind, or too much", member=inner[:100])
        check_code(archive.read(member))
        return True
    return False


def _is_scripted(name: tuple[str, str]) -> bool:
    """Classes that the archive defines itself, tensors, and typed lists."""
    module, attribute = name
    if name in ALLOWED or (module == "torch.jit._pickle" and attribute in _BUILDERS):
        return True
    return module.split(".")[0] == "__torch__" and "torch.classes" not in f"{module}.{attribute}"


def check_code(content: bytes) -> None:
    """Judge one file of TorchScript. Raises `TorchScriptRefused`."""
    try:
        tree = ast.parse(content.decode("utf-8"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise TorchScriptRefused("code of the archive cannot be parsed") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            raise TorchScriptRefused("code of the archive imports")
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name) and called.id in _CALLS_FORBIDDEN:
            raise TorchScriptRefused("code of the archive calls what is not allowed", name=called.id)
        if isinstance(node, ast.Attribute):
            _check_path(_path(node))


def _path(node: ast.AST) -> list[str]:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def _check_path(path: list[str]) -> None:
    if not path or path[0] not in {"torch", "ops", "__torch__"}:
        return
    if path[0] == "__torch__":
        if path[1:3] == ["torch", "classes"]:
            raise TorchScriptRefused("code of the archive uses a class of a foreign library")
        return
    spaces = path[1:] if path[0] == "ops" else path[2:] if path[1:2] == ["ops"] else []
    if spaces and spaces[0] not in _NAMESPACES:
        raise TorchScriptRefused(
            "code of the archive calls an operator of a foreign library", name=".".join(path)[:100]
        )
    if set(path[1:]) & _FORBIDDEN:
        raise TorchScriptRefused("code of the archive reads or writes files", name=".".join(path)[:100])
