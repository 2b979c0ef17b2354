import os
import pickle
import warnings
import zipfile

import pytest
import torch

from models.audit_torchscript import audit_torchscript, check_code
from models.errors import TorchScriptRefused
from models.torch_zip import holds_script, is_torch_zip
from tests.common.zoo import zoo_bundle


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    return zoo_bundle(tmp_path_factory.mktemp("zoo"), roi=(8, 8, 8)) / "models" / "model.ts"


def changed(source, target, change):
    """A copy of an archive with members replaced, added or (None) left out; stored, as PyTorch writes it."""
    with zipfile.ZipFile(source) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    root = next(iter(members)).split("/")[0]
    members |= {f"{root}/{name}": content for name, content in change.items()}
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(name, content)
    return target


def test_real_networks_pass(script, tmp_path):
    from monai.networks.nets import UNet

    assert audit_torchscript(script) >= 1
    assert holds_script(script)
    network = UNet(3, 1, 2, (4, 8), (2,), num_res_units=1).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for made in (torch.jit.trace(network, torch.zeros(1, 1, 8, 8, 8)), torch.jit.script(network)):
            torch.jit.save(made, str(tmp_path / "network.ts"))
            assert audit_torchscript(tmp_path / "network.ts") > 5


def test_a_checkpoint_is_no_script(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "model.pt")
    assert is_torch_zip(tmp_path / "model.pt")
    assert not holds_script(tmp_path / "model.pt")
    with pytest.raises(TorchScriptRefused):
        audit_torchscript(tmp_path / "model.pt")
    (tmp_path / "text").write_text("no zip")
    assert not holds_script(tmp_path / "text")
    with pytest.raises(TorchScriptRefused):
        audit_torchscript(tmp_path / "text")


@pytest.mark.parametrize(
    "change",
    [
        {"data.pkl": pickle.dumps(os.system, 2)},
        {"constants.pkl": pickle.dumps(os.system, 2)},
        {"code/x.py.debug_pkl": pickle.dumps(os.system, 2)},
        {"data.pkl": b"c__torch__.torch.classes.foreign\nThing\n."},
        {"run.sh": b"true"},
        {"code/native.so": b"\x7fELF"},
        {"code/__torch__/x.py": b"import os"},
        {"code/__torch__/x.py": b"def f(x):\n  return ops.foreign.steal(x)"},
        {"code/__torch__/x.py": b"def f(x):\n  return torch.from_file('/etc/passwd')"},
        {"code/__torch__/x.py": b"\xff\xfe"},
        {"code/__torch__/x.py": b"def f(:"},
    ],
)
def test_other_members_and_other_code_are_refused(script, tmp_path, change):
    with pytest.raises(TorchScriptRefused) as refused:
        audit_torchscript(changed(script, tmp_path / "model.ts", change))
    assert refused.value.code == "torchscript-refused"


@pytest.mark.parametrize(
    "line",
    [
        "torch.from_file('x')",
        "torch.save(x, 'y')",
        "torch.ops.aten.from_file('x')",
        "ops.aten.from_file('x')",
        "ops.foreign.call(x)",
        "torch.ops.foreign.call(x)",
        "torch.classes.foreign.Thing()",
        "__torch__.torch.classes.foreign.Thing()",
        "torch.hub.load('x', 'y')",
        "torch . from_file (\n  'x')",
        "open('x')",
        "eval('x')",
        "exec('x')",
        "print('x')",
        "__import__('os')",
        "(" * 300,
    ],
)
def test_operators_that_reach_out_are_refused(line):
    with pytest.raises(TorchScriptRefused):
        check_code(f"def forward(self, x):\n  y = {line}\n  return y\n".encode())


def test_what_scripts_usually_say_passes():
    check_code(
        b"class Network(Module):\n"
        b'  __parameters__ = ["weight", ]\n'
        b"  weight : Tensor\n"
        b"  def forward(self: __torch__.x.Network, input: Tensor, print: bool) -> Tensor:\n"
        b"    a = ops.prim.NumToTensor(torch.size(input, 0))\n"
        b"    b = annotate(List[int], [int(a)])\n"
        b'    c = getattr(self, "0")\n'
        b"    if print:\n"
        b'      ops.prim.RaiseException("no")\n'
        b"    return torch.conv3d(input, self.weight, None, b, CONSTANTS.c0)\n"
    )


def test_a_deflated_archive_with_something_behind_it_is_refused(script, tmp_path):
    (tmp_path / "model.ts").write_bytes(script.read_bytes() + b"\0")
    with pytest.raises(TorchScriptRefused):
        audit_torchscript(tmp_path / "model.ts")
