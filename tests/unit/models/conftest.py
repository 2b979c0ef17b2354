"""A small bundle of no clinical use, its weights in a wheel of our own, and an index that is a folder."""

import hashlib
import json
import zipfile

import pytest

CONTENT = {"models/a.pt": b"first weights" * 1000, "models/b.pt": b"second weights" * 2000}


@pytest.fixture
def wheel(tmp_path):
    """A real wheel, reproducible to the byte."""
    path = tmp_path / "index" / "tiny_weights-1.2.3-py3-none-any.whl"
    path.parent.mkdir()
    about = "tiny_weights-1.2.3.dist-info"
    members = {f"data/{name}": content for name, content in CONTENT.items()} | {
        f"{about}/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.2.3\n",
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


@pytest.fixture
def pip_finds(monkeypatch, wheel):
    """pip looks into that folder and nowhere else."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return wheel.parent


@pytest.fixture
def bundles(tmp_path, wheel):
    """A folder with one bundle, `tiny`, that pins that wheel."""
    metadata = json.loads(json.dumps(METADATA))
    for row in metadata["bithive"]["weights"]:
        content = CONTENT[row["file"]]
        row |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        row["source"] |= {
            "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "wheel_size_bytes": wheel.stat().st_size,
        }
    folder = tmp_path / "bundles"
    (folder / "tiny" / "configs").mkdir(parents=True)
    (folder / "tiny" / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "tiny" / "configs" / "inference.json").write_text("{}")
    return folder


METADATA = {
    **dict.fromkeys(
        [
            "schema",
            "changelog",
            "monai_version",
            "pytorch_version",
            "numpy_version",
            "name",
            "task",
            "description",
            "authors",
            "copyright",
            "license",
            "data_source",
            "data_type",
            "eval_metrics",
            "intended_use",
            "population",
            "references",
            "network_data_format",
        ],
        "none",
    ),
    "version": "0.1.0",
    "bithive": {
        "data_class": "P0",
        "engines": {"torch": {}},
        "networks": {},
        "work_units": {"base": 100, "per_million_voxels": 7},
        "weights": [
            {
                "file": name,
                "source": {
                    "kind": "wheel",
                    "distribution": "tiny-weights",
                    "version": "1.2.3",
                    "member": f"data/{name}",
                },
            }
            for name in CONTENT
        ],
    },
}
