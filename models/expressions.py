"""The value of a `$` expression: parsed with `ast` and computed by our own small evaluator, never by Python's.

It knows literals, arithmetic within bounds, comparisons, conditions, references and a handful of pure functions. That is
what the interpreted parts of the zoo's configurations use; the rest of a configuration is judged by
`models.expression_audit` and not computed at all.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from models.errors import ExpressionRefused

Reference = Callable[[str], Any]

TEXT_CHARS_MAX = 4_000
LENGTH_MAX = 10_000
"""Of a list, tuple, dictionary or text that an expression makes."""

_NUMBER_MAX = 2**53
_EXPONENT_MAX = 32
DEPTH_MAX = 60
_REFERENCE = re.compile(r"@\w+(?:(?:#|::)\w+)*")
_STAND_IN = "bithive_reference_"

GLOBALS = {"monai": "monai", "torch": "torch", "numpy": "numpy", "np": "numpy"}
"""Names that MONAI binds before it evaluates, and what they stand for."""
BUILTINS = frozenset(
    {
        *("list", "tuple", "dict", "set", "sorted", "len", "range", "int", "float", "bool", "str", "zip"),
        *("enumerate", "min", "max", "sum", "abs", "round", "map", "filter", "reversed", "any", "all", "print"),
    }
)
CONSTANTS = {
    f"{module}.CommonKeys.{name}": value
    for module in ("monai.utils", "monai.utils.enums")
    for name, value in (("IMAGE", "image"), ("LABEL", "label"), ("PRED", "pred"), ("LOSS", "loss"))
}
"""Attributes of MONAI's modules that have a value here."""
DTYPES = frozenset(
    {
        *("bool", "uint8", "uint16", "int8", "int16", "int32", "int64", "long", "float", "half", "double"),
        *("float16", "float32", "float64", "bfloat16"),
    }
)
_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


def _range(*bounds: Any) -> list[int]:
    span = range(*bounds)
    if len(span) > LENGTH_MAX:
        raise ExpressionRefused("an expression makes a list that is too long")
    return list(span)


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "len": len,
    "list": list,
    "tuple": tuple,
    "int": int,
    "float": float,
    "bool": bool,
    "min": min,
    "max": max,
    "sum": sum,
    "abs": abs,
    "round": round,
    "sorted": sorted,
    "range": _range,
    "copy.deepcopy": lambda value: value,
    "torch.device": lambda value: value,
    "torch.cuda.is_available": lambda: False,
    "torch.cuda.device_count": lambda: 0,
}
"""Pure functions that `evaluate` calls. Nodes have no CUDA as far as a configuration is concerned: the engine decides."""


_DESCRIBED: Mapping[str, tuple[str, ...]] = {
    "monai.networks.nets.resnet.resnet50": (),
    "monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor": (
        *("backbone", "spatial_dims", "pretrained_backbone", "returned_layers", "trainable_backbone_layers"),
    ),
}
"""Makers of parts of a network, and the names of their arguments by place: a call is described, never made."""


def evaluate(text: str, names: Mapping[str, str], reference: Reference) -> Any:
    """The value of an expression.

    Parameters
    ----------
    text
        Behind the `$`.
    names
        What the configuration's import statements bind, `GLOBALS` among them.
    reference
        Gives the value of a reference, named without `@`.

    Raises
    ------
    ExpressionRefused
        If it holds more than literals, arithmetic, comparisons, conditions, references and the functions of the table, or
        if its value would be too large or cannot be computed.
    """
    tree, references = expression(text)
    try:
        return _Evaluator(names, references, reference).value(tree.body, 0)
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise ExpressionRefused(f"an expression cannot be computed: {type(error).__name__}") from None


def setting(text: str, names: Mapping[str, str], reference: Reference) -> tuple[str, str, dict[str, Any]]:
    """What `@name.method(keyword=value, ...)` sets: the reference's name, the method's, and the values by keyword.

    Nothing is called. Parameters as for `evaluate`.

    Raises
    ------
    ExpressionRefused
        If it is no such call, or a value is none that `evaluate` would give.
    """
    tree, references = expression(text)
    call = tree.body
    if not (
        isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
    ):
        raise ExpressionRefused("an expression sets nothing by keywords")
    holder, keywords = references.get(call.func.value.id), [item.arg for item in call.keywords if item.arg]
    if holder is None or call.args or len(set(keywords)) != len(call.keywords):
        raise ExpressionRefused("an expression sets nothing by keywords")
    evaluator = _Evaluator(names, references, reference)
    try:
        values = {str(item.arg): evaluator.value(item.value, 0) for item in call.keywords}
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise ExpressionRefused(f"an expression cannot be computed: {type(error).__name__}") from None
    return holder, call.func.attr, values


def parsed(text: str, mode: str) -> Any:
    """The tree of a text, or `ExpressionRefused`."""
    if len(text) > TEXT_CHARS_MAX or not text.isprintable():
        raise ExpressionRefused("an expression is too long, or is no text")
    try:
        return ast.parse(text.strip(), mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionRefused("an expression cannot be parsed") from None


def expression(text: str) -> tuple[ast.Expression, dict[str, str]]:
    """The tree of an expression whose references are replaced by names, and what each name stands for."""
    if _STAND_IN in text:
        raise ExpressionRefused("an expression uses a reserved name")
    references: dict[str, str] = {}

    def stand_in(found: re.Match[str]) -> str:
        name = f"{_STAND_IN}{len(references)}"
        references[name] = found.group()[1:]
        return name

    tree: ast.Expression = parsed(_REFERENCE.sub(stand_in, text.replace("\n", " ")), "eval")
    return tree, references


def check_constant(value: Any) -> Any:
    if isinstance(value, str):
        if _STAND_IN in value:
            raise ExpressionRefused("an expression quotes a reference")
    elif isinstance(value, int | float):
        if not abs(value) <= _NUMBER_MAX:
            raise ExpressionRefused("an expression holds a number that is too large")
    elif value is not None:
        raise ExpressionRefused("an expression holds a literal that is not allowed")
    return value


class _Evaluator:
    """Computes a tree's value; every kind of node that it knows has a method here."""

    def __init__(self, names: Mapping[str, str], references: Mapping[str, str], reference: Reference) -> None:
        self._names = names
        self._references = references
        self._reference = reference

    def value(self, node: ast.AST, depth: int) -> Any:
        if depth > DEPTH_MAX:
            raise ExpressionRefused("an expression nests too deeply")
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise ExpressionRefused("an expression does what is not allowed here", kind=type(node).__name__)
        return _bounded(method(node, depth + 1))

    def _constant(self, node: ast.Constant, _depth: int) -> Any:
        return check_constant(node.value)

    def _list(self, node: ast.List, depth: int) -> Any:
        return [self.value(item, depth) for item in node.elts]

    def _tuple(self, node: ast.Tuple, depth: int) -> Any:
        return self._list(ast.List(elts=node.elts), depth)

    def _dict(self, node: ast.Dict, depth: int) -> Any:
        if any(key is None for key in node.keys):
            raise ExpressionRefused("an expression merges dictionaries")
        keys = [self.value(key, depth) for key in node.keys if key is not None]
        if any(not isinstance(key, str) or key.startswith("_") for key in keys):
            raise ExpressionRefused("an expression makes an object, or keys that are no names")
        return dict(zip(keys, (self.value(item, depth) for item in node.values), strict=True))

    def _binop(self, node: ast.BinOp, depth: int) -> Any:
        action = _BINARY.get(type(node.op))
        left, right = self.value(node.left, depth), self.value(node.right, depth)
        if action is None or isinstance(left, dict) or isinstance(right, dict):
            raise ExpressionRefused("an expression uses an operator that is not allowed")
        if isinstance(node.op, ast.Pow) and abs(right) > _EXPONENT_MAX:
            raise ExpressionRefused("an expression raises to a power that is too large")
        if isinstance(left, str | list) or isinstance(right, str | list):
            _check_joining(node.op, left, right)
        return action(left, right)

    def _unaryop(self, node: ast.UnaryOp, depth: int) -> Any:
        action = _UNARY.get(type(node.op))
        if action is None:
            raise ExpressionRefused("an expression uses an operator that is not allowed")
        return action(self.value(node.operand, depth))

    def _boolop(self, node: ast.BoolOp, depth: int) -> Any:
        wanted = isinstance(node.op, ast.Or)
        last: Any = None
        for operand in node.values:
            last = self.value(operand, depth)
            if bool(last) is wanted:
                break
        return last

    def _compare(self, node: ast.Compare, depth: int) -> Any:
        left = self.value(node.left, depth)
        for kind, operand in zip(node.ops, node.comparators, strict=True):
            right = self.value(operand, depth)
            if not _COMPARISONS[type(kind)](left, right):
                return False
            left = right
        return True

    def _ifexp(self, node: ast.IfExp, depth: int) -> Any:
        return self.value(node.body if self.value(node.test, depth) else node.orelse, depth)

    def _subscript(self, node: ast.Subscript, depth: int) -> Any:
        key = self.value(node.slice, depth)
        holder = self.value(node.value, depth)
        if not isinstance(key, int | str) or not isinstance(holder, list | dict | str):
            raise ExpressionRefused("an expression indexes what it may not")
        return holder[key]  # type: ignore[index]

    def _name(self, node: ast.Name, _depth: int) -> Any:
        if node.id in self._references:
            return self._reference(self._references[node.id])
        return self._dtype(self._names.get(node.id), node.id)

    def _attribute(self, node: ast.Attribute, _depth: int) -> Any:
        return self._dtype(self._path(node), node.attr)

    def _dtype(self, path: str | None, name: str) -> Any:
        """A dtype is its name; little else of a module has a value here."""
        if path in CONSTANTS:
            return CONSTANTS[path]
        module, _, last = (path or "").rpartition(".")
        if module not in {"torch", "numpy"} or last not in DTYPES:
            raise ExpressionRefused("an expression names what has no value here", name=name[:100])
        return last

    def _call(self, node: ast.Call, depth: int) -> Any:
        path = self._path(node.func)
        if path is not None and path in _DESCRIBED:
            return self._described(path, node, depth)
        function = _FUNCTIONS.get(path or "")
        if function is None or node.keywords or any(isinstance(item, ast.Starred) for item in node.args):
            raise ExpressionRefused("an expression calls what is not allowed here", name=str(path)[:100])
        return function(*(self.value(item, depth) for item in node.args))

    def _described(self, path: str, node: ast.Call, depth: int) -> Any:
        """A call as plain values: `_target_` and its arguments by name."""
        keywords = [(item.arg, item.value) for item in node.keywords]
        given = [*zip(_DESCRIBED[path], node.args, strict=False), *keywords]
        names = [name for name, _ in given if name is not None and not name.startswith("_")]
        if len(node.args) > len(_DESCRIBED[path]) or len(set(names)) != len(given):
            raise ExpressionRefused("an expression describes a part of a network in another way than the zoo's")
        made = {name: self.value(value, depth) for name, value in given if name is not None}
        return {**made, "_target_": path.rpartition(".")[2]}

    def _path(self, node: ast.AST) -> str | None:
        if isinstance(node, ast.Name):
            return self._names.get(node.id, node.id if node.id in BUILTINS else None)
        if isinstance(node, ast.Attribute):
            root = self._path(node.value)
            return None if root is None else f"{root}.{node.attr}"
        return None


def _check_joining(kind: ast.operator, left: Any, right: Any) -> None:
    """Texts and lists may be joined and repeated, within the limit; `%` on a text could make one of any length."""
    if isinstance(kind, ast.Add):
        length = sum(len(side) for side in (left, right) if isinstance(side, str | list))
    elif isinstance(kind, ast.Mult):
        counted = left if isinstance(left, str | list) else right
        times = right if counted is left else left
        length = len(counted) * times if isinstance(times, int) else LENGTH_MAX + 1
    else:
        raise ExpressionRefused("an expression uses an operator that is not allowed on text or lists")
    if length > LENGTH_MAX:
        raise ExpressionRefused("an expression makes a value that is too long")


def _bounded(value: Any) -> Any:
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, int | float) and not abs(value) <= _NUMBER_MAX:
        raise ExpressionRefused("an expression makes a number that is too large")
    if isinstance(value, str) and ("$" in value or value.startswith(("@", "%"))):
        raise ExpressionRefused("an expression makes a text that would be evaluated again")
    if isinstance(value, str | list | dict) and len(value) > LENGTH_MAX:
        raise ExpressionRefused("an expression makes a value that is too long")
    if not isinstance(value, str | int | float | bool | list | dict | None):
        raise ExpressionRefused("an expression makes a value that is not plain")
    return value
