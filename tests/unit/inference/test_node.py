import json
import subprocess
import sys
from pathlib import Path

from inference import node
from inference.node import fingerprint


def test_it_is_the_same_twice_and_plain():
    assert fingerprint(2) == fingerprint(2)
    assert json.loads(json.dumps(fingerprint(2))) == fingerprint(2)
    assert set(fingerprint(2)["engines"]) >= {"torch", "onnxruntime", "openvino"}
    assert fingerprint(2)["processor"]


def test_threads_versions_processor_and_devices_make_it_another(monkeypatch, tmp_path):
    found = [fingerprint(1), fingerprint(2)]
    monkeypatch.setattr(node, "_version", lambda name: "9.9" if name == "openvino" else "")
    found.append(fingerprint(2))
    (tmp_path / "cpuinfo").write_text("model name : Another\nflags : fpu avx\n\nmodel name : Second\n")
    monkeypatch.setattr(node, "_CPU", tmp_path / "cpuinfo")
    found.append(fingerprint(2))
    (tmp_path / "gpus" / "0000:01").mkdir(parents=True)
    (tmp_path / "gpus" / "0000:01" / "information").write_text("Model: \t\t NVIDIA L40S\nIRQ: 1\n")
    monkeypatch.setattr(node, "_GPUS", tmp_path / "gpus")
    found.append(fingerprint(2))
    assert found[-1]["processor"] == "Another"
    assert found[-1]["devices"] == ["NVIDIA L40S"]
    assert len({json.dumps(one) for one in found}) == len(found)


def test_a_system_that_tells_nothing_has_one_too(monkeypatch, tmp_path):
    monkeypatch.setattr(node, "_CPU", tmp_path / "absent")
    monkeypatch.setattr(node, "_GPUS", tmp_path / "absent")
    assert fingerprint(1)["devices"] == []


def test_it_imports_no_engine():
    ask = "import sys\nfrom inference.node import fingerprint\nfingerprint(1)\nassert not {'torch', 'openvino', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", ask], cwd=Path(__file__).resolve().parents[3], check=True)
