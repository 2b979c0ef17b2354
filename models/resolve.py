"""The zoo's `configs/inference.json`, audited whole and reduced to plain values: no expression, no reference, no file.

MONAI's configuration language is code. Here a configuration is data twice over: `audited` refuses what could do anything
but declare the usual things, and `resolved` then computes the parts that we interpret, with our own evaluator. What is
left are dictionaries, lists, texts and numbers whose `_target_` are bare names of our tables; nothing is imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from models.errors import BadBundle, DirectiveRefused, ExpressionRefused
from models.expression_audit import check, imported
from models.expressions import GLOBALS, check_constant, evaluate, setting
from models.targets import DEVICE, check_target

WANTED = ("network_def", "preprocessing", "inferer", "postprocessing")

_DEPTH_MAX = 32
_NODES_MAX = 20_000
_CHAIN_MAX = 64
_CONTROLS = frozenset({"_target_", "_disabled_", "_desc_", "_requires_", "_mode_"})
_REFERENCE = re.compile(r"@\w+(?:(?:#|::)\w+)*")
_RENUMBERING = "$lambdax:torch.where(x[[2]]>0,4,torch.where(x[[0]]>0,1,torch.where(x[[1]]>0,2,0)))"
_SCRIPT = re.compile(r"scripts(?:\.[A-Za-z]\w*)+")


def resolved(config: Mapping[str, Any], wanted: Sequence[str] = WANTED) -> dict[str, Any]:
    """Audit a configuration of the zoo's form and give the parts that are interpreted.

    Parameters
    ----------
    config
        `configs/inference.json`, as read.
    wanted
        The parts to compute. Leave `network_def` out where a file of TorchScript or ONNX holds the network: then the
        class that it names is a word, and may be one of the bundle's own scripts.

    Returns
    -------
    dict
        Each wanted part as plain values: `_target_` normalised to the bare class name, disabled items dropped, references
        and expressions replaced by their values, a device or dtype by its name.

    Raises
    ------
    BadBundle
        If a wanted part is missing.
    ExpressionRefused, TargetRefused, DirectiveRefused
        If anything in the configuration, wanted or not, is on no allow-list.
    """
    names = audited(config, wanted)
    missing = [key for key in wanted if key not in config]
    if missing:
        raise BadBundle(f"inference.json lacks {', '.join(missing)}")
    resolver = _Resolver(config, names)
    parts = {key: resolver.reference(key) for key in wanted}
    if any(part is _DROPPED for part in parts.values()):
        raise DirectiveRefused("inference.json disables a part that is needed")
    return {key: _copied(part) for key, part in parts.items()}


def settings(config: Mapping[str, Any], key: str) -> list[tuple[str, str, dict[str, Any]]]:
    """What a list of `$@name.method(keyword=value)` sets: name, method and values of each. Nothing is called.

    Raises
    ------
    ExpressionRefused, TargetRefused, DirectiveRefused
        As `resolved`; and if the list holds anything else.
    """
    names = audited(config)
    listed = config.get(key)
    if not isinstance(listed, list) or not all(isinstance(text, str) and text.startswith("$") for text in listed):
        raise ExpressionRefused("inference.json has no list of settings where one is expected")
    resolver = _Resolver(config, names)
    return [setting(text[1:], names, resolver.reference) for text in listed]


def audited(config: Mapping[str, Any], wanted: Sequence[str] = WANTED) -> dict[str, str]:
    """Refuse a configuration that holds anything but the usual declarations; gives what its imports bind.

    Raises
    ------
    ExpressionRefused, TargetRefused, DirectiveRefused
        If an expression, a target or a directive is on no allow-list, or the configuration is too large or too deep.
    """
    nodes: list[tuple[str, Any]] = []
    _collect(config, "", 0, nodes)
    names = _names(nodes)
    for path, node in nodes:
        if isinstance(node, dict):
            _check_object(node, path == "network_def" and "network_def" not in wanted)
        elif isinstance(node, str):
            _check_text(node, names)
    return names


def texts(config: Mapping[str, Any]) -> list[str]:
    """Every text of a configuration. Raises `DirectiveRefused` if it is too large or too deep."""
    nodes: list[tuple[str, Any]] = []
    _collect(config, "", 0, nodes)
    return [node for _, node in nodes if isinstance(node, str)]


def _collect(node: Any, path: str, depth: int, nodes: list[tuple[str, Any]]) -> None:
    if depth > _DEPTH_MAX or len(nodes) > _NODES_MAX:
        raise DirectiveRefused("inference.json is too large, or nests too deeply")
    nodes.append((path, node))
    if isinstance(node, dict):
        for key, value in node.items():
            _check_key(key)
            _collect(value, f"{path}#{key}" if path else key, depth + 1, nodes)
    elif isinstance(node, list):
        for item in node:
            _collect(item, f"{path}#", depth + 1, nodes)
    elif not isinstance(node, str | int | float | bool | None):
        raise DirectiveRefused("inference.json holds what JSON cannot", kind=type(node).__name__)


def _check_key(key: Any) -> None:
    if not isinstance(key, str) or len(key) > 200:
        raise DirectiveRefused("inference.json has a key that is no short text")
    if key.startswith(("$", "%", "@", "+", "~")) or "#" in key or "::" in key or "$" in key:
        raise DirectiveRefused("inference.json merges, includes or evaluates by a key")
    if key.startswith("_") and key not in _CONTROLS:
        raise DirectiveRefused("inference.json uses a directive that is not allowed", directive=key[:100])


def _names(nodes: Sequence[tuple[str, Any]]) -> dict[str, str]:
    """What every import statement of the configuration binds, and what MONAI binds by itself."""
    names = dict(GLOBALS)
    for _, node in nodes:
        bound = imported(node[1:]) if isinstance(node, str) and node.startswith("$") else None
        for name, path in (bound or {}).items():
            if names.setdefault(name, path) != path:
                raise ExpressionRefused("two import statements give one name to two things", name=name[:100])
    return names


def _check_object(node: Mapping[str, Any], word_only: bool) -> None:
    if node.get("_mode_", "default") != "default":
        raise DirectiveRefused("inference.json asks for another way of making an object")
    if "_target_" in node:
        target = node["_target_"]
        if _only_renumbers(node):
            return
        if word_only and isinstance(target, str) and _SCRIPT.fullmatch(target):
            return
        check_target(target, wanted=False)
    elif node.keys() & {"_disabled_", "_requires_", "_mode_"}:
        raise DirectiveRefused("inference.json directs what makes no object")


def _check_text(text: str, names: Mapping[str, str]) -> None:
    if text.startswith("%"):
        raise DirectiveRefused("inference.json includes another file")
    if text.startswith("$"):
        if imported(text[1:]) is None:
            check(text[1:], names)
    elif "$" in text:
        raise ExpressionRefused("inference.json hides an expression in a text")
    elif text.startswith("@") and not _REFERENCE.fullmatch(text):
        raise ExpressionRefused("inference.json has a malformed reference")


class _Resolver:
    """Computes parts of an audited configuration; each reference once."""

    def __init__(self, config: Mapping[str, Any], names: Mapping[str, str]) -> None:
        self._config = config
        self._names = names
        self._known: dict[str, tuple[Any, int]] = {}
        self._open: list[str] = []

    def reference(self, name: str) -> Any:
        """The value that a reference stands for, named without `@`."""
        key = name.replace("::", "#")
        if key not in self._known:
            if key in self._open or len(self._open) >= _CHAIN_MAX:
                raise ExpressionRefused("references lead in a circle, or too far", reference=name[:100])
            self._open.append(key)
            value = self.value(self._found(key))
            self._open.pop()
            self._known[key] = value, _size(value, 0)
        return self._known[key][0]

    def value(self, node: Any) -> Any:
        """A node as plain values; `_DROPPED` when it is disabled."""
        if isinstance(node, dict):
            return self._object(node)
        if isinstance(node, list):
            items = (self.value(item) for item in node)
            return [item for item in items if item is not _DROPPED]
        if isinstance(node, str):
            return self._text(node)
        return check_constant(node)

    def _object(self, node: Mapping[str, Any]) -> Any:
        if self._is_disabled(node) or (self._open == ["postprocessing"] and _only_renumbers(node)):
            return _DROPPED
        if "_requires_" in node:
            raise DirectiveRefused("an interpreted part requires something to happen first")
        made = {key: self.value(value) for key, value in node.items() if key not in {"_disabled_", "_desc_", "_mode_"}}
        made = {key: value for key, value in made.items() if value is not _DROPPED}
        if "_target_" in node:
            made["_target_"] = check_target(node["_target_"], wanted=True)
            if made["_target_"] == DEVICE:
                return made.get("device", "cpu")
        return made

    def _is_disabled(self, node: Mapping[str, Any]) -> bool:
        value = self.value(node.get("_disabled_", False))
        if isinstance(value, str):
            return value.strip().lower() == "true"
        if not isinstance(value, bool):
            raise DirectiveRefused("inference.json disables by something that is not true or false")
        return value

    def _text(self, text: str) -> Any:
        if text.startswith("$"):
            return evaluate(text[1:], self._names, self.reference)
        if text.startswith("@"):
            return self.reference(text[1:])
        return text

    def _found(self, key: str) -> Any:
        node: Any = self._config
        for part in key.split("#"):
            if isinstance(node, dict) and part in node and not part.startswith("_"):
                node = node[part]
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            else:
                raise ExpressionRefused("a reference leads to nothing", reference=key[:100])
        return node


def _only_renumbers(node: Mapping[str, Any]) -> bool:
    """Whether it is the function by which a bundle of BraTS writes three masks as the challenge's numbers into a file."""
    if str(node.get("_target_", "")).rsplit(".", 1)[-1] != "Lambdad" or node.keys() - {"_target_", "keys", "func"}:
        return False
    function = node.get("func")
    return isinstance(function, str) and "".join(function.split()) == _RENUMBERING


class _Dropped:
    """Stands for an item that its own configuration disables."""


_DROPPED = _Dropped()


def _size(value: Any, depth: int) -> int:
    """Number of nodes of a value. References are counted each time they are used, so that none can multiply."""
    if depth > _DEPTH_MAX:
        raise ExpressionRefused("a value nests too deeply")
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    total = 1
    for child in children:
        total += _size(child, depth + 1)
        if total > _NODES_MAX:
            raise ExpressionRefused("a value is too large")
    return total


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value
