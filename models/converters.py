"""Converters: published weights in another form, made into a file that engines read, to the same bytes everywhere.

Each is a function of the parts' contents by name; nothing of a part is executed or unpickled. What comes out is pinned
by SHA-256 in the bundle like any other file of weights, so a converter that changes one byte is found out.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping

from models.errors import ConversionFailed

_FAILURES = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    OSError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)

Parts = Mapping[str, bytes]
Converter = Callable[[Parts], bytes]


def convert(name: str, parts: Parts) -> bytes:
    """Make a file of weights.

    Parameters
    ----------
    name
        Of `CONVERTERS`.
    parts
        The verified content of each part by its name.

    Raises
    ------
    ConversionFailed
        If the parts are not what the converter reads, or a library that it needs is not installed.
    """
    try:
        return CONVERTERS[name](parts)
    except ImportError as error:
        raise ConversionFailed(
            "converting these weights needs a library that is not installed", library=error.name
        ) from error
    except _FAILURES as error:
        raise ConversionFailed("the published weights are not what the converter reads", converter=name) from error


def _sononet(parts: Parts) -> bytes:
    from models.convert_sononet import onnx_of

    return onnx_of(parts)


def _meshnet(parts: Parts) -> bytes:
    from models.convert_tfjs import onnx_of

    return onnx_of(parts)


def _meshnet_body(parts: Parts) -> bytes:
    from models.convert_tfjs import body_of

    return body_of(parts)


def _meshnet_head(parts: Parts) -> bytes:
    from models.convert_tfjs import head_of

    return head_of(parts)


CONVERTERS: Mapping[str, Converter] = {
    "sononet": _sononet,
    "tfjs-meshnet": _meshnet,
    "tfjs-meshnet-body": _meshnet_body,
    "tfjs-meshnet-head": _meshnet_head,
}
