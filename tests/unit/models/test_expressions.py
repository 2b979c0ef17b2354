import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ExpressionRefused
from models.expression_audit import check, imported
from models.expressions import GLOBALS, evaluate


def nothing(name):
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("import os", {"os": "os"}),
        ("import numpy as np", {"np": "numpy"}),
        ("import os.path", {"os": "os"}),
        ("from glob import glob", {"glob": "glob.glob"}),
        ("from monai.data import decollate_batch as d", {"d": "monai.data.decollate_batch"}),
        ("import glob, os", {"glob": "glob", "os": "os"}),
        ("1 + 1", None),
        ("important", None),
    ],
)
def test_what_an_import_binds(text, bound):
    assert imported(text) == bound


@pytest.mark.parametrize(
    "text",
    [
        *("import subprocess", "from scripts import x", "import sys", "from os import system", "from os import *"),
        *("from .x import y", "import os as _os", "from monai.utils import __version__", "import os; import glob"),
        *("import os\nimport sys", "import", "from torch import load as _l", "import builtins"),
    ],
)
def test_other_imports_are_refused(text):
    with pytest.raises(ExpressionRefused):
        imported(text)


def test_an_alias_hides_nothing():
    names = {**GLOBALS, **(imported("import os as o") or {}), **(imported("from torch import load") or {})}
    check("o.path.join('a', 'b')", names)
    check("load('x')", names)
    for text in ("o.system('x')", "o", "load.system('x')", "[o for o in [1]] + o.listdir('x')"):
        with pytest.raises(ExpressionRefused):
            check(text, names)


def test_a_local_name_is_no_module():
    names = {**GLOBALS, "os": "os"}
    check("[os for os in @list]", names)
    with pytest.raises(ExpressionRefused):
        check("[os.system('x') for os in @list]", names)


def test_references_are_told_and_asked_for():
    assert check("@a#b + @c::0 + @a#b", GLOBALS) == {"a#b", "c::0"}
    assert evaluate("@a#b * 2 + len(@c)", GLOBALS, {"a#b": 3, "c": [1, 2]}.__getitem__) == 8


def test_numbers_and_texts_stay_bounded():
    assert evaluate("2 ** 32 - 1", GLOBALS, nothing) == 2**32 - 1
    for text in ("2 ** 33", "0.5 ** -33", "2.0 ** 1000", "1e400", "'x' * 10001", "[0] * -1 + [1] * 10001"):
        with pytest.raises(ExpressionRefused):
            evaluate(text, GLOBALS, nothing)


TOKENS = [
    *(
        "@a",
        "@b#0",
        "1",
        "2.5",
        "'x'",
        "None",
        "True",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        ",",
        ":",
        ".",
        "+",
        "-",
        "*",
        "**",
    ),
    *(
        "//",
        "%",
        "if",
        "else",
        "for",
        "in",
        "lambda",
        "x",
        "os",
        "torch",
        "system",
        "__class__",
        "float32",
        "len",
        "range",
    ),
    *("not", "and", "==", "<", "import", "from", "open", "=", ";", "\n", "\\", "$", "#"),
]


@given(st.lists(st.sampled_from(TOKENS), max_size=14).map(" ".join) | st.text(max_size=30))
@settings(max_examples=400, deadline=None)
def test_whatever_is_written_has_a_value_or_a_code(text):
    for function in (
        imported,
        lambda found: check(found, {**GLOBALS, "os": "os"}),
        lambda found: evaluate(found, {**GLOBALS, "os": "os"}, {"a": [1, "x"], "b#0": {"k": 2}}.__getitem__),
    ):
        with contextlib.suppress(ExpressionRefused):
            function(text)
