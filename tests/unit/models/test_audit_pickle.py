import collections
import io
import os
import pickle
import pickletools
import zipfile
from pathlib import Path

import pytest
import torch

from models.audit_pickle import ALLOWED, audit_pickle, check_opcodes
from models.errors import PickleRefused

STATE = {"conv.weight": torch.ones(2, 3), "half": torch.ones(1, dtype=torch.float16), "steps": torch.tensor(3)}


class Executes:
    def __reduce__(self):
        return os.system, ("touch /tmp/bithive-pickle-ran",)


class Opens:
    def __reduce__(self):
        return open, ("/tmp/bithive-pickle-ran", "w")


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("options", [{}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize(
    "content",
    [
        STATE,
        collections.OrderedDict(STATE),
        {"model": STATE, "epoch": 3, "rate": 0.1, "names": ["a", ("b", None)]},
        {"w": torch.nn.Parameter(torch.ones(1))},
    ],
)
def test_tensors_and_plain_values_pass(tmp_path, options, content):
    assert audit_pickle(saved(tmp_path / "model.pt", content, **options)) >= 1


@pytest.mark.parametrize("options", [{}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize("hostile", [Executes(), Opens(), os.system, torch.nn.Linear(1, 1), pytest, eval])
def test_whatever_imports_more_is_refused_and_not_run(tmp_path, options, hostile):
    if hostile is pytest:
        hostile = collections.Counter("a")
    path = saved(tmp_path / "model.pt", {**STATE, "x": hostile}, **options)
    with pytest.raises(PickleRefused) as refused:
        audit_pickle(path)
    assert refused.value.code == "pickle-refused"
    assert not Path("/tmp/bithive-pickle-ran").exists()


def check(content):
    check_opcodes(io.BytesIO(content), ALLOWED.__contains__)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_read(protocol):
    check(pickle.dumps(collections.OrderedDict(a=[1, "b", 1.5, None, True, 10**30]), protocol))
    with pytest.raises(PickleRefused):
        check(pickle.dumps(os.system, protocol))
    with pytest.raises(PickleRefused):
        check(pickle.dumps(Executes(), protocol))


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93.",
        b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x8c\x02os\x8c\x06system\x8c\x01x0\x93.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x8c\x0bcollections\x8c\x0bOrderedDict00\x93.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x8c\x0bcollectionsq\x00\x8c\x0bOrderedDictq\x0100h\x00h\x010000\x93.",
        b"\x80\x04N\x8c\x06system\x93.",
        b"\x80\x04\x93.",
        b"\x80\x02\x82\x01.",
        b"ccollections\nOrderedDict.\n.",
        b"c__builtin__\neval\n.",
        b"",
        b"\x80",
        b"garbage",
        b"\x80\x04\x8c\xffshort",
        pickle.dumps(STATE["steps"].numpy()),
    ],
)
def test_hidden_and_malformed_imports_are_refused(content):
    with pytest.raises(PickleRefused):
        check(content)


def test_pickletools_agrees_on_what_torch_writes(tmp_path):
    with zipfile.ZipFile(saved(tmp_path / "model.pt", STATE)) as archive:
        names = {
            str(argument)
            for opcode, argument, _ in pickletools.genops(archive.read("model/data.pkl"))
            if opcode.name == "GLOBAL"
        }
    assert {tuple(name.split(" ")) for name in names} <= ALLOWED


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


SOUND = pickle.dumps({"a": 1}, 2)


@pytest.mark.parametrize(
    "members",
    [
        [("m/data.pkl", SOUND), ("m/other.pkl", pickle.dumps(os.system))],
        [("m/data.pkl", SOUND), ("m/hidden", pickle.dumps(os.system))],
        [("m/data.pkl", SOUND + SOUND)],
        [("m/data.pkl", SOUND), ("other/data.pkl", SOUND)],
        [("m/data.pkl", SOUND), ("m/../../outside", b"")],
        [("m/nothing", b"")],
        [("m/data.pkl", SOUND[:-1])],
    ],
)
def test_archives_that_hide_something_are_refused(tmp_path, members):
    with pytest.raises(PickleRefused):
        audit_pickle(zipped(tmp_path / "model.pt", members))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_readers_may_see_differently_are_refused(tmp_path):
    twice = zipped(tmp_path / "twice.pt", [("m/data.pkl", SOUND), ("m/data.pkl", pickle.dumps(os.system))])
    sound = zipped(tmp_path / "sound.pt", [("m/data.pkl", SOUND)])
    assert audit_pickle(sound) == 1
    before = tmp_path / "before.pt"
    before.write_bytes(
        zipped(tmp_path / "evil.pt", [("m/data.pkl", pickle.dumps(os.system))]).read_bytes() + sound.read_bytes()
    )
    behind = tmp_path / "behind.pt"
    behind.write_bytes(sound.read_bytes() + b"more")
    polyglot = tmp_path / "polyglot.pt"
    polyglot.write_bytes(pickle.dumps(os.system, 2) + sound.read_bytes())
    cut = tmp_path / "cut.pt"
    cut.write_bytes(sound.read_bytes()[:-30])
    empty = tmp_path / "empty.pt"
    empty.write_bytes(b"")
    for path in (twice, before, behind, polyglot, cut, empty):
        with pytest.raises(PickleRefused):
            audit_pickle(path)
