"""Judges the `$` expressions of a configuration: what stands in no table is refused, wherever it stands.

What the zoo's files use to find images, to move networks to a device or to seed a generator is recognised by its shape,
and never run: nothing here computes a value.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from models.errors import ExpressionRefused
from models.expressions import BUILTINS, CONSTANTS, DEPTH_MAX, DTYPES, check_constant, expression, parsed

_MODULES = frozenset(
    {
        *("glob", "os", "os.path", "numpy", "torch", "monai", "pandas", "json", "math", "pathlib", "itertools"),
        *("functools", "copy", "ignite", "datetime", "random", "re", "scipy", "nibabel", "torch.distributed"),
    }
)
_VALUES = frozenset(
    {
        *(f"{module}.{name}" for module in ("torch", "numpy") for name in DTYPES),
        *CONSTANTS,
        *("torch.backends.cudnn", "math.pi", "numpy.inf", "numpy.pi", "numpy.nan", "os.sep", "torch.sigmoid"),
    }
)
_CALLS = frozenset(
    {
        *("glob.glob", "glob.iglob", "os.path.join", "os.path.basename", "os.path.dirname", "os.path.exists"),
        *("os.path.abspath", "os.path.splitext", "pathlib.Path", "pandas.read_csv", "pandas.read_json"),
        *("json.loads", "copy.deepcopy", "copy.copy", "itertools.chain", "functools.partial", "math.ceil"),
        *("math.floor", "math.prod", "math.sqrt", "numpy.array", "numpy.asarray", "numpy.unique", "numpy.eye"),
        *("numpy.ceil", "numpy.floor", "numpy.prod", "numpy.sqrt", "numpy.where", "numpy.arange"),
        *("torch.device", "torch.cuda.is_available", "torch.cuda.device_count", "torch.cuda.set_device"),
        *("torch.load", "torch.tensor", "torch.from_numpy", "torch.where", "torch.sigmoid", "torch.softmax"),
        *("torch.argmax", "torch.nan_to_num", "torch.distributed.get_rank", "torch.no_grad", "torch.cat"),
        *("monai.utils.set_determinism", "monai.utils.first", "monai.utils.misc.ensure_tuple"),
        *("monai.data.load_decathlon_datalist", "monai.data.partition_dataset", "monai.data.decollate_batch"),
        *("monai.data.utils.no_collation", "monai.data.utils.pad_list_data_collate", "monai.handlers.from_engine"),
        *("monai.handlers.write_metrics_reports", "monai.networks.utils.copy_model_state"),
        *("monai.networks.nets.resnet.resnet50", "monai.networks.nets.vista3d132", "monai.transforms.Compose"),
        "monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor",
    }
)
"""What may be called, or named as something to be called, where nothing is evaluated. `torch.load` is among them: the
zoo's DiNTS files read their architecture by it; here it is a word, and a part that needs its answer is refused."""

_METHODS = frozenset(
    {
        *("to", "run", "eval", "train", "cuda", "cpu", "half", "float", "parameters", "state_dict", "items"),
        *("keys", "values", "get", "split", "replace", "strip", "join", "lower", "upper", "startswith"),
        *("endswith", "tolist", "index", "count", "read_text", "as_posix", "sum", "max", "min", "copy"),
        *("set_target_keys", "set_box_selector_parameters", "set_sliding_window_inferer"),
    }
)
_CUDNN_SWITCHES = frozenset({"benchmark", "deterministic", "enabled", "allow_tf32"})

_PLAIN_NODES = (
    *(ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.BinOp, ast.UnaryOp, ast.BoolOp),
    *(ast.Compare, ast.IfExp, ast.Subscript, ast.Slice, ast.Starred, ast.keyword, ast.operator, ast.unaryop),
    *(ast.boolop, ast.cmpop, ast.expr_context, ast.JoinedStr, ast.FormattedValue, ast.ListComp, ast.SetComp),
    *(ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.Lambda, ast.arguments, ast.arg),
)


def imported(text: str) -> dict[str, str] | None:
    """What an import statement binds: name and dotted path; None when the text is none.

    Raises
    ------
    ExpressionRefused
        If it imports a module that is not in the table, or does more than importing. The bundle's own `scripts` may be
        imported, since nothing of them may be named afterwards.
    """
    if not re.match(r"\s*(import|from)\b", text):
        return None
    statements = parsed(text, "exec").body
    if len(statements) != 1 or not isinstance(statements[0], ast.Import | ast.ImportFrom):
        raise ExpressionRefused("an import statement does more than importing")
    statement = statements[0]
    bound = {}
    for alias in statement.names:
        path = alias.name
        if isinstance(statement, ast.ImportFrom):
            path = f"{statement.module}.{alias.name}"
            allowed = not statement.level and (path in _MODULES | _CALLS | _VALUES or path.startswith("monai."))
        else:
            allowed = path in _MODULES or path.startswith(("monai.", "scripts.")) or path == "scripts"
        if not allowed or "__" in path or (alias.asname or "").startswith("_"):
            raise ExpressionRefused("an expression imports a module that is not allowed", module=path[:100])
        name = alias.asname or (path if isinstance(statement, ast.ImportFrom) else path.split(".")[0])
        bound[name.split(".")[-1]] = path if alias.asname or isinstance(statement, ast.ImportFrom) else name
    return bound


def check(text: str, names: Mapping[str, str]) -> frozenset[str]:
    """Judge an expression that is never evaluated.

    Parameters
    ----------
    text
        Behind the `$`.
    names
        What the configuration's import statements bind, `GLOBALS` among them.

    Returns
    -------
    frozenset
        The references in it, without `@`.

    Raises
    ------
    ExpressionRefused
        If it calls, or reads an attribute of, anything that is in no table.
    """
    tree, references = expression(text)
    _Judge({**names}, frozenset(references)).visit(tree.body, frozenset(), 0)
    return frozenset(references.values())


class _Judge:
    """Walks a tree and refuses what is in no table."""

    def __init__(self, names: Mapping[str, str], references: frozenset[str]) -> None:
        self._names = names
        self._references = references

    def visit(self, node: ast.AST, local: frozenset[str], depth: int) -> None:
        if depth > DEPTH_MAX:
            raise ExpressionRefused("an expression nests too deeply")
        if isinstance(node, ast.Call):
            self._call(node, local, depth)
            return
        if isinstance(node, ast.Name):
            self._name(node, local)
            return
        if isinstance(node, ast.Attribute):
            self._attribute(node, local, depth)
            return
        if not isinstance(node, _PLAIN_NODES):
            raise ExpressionRefused("an expression does what is not allowed", kind=type(node).__name__)
        if isinstance(node, ast.Constant):
            check_constant(node.value)
        inner = local | _bound(node)
        for child in ast.iter_child_nodes(node):
            self.visit(child, inner, depth + 1)

    def _name(self, node: ast.Name, local: frozenset[str]) -> None:
        if isinstance(node.ctx, ast.Store):
            return
        if node.id in local or node.id in self._references:
            return
        path = self._names.get(node.id)
        if (path is None and node.id in BUILTINS) or (path is not None and path in _CALLS | _VALUES):
            return
        raise ExpressionRefused("an expression names what is not allowed", name=node.id[:100])

    def _attribute(self, node: ast.Attribute, local: frozenset[str], depth: int) -> None:
        if node.attr.startswith("_"):
            raise ExpressionRefused("an expression reads a private attribute", name=node.attr[:100])
        path = self._path(node, local)
        if path is None:
            self.visit(node.value, local, depth + 1)
        elif path not in _CALLS | _VALUES:
            raise ExpressionRefused("an expression names what is not allowed", name=path[:100])

    def _call(self, node: ast.Call, local: frozenset[str], depth: int) -> None:
        called = node.func
        if isinstance(called, ast.Name) and called.id == "setattr" and called.id not in self._names:
            self._switch(node, local)
            return
        if isinstance(called, ast.Attribute) and self._path(called, local) is None:
            if called.attr not in _METHODS:
                raise ExpressionRefused("an expression calls what is not allowed", name=called.attr[:100])
        elif not isinstance(called, ast.Name | ast.Attribute):
            raise ExpressionRefused("an expression calls what is not allowed", kind=type(called).__name__)
        elif (path := self._path(called, local)) is not None and path not in _CALLS:
            raise ExpressionRefused("an expression calls what is not allowed", name=path[:100])
        for child in ast.iter_child_nodes(node):
            self.visit(child, local, depth + 1)

    def _switch(self, node: ast.Call, local: frozenset[str]) -> None:
        """`setattr(torch.backends.cudnn, 'benchmark', True)` and its like: nothing else may be set."""
        path = self._path(node.args[0], local) if len(node.args) == 3 and not node.keywords else None
        values = [argument.value for argument in node.args[1:] if isinstance(argument, ast.Constant)]
        known = path == "torch.backends.cudnn" and len(values) == 2 and values[0] in _CUDNN_SWITCHES
        if not (known and isinstance(values[1], bool)):
            raise ExpressionRefused("an expression sets an attribute")

    def _path(self, node: ast.AST, local: frozenset[str]) -> str | None:
        """The dotted path of an attribute of a module, or None when it is an attribute of a value."""
        if isinstance(node, ast.Name):
            return None if node.id in local else self._names.get(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        root = self._path(node.value, local)
        return None if root is None else f"{root}.{node.attr}"


def _bound(node: ast.AST) -> frozenset[str]:
    """Names that a comprehension or a lambda binds for what is inside it."""
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        targets = [leaf for generator in node.generators for leaf in ast.walk(generator.target)]
        found = {leaf.id for leaf in targets if isinstance(leaf, ast.Name)}
    elif isinstance(node, ast.Lambda):
        found = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    else:
        return frozenset()
    if any(name.startswith("_") and name != "_" for name in found):
        raise ExpressionRefused("an expression binds a private name")
    return frozenset(found)
