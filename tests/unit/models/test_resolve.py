import json
import time

import pytest

from models.errors import BadBundle, DirectiveRefused, ExpressionRefused, TargetRefused
from models.resolve import WANTED, audited, resolved
from tests.unit.models import zoo_shapes
from tests.unit.models.zoo_shapes import base

INTERPRETED = WANTED[1:]


def strings(node):
    if isinstance(node, dict):
        return [*node, *(text for value in node.values() for text in strings(value))]
    if isinstance(node, list):
        return [text for item in node for text in strings(item)]
    return [node] if isinstance(node, str) else []


@pytest.mark.parametrize("shape", zoo_shapes.ACCEPTED.values(), ids=zoo_shapes.ACCEPTED)
def test_what_the_zoo_writes_becomes_plain(shape):
    config = shape()
    before = json.dumps(config)
    parts = resolved(config)
    assert list(parts) == list(WANTED)
    assert not [text for text in strings(parts) if "$" in text or text.startswith(("@", "%"))]
    assert json.dumps(config) == before
    assert parts["postprocessing"]["transforms"][-1]["output_dir"] == "./eval"
    inverts = [item for item in parts["postprocessing"]["transforms"] if item["_target_"] == "Invertd"]
    assert inverts[0]["transform"] == parts["preprocessing"]


def test_references_expressions_and_both_separators():
    parts = resolved(zoo_shapes.whole_body())
    spacing = parts["preprocessing"]["transforms"][2]
    assert spacing == {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 1.5], "mode": "bilinear"}
    assert parts["inferer"]["overlap"] == 0.25
    assert parts["inferer"]["sw_batch_size"] == 1
    assert parts["inferer"]["device"] == "cpu"
    assert parts["network_def"]["out_channels"] == 105
    other = zoo_shapes.whole_body()
    other["displayable_configs"]["highres"] = False
    assert resolved(other)["preprocessing"]["transforms"][2]["pixdim"] == [3.0, 3.0, 3.0]


def test_lists_are_joined_and_lengths_counted():
    parts = resolved(zoo_shapes.deepedit())
    assert [item["_target_"] for item in parts["preprocessing"]["transforms"]] == [
        "LoadImaged",
        "EnsureChannelFirstd",
        "EnsureTyped",
    ]
    assert parts["network_def"]["in_channels"] == 3


@pytest.mark.parametrize("shape", zoo_shapes.TORCHSCRIPT_ONLY.values(), ids=zoo_shapes.TORCHSCRIPT_ONLY)
def test_a_network_that_torchscript_holds_is_only_named(shape):
    parts = resolved(shape(), INTERPRETED)
    assert parts["inferer"]["_target_"] == "SlidingWindowInferer"
    with pytest.raises((TargetRefused, ExpressionRefused)):
        resolved(shape())


@pytest.mark.parametrize("shape", zoo_shapes.REFUSED.values(), ids=zoo_shapes.REFUSED)
def test_what_is_not_built_is_refused(shape):
    with pytest.raises((TargetRefused, ExpressionRefused)):
        resolved(shape())


def test_disabled_items_are_dropped_and_names_normalised():
    config = base(
        whether_raw=False,
        whether_resampled="$(not @whether_raw)",
        preprocessing={
            "_target_": "monai.transforms.Compose",
            "transforms": [
                {
                    "_target_": "monai.transforms.io.dictionary.LoadImageD",
                    "keys": "image",
                    "_disabled_": "@whether_raw",
                },
                {"_target_": "LoadImageDict", "keys": "other", "_disabled_": "@whether_resampled"},
                {"_target_": "ToDeviced", "keys": "image", "_disabled_": "True"},
                {"_target_": "monai.transforms.SpacingD", "keys": "image", "_desc_": "to 1 mm", "pixdim": 1},
            ],
        },
    )
    assert resolved(config)["preprocessing"] == {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": 1},
        ],
    }


def test_a_missing_part_is_named():
    config = base()
    del config["inferer"]
    with pytest.raises(BadBundle, match="inferer"):
        resolved(config)


@pytest.mark.parametrize(
    "expression",
    [
        "open('/etc/passwd').read()",
        "open('/etc/passwd', 'w')",
        "__import__('os').system('true')",
        "eval('1')",
        "exec('1')",
        "compile('1', '', 'eval')",
        "getattr(os, 'system')('true')",
        "globals()",
        "vars()",
        "input()",
        "breakpoint()",
        "os.system('true')",
        "os.popen('true').read()",
        "os.environ",
        "os.remove('x')",
        "import subprocess",
        "scripts.run()",
        "from scripts import run",
        "import os; os.system('true')",
        "import os\nos.system('true')",
        "from os import system",
        "from os import *",
        "from . import x",
        "import os as __builtins__",
        "subprocess.run(['true'])",
        "().__class__.__bases__[0].__subclasses__()",
        "@network_def.__class__",
        "@network_def.__init__.__globals__['os'].system('true')",
        "'{0.__class__}'.format(1)",
        "[os.system(x) for x in ['true']]",
        "[m.system('true') for m in [os]]",
        "(lambda: os.system('true'))()",
        "(lambda f: f('true'))(os.system)",
        "list(map(os.system, ['true']))",
        "map(eval, ['1'])",
        "(os.system if True else 1)('true')",
        "(x := os.system)",
        "setattr(torch, 'load', 1)",
        "setattr(torch.backends.cudnn, 'benchmark', os.system)",
        "setattr(os, 'environ', {})",
        "setattr(*[torch.backends.cudnn, 'benchmark', True])",
        "delattr(os, 'x')",
        "type('X', (), {})",
        "torch.hub.load('x', 'y')",
        "torch.ops.load_library('x.so')",
        "numpy.load('x', allow_pickle=True)",
        "numpy.fromfile('x')",
        "monai.bundle.run('x')",
        "monai.utils.optional_import('os')[0].system('true')",
        "monai.apps.download_url('http://x', 'y')",
        "pd.read_pickle('x')",
        "@evaluator.system('true')",
        "yield 1",
        "await x",
        "1 if",
        "b'bytes'",
        "...",
        "9" * 5000,
        "-" * 3000 + "1",
        "(" * 300 + "1" + ")" * 300,
        "[" * 90 + "]" * 90,
        "\x00",
        "bithive_reference_0",
    ],
)
@pytest.mark.parametrize("place", ["elsewhere", "wanted"])
def test_hostile_expressions_are_refused_wherever_they_stand(expression, place):
    config = base(imports=["$import glob", "$import os", "$import pandas as pd", "$import scripts.own"])
    if place == "wanted":
        config["inferer"]["overlap"] = f"${expression}"
    else:
        config["handlers"].append({"_target_": "StatsHandler", "note": [f"${expression}"]})
    with pytest.raises(ExpressionRefused):
        resolved(config)


@pytest.mark.parametrize(
    "expression",
    [
        "lambda x: x",
        "[i for i in range(3)]",
        "f'{1}'",
        "10 ** 10 ** 10",
        "2 ** 64",
        "9007199254740993",
        "[0] * 100000000",
        "'a' * 100000000",
        "100000000 * 'a'",
        "list(range(100000000))",
        "'%1000000000d' % 1",
        "(-8) ** 0.5",
        "1 / 0",
        "[1, 2][5]",
        "{'a': 1}['b']",
        "{'_target_': 'os.system'}",
        "{1: 2}",
        "{**@inferer}",
        "{1, 2}",
        "'$' + 'import os'",
        "'@' + 'inferer'",
        "'%' + 'x'",
        "'%s' % 'x'",
        "@datalist",
        "@nowhere",
        "@inferer#nowhere",
        "@inferer#_target_",
        "'@inferer'",
        "glob.glob('*')",
        "torch.load('x')",
        "os.path.join('a', 'b')",
        "@inferer.to('x')",
        "int('x')",
        "len(1)",
        "len(*[[1]])",
        "round(1.5, ndigits=0)",
        "1 << 4",
        "~1",
        "1 < 'a'",
        "float('nan')",
        "float('inf')",
        "1e308 * 10",
        "torch.float32.x",
        "torch",
        "min",
    ],
)
def test_an_interpreted_part_computes_little(expression):
    config = base()
    config["inferer"]["overlap"] = f"${expression}"
    start = time.monotonic()
    with pytest.raises(ExpressionRefused):
        resolved(config)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3 - 4 / 2 // 1 % 5", 5.0),
        ("2 ** 10", 1024),
        ("(1, 2) + (3,)", [1, 2, 3]),
        ("'a' + 'b' * 2", "abb"),
        ("not 0 and 1 < 2 <= 2 or False", True),
        ("None is None and 1 in [1] and 2 not in [1]", True),
        ("1 if torch.cuda.is_available() else torch.cuda.device_count()", 0),
        ("torch.float16", "float16"),
        ("np.uint8", "uint8"),
        ("monai.utils.CommonKeys.PRED", "pred"),
        ("numpy.float32", "float32"),
        ("list(range(1, 4))", [1, 2, 3]),
        ("max(len(@inferer#roi_size), @inferer#roi_size#0) - 1", 95),
        ("@inferer#roi_size[1]", 96),
        ("{'a': [True, None]}['a']", [True, None]),
        ("[-1, +2, abs(-3), int('4'), round(4.6)]", [-1, 2, 3, 4, 5]),
    ],
)
def test_what_is_computed_is_right(expression, value):
    config = base()
    config["network_def"]["dropout"] = f"${expression}"
    assert resolved(config)["network_def"]["dropout"] == value


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "scripts.networks.Own",
        "monai.bundle.run",
        "monai.transforms.Lambdad",
        "Lambdad",
        "RandRotated",
        "monai.apps.download_url",
        "torch.jit.load",
        "inference.run.load",
        "os.Compose",
        "",
        7,
        None,
        ["Compose"],
        "x" * 1000,
        "$'Comp' + 'ose'",
        "@bundle_root",
    ],
)
@pytest.mark.parametrize("place", ["elsewhere", "wanted", "network_def"])
def test_other_targets_are_refused_wherever_they_stand(target, place):
    config = base()
    if place == "wanted":
        config["preprocessing"]["transforms"].append({"_target_": target, "keys": "image"})
    elif place == "elsewhere":
        config["handlers"].append({"deep": [{"_target_": target}]})
    else:
        config["network_def"]["_target_"] = target
    with pytest.raises(TargetRefused):
        resolved(config)
    if target != "scripts.networks.Own" or place != "network_def":
        with pytest.raises(TargetRefused):
            resolved(config, INTERPRETED)


def test_training_classes_stay_outside():
    config = base()
    config["preprocessing"]["transforms"].append({"_target_": "Dataset"})
    audited(config)
    with pytest.raises(TargetRefused):
        resolved(config)


@pytest.mark.parametrize(
    "change",
    [
        {"include": "%other.json::inferer"},
        {"include": "%/etc/passwd"},
        {"network_def#out_channels": 3},
        {"network_def::out_channels": 3},
        {"+network_def": {}},
        {"~network_def": None},
        {"$import os": 1},
        {"%x": 1},
        {"a$b": 1},
        {"handlers": [{"_target_": "StatsHandler", "_mode_": "debug"}]},
        {"handlers": [{"_target_": "StatsHandler", "_mode_": "callable"}]},
        {"handlers": [{"_target_": "StatsHandler", "_unknown_": 1}]},
        {"handlers": [{"_requires_": "$1"}]},
        {"inferer": {"_target_": "SimpleInferer", "_requires_": "$1"}},
        {"inferer": {"_target_": "SimpleInferer", "_disabled_": True}},
        {"inferer": {"_target_": "SimpleInferer", "_disabled_": 1}},
        {"wide": [0] * 30_000},
        {"odd": {1, 2}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_directives_are_refused(change):
    with pytest.raises(DirectiveRefused):
        resolved(base(**change))


def test_hidden_and_malformed_texts_are_refused():
    for text in ("say $import os", " $1", "@", "@a b", "@##inferer", "@a.b"):
        with pytest.raises(ExpressionRefused):
            resolved(base(note=text))


def deep(levels):
    node = []
    for _ in range(levels):
        node = [node]
    return node


def test_depth_circles_and_multiplication_end():
    with pytest.raises(DirectiveRefused):
        resolved(base(deep=deep(40)))
    circle = []
    circle.append(circle)
    with pytest.raises(DirectiveRefused):
        resolved(base(circle=circle))
    for config in (
        base(inferer="@inferer"),
        base(inferer={"_target_": "SimpleInferer", "x": "@a"}, a="@b", b="$[@a]"),
        base(inferer={"_target_": "SimpleInferer", "x": "@inferer"}),
        base(inferer="@a0", **{f"a{i}": f"@a{i + 1}" for i in range(200)}, a200=1),
        base(inferer="@a0", **{f"a{i}": [f"@a{i + 1}"] for i in range(40)}, a40=1),
        base(inferer="@a0", **{f"a{i}": [f"@a{i + 1}", f"@a{i + 1}"] for i in range(30)}, a30=1),
        base(inferer="@a0", **{f"a{i}": f"$@a{i + 1} + @a{i + 1}" for i in range(30)}, a30=[1]),
    ):
        with pytest.raises(ExpressionRefused):
            resolved(config)


def test_one_name_is_one_thing():
    with pytest.raises(ExpressionRefused):
        resolved(base(imports=["$import os as glob", "$import glob"]))
    with pytest.raises(ExpressionRefused):
        resolved(base(imports=["$import os as torch"]))


def test_a_torch_device_is_its_name():
    config = base()
    config["inferer"]["device"] = {"_target_": "torch.device", "device": "@device"}
    assert resolved(config)["inferer"]["device"] == "cpu"
