"""Interprets `configs/inference.json`: only targets on the allow-list are made, and no text is evaluated.

MONAI's configuration language is code: `$` evaluates Python and `%` reads other files. Here both are refused before
MONAI's own parser sees the configuration; what is left are `_target_`, plain values and `@` references. A network is a
`torch.jit.load` of a file that the bundle pins, and is made by the engine instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from inference.errors import BundleRefused

NETWORK_TARGET = "torch.jit.load"
ALLOWED_TARGETS = frozenset(
    {
        "Compose",
        "SimpleInferer",
        "inference.preprocess.CheckVolumed",
        "inference.preprocess.Canonicald",
        "inference.preprocess.SampleGridd",
        "inference.preprocess.PercentileWindowd",
        "inference.preprocess.StandardiseWindowd",
        "inference.preprocess.LocateBoxd",
        "inference.postprocess.CertaintyScored",
        "inference.postprocess.ThresholdChanneld",
        "inference.postprocess.RestoreGridd",
        "inference.postprocess.KeepLargestd",
        "inference.postprocess.FillVoidsd",
        "inference.postprocess.MeasureVolumed",
        "inference.postprocess.RequirePlausibled",
    }
)
REQUIRED = ("network_def", "inferer", "preprocessing", "postprocessing")

_DEPTH_MAX = 32
_CONTROLS = frozenset({"_target_", "_desc_"})


def audit(config: Mapping[str, Any]) -> list[str]:
    """Refuse a configuration that could do anything but make allowed objects.

    Returns
    -------
    list
        The files that its networks are loaded from, as the configuration names them.

    Raises
    ------
    BundleRefused
        If it lacks a required member, evaluates text, includes a file, names a target that is not allowed, or nests
        too deeply.
    """
    missing = [key for key in REQUIRED if key not in config]
    if missing:
        raise BundleRefused(f"inference.json lacks {', '.join(missing)}")
    return sorted({node["f"] for _, node in _nodes(config) if _is_network(node)})


def build(config: Mapping[str, Any], networks: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """Make what an audited configuration declares.

    Parameters
    ----------
    config
        As `audit` accepted it.
    networks
        For each file that `audit` named, what to call.

    Returns
    -------
    dict
        `network_def`, `inferer`, `preprocessing` and `postprocessing`, ready to be called.
    """
    audit(config)
    from monai.bundle import ConfigParser

    parser = ConfigParser(_plain(config, networks), globals=False)
    try:
        return {key: parser.get_parsed_content(key) for key in REQUIRED}
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise BundleRefused("inference.json does not fit the transforms that it names") from error


def _plain(node: Any, networks: Mapping[str, Callable[..., Any]]) -> Any:
    if isinstance(node, dict):
        if _is_network(node):
            return networks[node["f"]]
        return {key: _plain(value, networks) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value, networks) for value in node]
    return node


def _is_network(node: Any) -> bool:
    return isinstance(node, dict) and node.get("_target_") == NETWORK_TARGET


def _nodes(node: Any, depth: int = 0) -> Iterator[tuple[int, Any]]:
    """Every node of a configuration, each checked before it is given."""
    if depth > _DEPTH_MAX:
        raise BundleRefused("inference.json nests too deeply")
    _check(node)
    yield depth, node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from _nodes(child, depth + 1)


def _check(node: Any) -> None:
    if isinstance(node, str) and (node.startswith(("$", "%")) or "$" in node):
        raise BundleRefused("inference.json evaluates text or includes a file")
    if not isinstance(node, dict):
        return
    controls = {key for key in node if key.startswith(("_", "$", "%", "+", "~"))}
    if controls - _CONTROLS or any("::" in key or "#" in key for key in node):
        raise BundleRefused("inference.json uses a directive that is not allowed")
    target = node.get("_target_")
    if target is None:
        return
    if target == NETWORK_TARGET:
        if set(node) != {"_target_", "f"} or not isinstance(node["f"], str):
            raise BundleRefused("a network is loaded with other arguments than its file")
    elif not isinstance(target, str) or target not in ALLOWED_TARGETS:
        raise BundleRefused("inference.json names a target that is not allowed", target=str(target)[:100])
