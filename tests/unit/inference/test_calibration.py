import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inference import calibration, engine
from inference.calibration import NetworkRun, Shown, fastest, key, read, write
from inference.convert_onnx import exported
from inference.engine import Candidate, CheckedNetwork, NetworkFile, choose
from inference.errors import BundleRefused, EngineAbsent, EngineFault, EngineUnfit
from inference.node import fingerprint
from inference.parity import Answer, probe, profile
from tests.common.networks import SHAPE, small_bundle, written

FILES = {"models/small": NetworkFile(Path("any"), "torchscript")}


class Fake:
    """An engine at the port, in the place of one for a device that is not here: it answers with its input, changed."""

    version, device, precision, tf32, bf16, threads = "1", "cpu", "f32", False, False, 1

    def __init__(self, name, clock, seconds=0.1, change=None, repeatable=True, fails=None, precision="f32"):
        self.name, self.clock, self.seconds, self.change = name, clock, seconds, change
        self.deterministic, self.fails, self.precision, self.runs = repeatable, fails, precision, 0

    def network(self, _file, input_shape):
        return CheckedNetwork(self.run, input_shape, (RuntimeError,))

    def run(self, inputs):
        self.runs += 1
        self.clock.advance_s(self.seconds)
        if self.fails:
            raise self.fails
        answer = np.concatenate([inputs, -inputs], axis=1)
        return answer if self.change is None else self.change(answer, self.runs)


@pytest.fixture
def house(tmp_path, monkeypatch, clock):
    """Makes fakes by name, `steady` being the reference, and a bundle that lists them."""
    monkeypatch.setattr(calibration, "SystemClock", lambda: clock)
    monkeypatch.setattr(calibration, "_IN_MEMORY", {})
    fakes = {}

    def build(engines=None, network=None, reference_here=True, **given):
        stated = {"reference": "steady", "measure": "labels", "least": 0.99}
        for name, how in given.items():
            fakes[name] = Fake(name, clock, **how)
            kind = engine._Kind(
                "numpy", frozenset({"torchscript"}), False, lambda: ("cpu",), lambda _d, _t, it=fakes[name]: it
            )
            if name != "steady" or reference_here:
                monkeypatch.setitem(engine._KINDS, name, kind)
        listed = {name: {"precision": "f32"} | ({} if name == "steady" else {"parity": stated}) for name in given}
        return small_bundle(tmp_path, engines or listed, **(network or {})), fakes

    return build


def verdicts(folder, bundle, files=FILES):
    return {shown.candidate.name: shown.verdict for shown in read(folder, bundle, key(files, 1))}


def reasons(folder, bundle):
    return {shown.candidate.name: shown.reason for shown in read(folder, bundle, key(FILES, 1))}


def swap(answer, _run):
    return np.ascontiguousarray(answer[:, ::-1])


def test_the_fastest_that_agrees_is_taken(house, tmp_path):
    bundle, fakes = house(quick={"seconds": 0.05}, quickest={"seconds": 0.01}, steady={})
    assert fastest(bundle, FILES, "auto", 1, tmp_path / "c") == Candidate("quickest", "cpu")
    assert set(verdicts(tmp_path / "c", bundle).values()) == {"fit"}
    assert all(fake.runs == 1 + calibration.RUNS_MAX for fake in fakes.values())


def test_one_that_lies_is_not_taken_however_fast(house, tmp_path):
    bundle, _ = house(quick={"seconds": 0.05}, liar={"seconds": 0.001, "change": swap}, steady={})
    assert fastest(bundle, FILES, "auto", 1, tmp_path / "c").name == "quick"
    assert verdicts(tmp_path / "c", bundle)["liar"] == "unfit"
    assert "parity" in reasons(tmp_path / "c", bundle)["liar"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"fails": RuntimeError("of the library")}, "engine-fault"),
        ({"fails": MemoryError()}, "engine-fault"),
        ({"change": lambda answer, run: answer + np.float32(run) * 1e-6}, "other bits"),
        ({"precision": "bf16"}, "precision"),
        ({"change": lambda answer, _run: answer * np.float32("nan")}, "parity"),
        ({"change": lambda answer, _run: answer[:, :1]}, "parity"),
        ({"change": lambda answer, _run: answer[0]}, "engine-fault"),
    ],
)
def test_why_an_engine_is_not_used_is_kept(house, tmp_path, how, reason):
    bundle, _ = house(odd={"seconds": 0.001, **how}, steady={})
    for _ in range(2):
        assert fastest(bundle, FILES, "auto", 1, tmp_path / "c").name == "steady"
    assert reason in reasons(tmp_path / "c", bundle)["odd"]
    with pytest.raises(EngineUnfit) as refusal:
        fastest(bundle, FILES, "odd", 1, tmp_path / "c")
    assert reason in refusal.value.context["odd"]


def test_bits_that_differ_are_no_lie_when_it_says_so(house, tmp_path):
    wavering = {"change": lambda answer, run: answer + np.float32(run) * 1e-6, "repeatable": False, "seconds": 0.01}
    bundle, _ = house(wavering=wavering, steady={})
    assert fastest(bundle, FILES, "auto", 1, tmp_path / "c").name == "wavering"


def test_what_was_measured_is_not_measured_again(house, tmp_path):
    bundle, fakes = house(quick={"seconds": 0.05}, steady={})
    for _ in range(3):
        fastest(bundle, FILES, "auto", 1, tmp_path / "c")
    fastest(bundle, FILES, "quick", 1, tmp_path / "c")
    assert fakes["quick"].runs == 1 + calibration.RUNS_MAX
    assert len(list((tmp_path / "c").iterdir())) == 1


def test_without_a_folder_it_is_measured_once_per_process(house):
    bundle, fakes = house(quick={"seconds": 0.05}, steady={})
    for _ in range(3):
        assert fastest(bundle, FILES, "auto", 1, None).name == "quick"
    assert fakes["quick"].runs == 1 + calibration.RUNS_MAX


def test_where_nothing_can_be_written_it_is_kept_in_memory(house, tmp_path):
    (tmp_path / "c").write_text("in the way")
    bundle, fakes = house(quick={"seconds": 0.05}, steady={})
    for _ in range(2):
        assert fastest(bundle, FILES, "auto", 1, tmp_path / "c").name == "quick"
    assert fakes["quick"].runs == 1 + calibration.RUNS_MAX


def test_another_node_measures_for_itself(house, tmp_path, monkeypatch):
    bundle, fakes = house(quick={"seconds": 0.05}, steady={"seconds": 0.1})
    assert fastest(bundle, FILES, "auto", 1, tmp_path / "c").name == "quick"
    fakes["quick"].seconds = 0.5
    assert fastest(bundle, FILES, "auto", 1, tmp_path / "c").name == "quick", "the same node remembers"
    assert fastest(bundle, FILES, "auto", 2, tmp_path / "c").name == "steady", "other threads"
    there = {**fingerprint(1), "engines": {"quick": "2"}}
    monkeypatch.setattr(calibration, "fingerprint", lambda _threads: there)
    assert fastest(bundle, FILES, "auto", 1, tmp_path / "c").name == "steady", "another version"
    assert len(list((tmp_path / "c").iterdir())) == 3


def test_another_bundle_is_measured_for_itself(house, tmp_path):
    bundle, fakes = house(quick={"seconds": 0.05}, steady={})
    fastest(bundle, FILES, "auto", 1, tmp_path / "c")
    other, _ = house(quick={"seconds": 0.05}, steady={}, network={"output_channels": 2})
    assert other.sha256 != bundle.sha256
    before = fakes["quick"].runs
    fastest(other, FILES, "auto", 1, tmp_path / "c")
    assert fakes["quick"].runs > before


def damages():
    good = {"form": 1, "bundle": "0" * 64, "node": {}, "engines": []}
    return [b"", b"{", b"[]", b"null", b"\xff\xfe", json.dumps(good).encode(), b'{"form": 1}', None]


@pytest.mark.parametrize("content", damages())
def test_a_file_that_cannot_be_read_is_made_again(house, tmp_path, content):
    bundle, fakes = house(quick={"seconds": 0.05}, steady={})
    fastest(bundle, FILES, "auto", 1, tmp_path / "c")
    (path,) = (tmp_path / "c").iterdir()
    kept = json.loads(path.read_bytes())
    if content is None:
        kept["engines"][0]["networks"]["models/small"]["seconds"] = "fast"
        content = json.dumps(kept).encode()
    path.write_bytes(content)
    fakes["quick"].runs = 0
    assert fastest(bundle, FILES, "auto", 1, tmp_path / "c").name == "quick"
    assert fakes["quick"].runs > 0
    assert json.loads(path.read_bytes())["bundle"] == bundle.sha256


def test_a_wanted_engine_is_taken_though_slower_but_not_without_parity(house, tmp_path):
    bundle, _ = house(slow={"seconds": 0.4}, liar={"change": swap}, steady={"seconds": 0.01})
    assert fastest(bundle, FILES, "slow", 1, tmp_path / "c").name == "slow"
    assert set(verdicts(tmp_path / "c", bundle)) == {"slow", "steady"}, "the third was not asked for"
    with pytest.raises(EngineUnfit):
        fastest(bundle, FILES, "liar", 1, tmp_path / "c")
    assert fastest(bundle, FILES, "auto", 1, tmp_path / "c").name == "steady"


def test_the_reference_alone_needs_no_measurement(house, tmp_path):
    bundle, fakes = house(quick={}, steady={})
    assert fastest(bundle, FILES, "steady", 1, tmp_path / "c").name == "steady"
    alone, _ = house(steady={})
    assert fastest(alone, FILES, "auto", 1, tmp_path / "c").name == "steady"
    assert fakes["steady"].runs == 0
    assert not (tmp_path / "c").exists()


def test_one_far_behind_is_given_up_before_the_larger_networks(house, tmp_path):
    bundle, fakes = house(
        quick={"seconds": 0.01}, slow={"seconds": 0.3}, steady={"seconds": 0.1}, network={"output_channels": 2}
    )
    networks = {f"models/{name}": {"input_shape": [1, 1, *[size] * 3]} for name, size in (("b", 24), ("a", 16))}
    bundle.metadata["bithive"]["networks"].update(networks)
    files = {name: NetworkFile(Path("any"), "torchscript") for name in networks}
    assert fastest(bundle, files, "auto", 1, tmp_path / "c").name == "quick"
    assert verdicts(tmp_path / "c", bundle, files) == {"steady": "fit", "quick": "fit", "slow": "slower"}
    slow = next(row for row in read(tmp_path / "c", bundle, key(files, 1)) if row.candidate.name == "slow")
    assert list(slow.networks) == ["models/a"]
    before = fakes["slow"].runs
    assert fastest(bundle, files, "slow", 1, tmp_path / "c").name == "slow"
    assert fakes["slow"].runs > before, "now its parity is of interest"
    assert verdicts(tmp_path / "c", bundle, files)["slow"] == "fit"


def test_a_long_run_is_not_repeated(house, tmp_path):
    bundle, fakes = house(quick={"seconds": 0.2}, steady={"seconds": calibration.RUNS_BUDGET_S + 0.01})
    fastest(bundle, FILES, "auto", 1, tmp_path / "c")
    assert fakes["steady"].runs == 1
    assert fakes["quick"].runs == 3


def test_where_the_reference_cannot_run_it_is_a_fault_and_nothing_is_kept(house, tmp_path):
    bundle, fakes = house(quick={}, steady={"fails": RuntimeError("out of everything")})
    for _ in range(2):
        with pytest.raises(EngineFault):
            fastest(bundle, FILES, "auto", 1, tmp_path / "c")
    assert not (tmp_path / "c").exists()
    assert fakes["steady"].runs == 2


def reference_profile():
    array = probe(SHAPE)
    return profile(Answer.of(np.concatenate([array, -array], axis=1)))


def test_without_the_reference_its_profile_decides(house, tmp_path):
    bundle, _ = house(
        quick={"seconds": 0.05},
        liar={"seconds": 0.01, "change": swap},
        steady={},
        reference_here=False,
        network={"probe": reference_profile()},
    )
    assert fastest(bundle, FILES, "auto", 1, tmp_path / "c").name == "quick"
    assert verdicts(tmp_path / "c", bundle) == {"quick": "fit", "liar": "unfit"}


def test_without_the_reference_and_its_profile_nothing_is_shown(house, tmp_path):
    bundle, _ = house(quick={}, steady={}, reference_here=False)
    with pytest.raises(EngineUnfit, match="parity"):
        fastest(bundle, FILES, "auto", 1, tmp_path / "c")
    assert "reference" in reasons(tmp_path / "c", bundle)["quick"]
    with pytest.raises(EngineAbsent):
        fastest(bundle, FILES, "steady", 1, tmp_path / "c")


def test_the_reference_on_another_device_must_agree_as_well(house, tmp_path, monkeypatch, clock):
    bundle, _ = house(steady={"seconds": 0.1}, quick={"seconds": 0.2})
    wrong = Fake("steady", clock, 0.001, swap)
    right = Fake("steady", clock, 0.01)

    def listed(device_engine):
        makers = {"cuda": device_engine, "cpu": Fake("steady", clock, 0.1)}
        return engine._Kind(
            "numpy", frozenset({"torchscript"}), False, lambda: ("cuda", "cpu"), lambda device, _t: makers[device]
        )

    monkeypatch.setitem(engine._KINDS, "steady", listed(wrong))
    assert fastest(bundle, FILES, "auto", 1, tmp_path / "c") == Candidate("steady", "cpu")
    monkeypatch.setitem(engine._KINDS, "steady", listed(right))
    assert fastest(bundle, FILES, "steady", 1, tmp_path / "d") == Candidate("steady", "cuda")


PARITY = {"reference": "steady", "measure": "labels", "least": 0.99}


@pytest.mark.parametrize(
    "engines",
    [
        {"steady": {}},
        {"steady": None},
        {"quick": {"precision": "f32", "parity": PARITY}},
        {"quick": {"precision": "f32", "parity": {**PARITY, "measure": "likes"}}, "steady": {"precision": "f32"}},
        {
            "quick": {"precision": "f32", "parity": PARITY},
            "other": {"precision": "f32", "parity": {**PARITY, "reference": "quick"}},
            "steady": {"precision": "f32"},
        },
    ],
)
def test_a_list_that_cannot_be_understood_is_refused(house, engines):
    bundle, _ = house(engines)
    with pytest.raises(BundleRefused):
        fastest(bundle, FILES, "auto", 1, None)


def test_another_form_of_the_network_is_measured_for_itself(house, tmp_path):
    bundle, fakes = house(quick={"seconds": 0.05}, steady={})
    bundle.metadata["bithive"]["networks"]["models/other"] = {"input_shape": list(SHAPE)}
    for files in (FILES, {"models/other": FILES["models/small"]}):
        fastest(bundle, files, "auto", 1, tmp_path / "c")
    assert fakes["quick"].runs == 2 * (1 + calibration.RUNS_MAX)


def test_a_network_without_a_shape_is_refused(house):
    bundle, _ = house(quick={}, steady={})
    with pytest.raises(BundleRefused):
        fastest(bundle, {"models/other": FILES["models/small"]}, "auto", 1, None)


def test_several_processes_at_once_leave_one_whole_file(house, tmp_path):
    bundle, _ = house(quick={}, steady={})
    shown = (Shown(Candidate("quick", "cpu"), "fit", "", {"models/small": NetworkRun(0.1, 5, 1.0)}),)
    pids = []
    for _ in range(6):
        pid = os.fork()
        if pid == 0:
            for _ in range(20):
                write(tmp_path / "c", bundle, key(FILES, 1), shown)
                assert read(tmp_path / "c", bundle, key(FILES, 1)) == shown
            os._exit(0)
        pids.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
    assert len(list((tmp_path / "c").iterdir())) == 1


def test_real_engines_are_measured_and_one_is_chosen(tmp_path):
    bundle, files = small_bundle(tmp_path), {"models/small": written(tmp_path, "torchscript")}
    chosen = choose(bundle, files, "auto", 1, tmp_path / "c")
    rows = {row.candidate.name: row for row in read(tmp_path / "c", bundle, key(FILES, 1))}
    assert {name: row.verdict for name, row in rows.items()} == dict.fromkeys(
        ("torch", "openvino", "onnxruntime"), "fit"
    )
    assert chosen.name == min(rows.values(), key=Shown.seconds).candidate.name
    assert all(row.networks["models/small"].parity > 0.999 for row in rows.values())
    assert chosen.network(files["models/small"], SHAPE)(probe(SHAPE)).shape == (1, 3, *SHAPE[2:])


def test_a_real_engine_that_lies_is_not_chosen(tmp_path):
    """The export beside the weights is that of another network: honest bytes, another answer."""
    bundle, files = small_bundle(tmp_path), {"models/small": written(tmp_path, "torchscript")}
    exported(files["models/small"], SHAPE)
    (kept,) = (tmp_path / "onnx").iterdir()
    other = exported(written(tmp_path / "other", "torchscript", seed=1), SHAPE)
    kept.unlink()
    key = kept.stem.split("-")[0]
    (tmp_path / "onnx" / f"{key}-{hashlib.sha256(other).hexdigest()}.onnx").write_bytes(other)
    assert choose(bundle, files, "auto", 1, tmp_path / "c").name in ("torch", "openvino")
    assert verdicts(tmp_path / "c", bundle)["onnxruntime"] == "unfit"
    with pytest.raises(EngineUnfit):
        choose(bundle, files, "onnxruntime", 1, tmp_path / "c")


def test_a_damaged_network_is_a_fault(tmp_path):
    bundle, file = small_bundle(tmp_path), written(tmp_path, "torchscript")
    file.path.write_bytes(file.path.read_bytes()[:1000])
    with pytest.raises(EngineFault):
        choose(bundle, {"models/small": file}, "auto", 1, tmp_path / "c")


def test_the_lower_precision_is_used_only_when_it_is_listed(tmp_path):
    files = {"models/small": written(tmp_path, "torchscript")}
    with pytest.raises(BundleRefused):
        choose(small_bundle(tmp_path), files, "openvino-bf16", 1)
    stated = {"reference": "torch", "measure": "labels", "least": 0.5}
    listed = {"openvino-bf16": {"precision": "bf16", "parity": stated}, "torch": {"precision": "f32"}}
    chosen = choose(small_bundle(tmp_path, listed), files, "openvino-bf16", 1)
    assert (chosen.name, chosen.precision, chosen.bf16) == ("openvino-bf16", "bf16", True)


@pytest.mark.parametrize("row", [
    {"input_shape": [1, 1, 8, 8, 8], "calibration_shape": [1, 1, 9, 8, 8]},
    {"input_shape": [1, 1, 8, 8, 8], "calibration_shape": [1, 2, 4, 4, 4]},
    {"input_shape": [1, 1, 8, 8, 8], "calibration_shape": [1, 1, 4, 4]},
    {"input_shape": [1, 1, 8, 8, 8], "calibration_shape": [1, 1, 0, 4, 4]},
])  # fmt: skip
def test_a_probe_that_does_not_fit_the_network_is_refused(row):
    with pytest.raises(ValueError, match="probe"):
        calibration._probe_shape(row)


def test_a_slow_network_is_probed_on_less():
    assert calibration._probe_shape({"input_shape": [1, 1, 8, 9, 10], "calibration_shape": [1, 1, 4, 9, 6]}) == (
        1,
        1,
        4,
        9,
        6,
    )
    assert calibration._probe_shape({"input_shape": [1, 3, 224, 288]}) == (1, 3, 224, 288)


def test_the_converter_tells_nobody():
    """A name that cannot be imported: OpenVINO then takes its own stand-in."""
    code = "import sys, inference.engine_openvino\nprint(sorted(n for n in sys.modules if n.startswith('openvino_telemetry') and sys.modules[n]))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_what_another_process_measured_is_kept_only_if_it_is_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "_IN_MEMORY", {})
    monkeypatch.setattr(calibration, "_UNWRITTEN", {})
    bundle = small_bundle(tmp_path)
    name = next(iter(bundle.extension["networks"]))
    node, engines = key([name], 2), tuple(bundle.engines)
    shown = (Shown(Candidate(engines[0], "cpu"), "fit", "", {name: NetworkRun(0.5, 7, 1.0)}),)
    closed, store = tmp_path / "closed", tmp_path / "store"
    closed.write_text("no folder can be made here")
    write(closed, bundle, node, shown)
    content = calibration.unwritten(bundle)
    assert calibration.unwritten(bundle) == "", "it is said once"
    calibration._IN_MEMORY.clear()
    assert calibration.take(store, bundle, 2, content)
    assert read(store, bundle, node) == shown
    whole = json.loads(content)
    for wrong in (
        "",
        "[]",
        "{",
        content[:-9],
        json.dumps({**whole, "form": 9}),
        json.dumps({**whole, "bundle": "00" * 32}),
        json.dumps({**whole, "node": {**whole["node"], "threads": 3}}),
        json.dumps({**whole, "engines": [{**whole["engines"][0], "verdict": "DOE^JANE"}]}),
        json.dumps({**whole, "engines": [{**whole["engines"][0], "candidate": {"name": "DOE", "device": "cpu"}}]}),
        json.dumps({**whole, "engines": [{**whole["engines"][0], "candidate": {"name": engines[0], "device": "D"}}]}),
        json.dumps({**whole, "engines": [{**whole["engines"][0], "networks": {"DOE^JANE": {}}}]}),
    ):
        assert not calibration.take(tmp_path / "none", bundle, 2, wrong), wrong
    assert not (tmp_path / "none").exists()
    odd = {**whole, "engines": [{**whole["engines"][0], "reason": "a\nb" + "c" * 900}]}
    calibration._IN_MEMORY.clear()
    assert calibration.take(store, bundle, 2, json.dumps(odd))
    assert read(store, bundle, node)[0].reason == "ab" + "c" * 198
