"""Reads the arguments of one transform: each is taken, known to change nothing, or a reason to refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from inference.errors import TransformUnsupported

T = TypeVar("T")

_ABSENT = object()


class Given:
    """A `_target_` and its arguments; `done` refuses those that nobody took.

    Attributes
    ----------
    target
        The bare name of the class.
    """

    def __init__(self, target: str, arguments: dict[str, Any]) -> None:
        self.target, self._arguments = target, arguments

    @classmethod
    def of(cls, node: Any, part: str) -> Given:
        """Of a node of a part. Raises `TransformUnsupported` if it names no target."""
        if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
            raise TransformUnsupported(f"the {part} is made of something that is no transform")
        return cls(node["_target_"], {key: value for key, value in node.items() if key != "_target_"})

    def refuse(self, why: str) -> TransformUnsupported:
        """The error to raise for this transform."""
        return TransformUnsupported(f"{self.target} {why}", transform=self.target[:100])

    def key(self) -> str:
        """The one key that it works on."""
        keys = self.take("keys")
        if isinstance(keys, list | tuple) and len(keys) == 1:
            keys = keys[0]
        if not isinstance(keys, str):
            raise self.refuse("works on several keys")
        self.leave("allow_missing_keys")
        return keys

    def take(self, name: str, default: Any = _ABSENT) -> Any:
        """An argument, whatever it is."""
        value = self._arguments.pop(name, default)
        if value is _ABSENT:
            raise self.refuse(f"lacks {name}")
        return value

    def one(self, name: str, default: Any = _ABSENT) -> Any:
        """An argument that may be given as a list of one for each key."""
        value = self.take(name, default)
        return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value

    def leave(self, *names: str) -> None:
        """Arguments that change nothing here."""
        for name in names:
            self._arguments.pop(name, None)

    def only(self, name: str, *values: Any) -> None:
        """An argument that may have these values alone."""
        value = self._arguments.pop(name, values[0])
        listed = list(value) if isinstance(value, list | tuple) and len(set(map(repr, value))) == 1 else [value]
        if not any(listed[0] is known or (listed[0] == known and type(listed[0]) is type(known)) for known in values):
            raise self.refuse(f"has a {name} that is not carried out here")

    def flag(self, name: str, default: bool) -> bool:
        value = self.one(name, default)
        if not isinstance(value, bool):
            raise self.refuse(f"has a {name} that is neither true nor false")
        return value

    def word(self, name: str, default: str) -> str:
        value = self.one(name, default)
        if not isinstance(value, str):
            raise self.refuse(f"has a {name} that is no word")
        return value.lower()

    def number(self, name: str, default: Any = _ABSENT) -> float:
        return self._number(self.one(name, default), name)

    def number_or_none(self, name: str, default: Any = None) -> float | None:
        value = self.one(name, default)
        return None if value is None else self._number(value, name)

    def number3(self, name: str, default: Any = _ABSENT) -> tuple[float, float, float]:
        return self._three(self.take(name, default), name, lambda value: self._number(value, name))

    def own3(self, name: str, default: Any = _ABSENT) -> tuple[float, float, float]:
        """Three numbers; None and NaN stand for what the image has itself, as NaN."""
        return self._three(self.take(name, default), name, lambda value: self._own(value, name), fill=True)

    def whole(self, name: str, default: int) -> int:
        """A whole number; None is the default."""
        return self._whole(self.one(name, default), name, default)

    def whole3(self, name: str, default: Any = _ABSENT, *, empty: int = 0) -> tuple[int, int, int]:
        """Three whole numbers; None is `empty`."""
        return self._three(self.take(name, default), name, lambda value: self._whole(value, name, empty))

    def labels(self, name: str) -> tuple[int, ...] | None:
        """Label numbers, or None for all."""
        value = self.take(name, None)
        if value is None:
            return None
        listed = value if isinstance(value, list | tuple) else [value]
        return tuple(self._whole(item, name, 0) for item in listed)

    def done(self) -> None:
        """Refuse if something was given that nobody took."""
        if self._arguments:
            raise self.refuse(f"has a {min(self._arguments)[:50]} that is not carried out here")

    def _three(self, value: Any, name: str, convert: Callable[[Any], T], *, fill: bool = False) -> tuple[T, T, T]:
        listed = list(value) if isinstance(value, list | tuple) else [value] * 3
        if fill and 0 < len(listed) < 3:
            listed += [listed[-1]] * (3 - len(listed))
        if len(listed) != 3:
            raise self.refuse(f"has a {name} that is not for three axes")
        x, y, z = (convert(item) for item in listed)
        return (x, y, z)

    def _number(self, value: Any, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.refuse(f"has a {name} that is no number")
        return float(value)

    def _own(self, value: Any, name: str) -> float:
        own = value is None or (isinstance(value, float) and math.isnan(value))
        return math.nan if own else self._number(value, name)

    def _whole(self, value: Any, name: str, empty: int) -> int:
        if value is None:
            return empty
        number = self._number(value, name)
        if number != int(number):
            raise self.refuse(f"has a {name} that is no whole number")
        return int(number)
