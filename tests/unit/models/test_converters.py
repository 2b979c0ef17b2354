import hashlib
import io
import json
import pickle

import numpy as np
import pytest

from models import convert_sononet, converters
from models.catalog import Catalog
from models.errors import BadBundle, ConversionFailed, DownloadFailed, WeightsAbsent, WeightsDiffer
from models.pins import BundledSource, ConvertedSource, PinnedFile

PART = b"published"
MADE = b"made of published"
ROW = {"file": "a/part.npz", "sha256": hashlib.sha256(PART).hexdigest(), "size_bytes": len(PART)}
SOURCE = {"kind": "converted", "converter": "reversing", "parts": [ROW | {"address": "https://a.invalid/part.npz"}]}


def converter(parts):
    if parts["a/part.npz"] != PART:
        raise ValueError("another part")
    return b"made of " + parts["a/part.npz"]


@pytest.fixture
def reversing(monkeypatch):
    monkeypatch.setitem(converters.CONVERTERS, "reversing", converter)


def bundle_with(folder, content, source):
    row = {"file": "models/a.onnx", "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    path = folder / "tiny" / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["bithive"]["weights"] = [row | {"source": source}]
    path.write_text(json.dumps(metadata))


def test_weights_are_made_from_a_part_wherever_a_mirror_has_it(tmp_path, bundles, reversing):
    bundle_with(bundles, MADE, SOURCE)
    deep = tmp_path / "mirror" / "some" / "where"
    deep.mkdir(parents=True)
    (deep / "under another name").write_bytes(PART)
    (deep / "as long").write_bytes(b"x" * len(PART))
    catalog = Catalog(tmp_path / "store", (tmp_path / "mirror",), bundles)
    bundle = catalog.bundle("tiny")
    assert not catalog.ready(bundle)
    with pytest.raises(WeightsAbsent):
        catalog.weights(bundle)
    catalog.pull("tiny")
    assert catalog.ready(bundle)
    assert catalog.weights(bundle)["models/a.onnx"].read_bytes() == MADE


def test_what_a_converter_makes_otherwise_is_not_kept(tmp_path, bundles, reversing):
    bundle_with(bundles, b"something else", SOURCE)
    (tmp_path / "part").write_bytes(PART)
    catalog = Catalog(tmp_path / "store", (tmp_path,), bundles)
    with pytest.raises(WeightsDiffer):
        catalog.pull("tiny")
    assert not catalog.ready(catalog.bundle("tiny"))


def test_a_part_that_nobody_has_is_a_failed_download(tmp_path, bundles, reversing):
    bundle_with(bundles, MADE, SOURCE)
    with pytest.raises(DownloadFailed):
        Catalog(tmp_path / "store", (), bundles).pull("tiny")


def test_a_bundled_network_lies_in_its_folder_and_is_verified(tmp_path, bundles):
    bundle_with(bundles, MADE, {"kind": "bundled"})
    path = bundles / "tiny" / "models" / "a.onnx"
    path.parent.mkdir()
    path.write_bytes(MADE)
    catalog = Catalog(tmp_path / "store", (), bundles)
    bundle = catalog.bundle("tiny")
    assert catalog.ready(bundle)
    assert catalog.weights(bundle) == {"models/a.onnx": path}
    catalog.pull("tiny")
    assert not (tmp_path / "store" / "sha256").exists()
    path.write_bytes(MADE[::-1])
    with pytest.raises(WeightsDiffer):
        catalog.weights(bundle)
    path.unlink()
    assert not catalog.ready(bundle)
    with pytest.raises(WeightsDiffer):
        catalog.weights(bundle)


def pinned(source):
    return PinnedFile.from_json({"file": "a.onnx", "sha256": "0" * 64, "size_bytes": 1, "source": source})


def test_declarations(reversing):
    assert pinned({"kind": "bundled"}).source == BundledSource()
    source = pinned(SOURCE).source
    assert isinstance(source, ConvertedSource)
    assert [part.file for part in source.parts] == ["a/part.npz"]


@pytest.mark.parametrize(
    "change",
    [
        {"converter": "absent"},
        {"parts": []},
        {"parts": None},
        {"parts": [{**ROW, "address": "http://a.invalid/x"}]},
        {"parts": [{**ROW, "address": "https://a.invalid/x", "sha256": "0"}]},
        {"parts": [{**ROW, "address": "https://a.invalid/x", "file": "../x"}]},
        {"parts": [{**ROW, "address": "https://a.invalid/x", "size_bytes": 1 << 40}]},
        {"parts": [SOURCE["parts"][0]] * 2},
        {"parts": [ROW]},
    ],
)
def test_a_declaration_that_cannot_hold_is_refused(reversing, change):
    with pytest.raises(BadBundle):
        pinned({**SOURCE, **change})


@pytest.fixture(scope="module")
def arrays():
    """SonoNet-16 with random parameters, in Lasagne's order."""
    random, found = np.random.default_rng(5), []
    for (out, into, rows, columns), _ in convert_sononet._shapes():
        found.append(random.normal(0, (into * rows * columns) ** -0.5, (out, into, rows, columns)))
        found += [random.normal(0, 0.2, out), random.uniform(0.8, 1.2, out)]
        found += [random.normal(0, 0.2, out), random.uniform(0.8, 1.2, out)]
    return [array.astype(np.float32) for array in found]


def archive(arrays):
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    return buffer.getvalue()


def converted(arrays):
    return converters.convert("sononet", {convert_sononet.PART: archive(arrays)})


def test_the_network_is_the_layers_one_after_the_other_with_filters_as_they_are(arrays, tmp_path):
    import torch
    from torch.nn import functional

    from inference.engine import NetworkFile
    from inference.engine_onnx import OnnxEngine

    content = converted(arrays)
    assert content == converted(arrays)
    (tmp_path / "a.onnx").write_bytes(content)
    shape = (1, 1, 224, 288)
    network = OnnxEngine(1).network(NetworkFile.of("a.onnx", tmp_path / "a.onnx"), shape)
    inputs = np.random.default_rng(6).normal(0, 1, shape).astype(np.float32)
    found = torch.from_numpy(inputs).double()
    for layer in range(15):
        weights, shift, scale, mean, inverse = (
            torch.from_numpy(array).double() for array in arrays[5 * layer : 5 * layer + 5]
        )
        found = functional.conv2d(found, weights, padding=weights.shape[-1] // 2).transpose(1, 3)
        found = ((found - mean) * (scale * inverse) + shift).transpose(1, 3)
        found = functional.relu(found) if layer < 14 else found
        found = functional.max_pool2d(found, 2) if layer in (1, 3, 6, 9) else found
    expected = torch.softmax(found.mean(dim=(2, 3)), 1).numpy()
    assert network(inputs).reshape(1, 14) == pytest.approx(expected, abs=1e-6)


def changed(arrays, index, array):
    return [*arrays[:index], array, *arrays[index + 1 :]]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays: arrays[:-1],
        lambda arrays: [*arrays, arrays[0]],
        lambda arrays: changed(arrays, 5, arrays[5][:, :, :2]),
        lambda arrays: changed(arrays, 1, arrays[1].astype(np.float64)),
        lambda arrays: changed(arrays, 0, np.full_like(arrays[0], np.nan)),
        lambda arrays: changed(arrays, 4, np.full_like(arrays[4], np.inf)),
        lambda arrays: changed(arrays, 0, arrays[0].astype(object)),
    ],
    ids=["too few", "too many", "shape", "type", "nan", "infinite", "pickled"],
)
def test_other_arrays_are_refused(arrays, spoil):
    with pytest.raises(ConversionFailed):
        converted(spoil(arrays))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps([1]), b"x" * 1000])
def test_what_is_no_archive_is_refused(content):
    with pytest.raises(ConversionFailed):
        converters.convert("sononet", {convert_sononet.PART: content})
    with pytest.raises(ConversionFailed):
        converters.convert("sononet", {})
