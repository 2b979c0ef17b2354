"""The static audit of a bundle: every check that stands between a foreign folder and this machine's catalogue.

Nothing of the bundle is run, imported or unpickled. Each check says what it found, and a refusal has its code, so that
`bithive models audit` can show all of them and installing can stop at the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from bithive.errors import BitHiveError
from models import derive, detector, licence
from models.archive import NETWORK_SUFFIXES
from models.audit_graph import audit_onnx, audit_safetensors
from models.audit_pickle import audit_pickle
from models.audit_torchscript import audit_torchscript
from models.bundle import METADATA, read_inference, read_object
from models.channels import kinds_of
from models.errors import BadBundle, BundleNeeds
from models.resolve import WANTED, audited, resolved, texts
from models.structures import Structure
from models.torch_zip import holds_script

Judge = Callable[[Mapping[str, Any]], object]
"""Told the resolved parts, and under `channels` how many images the network takes; raises when a node cannot carry them out."""

Kind = Literal["torchscript", "onnx", "safetensors", "checkpoint"]

MODALITIES = frozenset({"CT", "MR"})
_PREFERRED: tuple[Kind, ...] = ("torchscript", "onnx", "safetensors", "checkpoint")
_KINDS: Mapping[str, Kind] = {".ts": "torchscript", ".onnx": "onnx", ".safetensors": "safetensors"}
_READERS: Mapping[Kind, tuple[Callable[[Path], int], str]] = {
    "torchscript": (audit_torchscript, "files of code"),
    "onnx": (audit_onnx, "nodes"),
    "safetensors": (audit_safetensors, "tensors"),
    "checkpoint": (audit_pickle, "pickles"),
}
_BOXES = "a detector"
# What a configuration names, in any target or expression, and what that means the bundle needs.
_NEEDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("RetinaNet", "retinanet", "detection_inferer", "BoxTo", "ClipBox"), _BOXES),
    (("DeepEdit", "DeepGrow", "Guidance", "Vista3d", "vista3d"), "points or classes that a reader clicks"),
    (("Diffusion", "Autoencoder", "VAE", "LatentDiffusion"), "a generator of images"),
)


# Classes of MONAI that need a package which is not part of this installation.
_PACKAGES: Mapping[str, str] = {"UNETR": "einops", "SwinUNETR": "einops"}


@dataclass(frozen=True, slots=True)
class Check:
    """One check and what came of it.

    Attributes
    ----------
    name
        What was checked.
    outcome
        `passed`, `refused`, or `noted` for what is no reason to refuse.
    code
        Of the refusal, else empty.
    detail
        For a person.
    """

    name: str
    outcome: Literal["passed", "refused", "noted"]
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class NetworkFound:
    """A file that holds the network: its path in the bundle, and what it is by its content."""

    file: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Audit:
    """What the audit found.

    Attributes
    ----------
    checks
        In order.
    refusal
        The first, or None.
    networks
        The files to take, the preferred first.
    version, licence, shape, structures, regions
        As derived; of a refused bundle as far as the audit came.
    """

    checks: tuple[Check, ...]
    refusal: BitHiveError | None
    networks: tuple[NetworkFound, ...] = ()
    version: str = ""
    licence: str = licence.UNKNOWN
    shape: derive.Shape | None = None
    structures: tuple[Structure, ...] = ()
    regions: tuple[str, ...] = ()

    def to_json(self) -> list[dict[str, str]]:
        """The checks as plain values, for the manifest."""
        return [
            {"check": check.name, "outcome": check.outcome, "code": check.code, "detail": check.detail}
            for check in self.checks
        ]


def audit(folder: Path, judge: Judge = lambda _parts: None) -> Audit:
    """Check a bundle's folder of the zoo's form, as `models.archive.take` left it.

    Parameters
    ----------
    folder
        With `configs/` and `models/`.
    judge
        Says whether the parts can be carried out; `inference.zoo_detector.carried_out` where that may be imported.
    """
    state = _State(folder, judge)
    checks: list[Check] = []
    refusal: BitHiveError | None = None
    for name, step in _STEPS:
        try:
            checks += (Check(name, "noted" if name == "licence" else "passed", "", said) for said in step(state))
        except _NotReached:
            continue
        except BitHiveError as error:
            refusal = refusal or error
            shown = "; ".join([error.detail, *(f"{key}: {value}" for key, value in error.context.items())])
            checks.append(Check(name, "refused", error.code, shown[:300]))
    return Audit(
        tuple(checks),
        refusal,
        tuple(state.networks),
        str(state.metadata.get("version", "")),
        state.licence,
        state.shape,
        state.structures,
        state.regions,
    )


class _NotReached(Exception):
    """An earlier check was refused, and this one needs what it would have given."""


class _State:
    """What the steps have found so far."""

    def __init__(self, folder: Path, judge: Judge) -> None:
        self.folder, self.judge = folder, judge
        self.metadata: Mapping[str, Any] = {}
        self.config: Mapping[str, Any] = {}
        self.networks: list[NetworkFound] = []
        self.parts: Mapping[str, Any] = {}
        self.licence = licence.UNKNOWN
        self.shape: derive.Shape | None = None
        self.structures: tuple[Structure, ...] = ()
        self.regions: tuple[str, ...] = ()


def _metadata(state: _State) -> Iterator[str]:
    found = read_object(state.folder / METADATA)
    version = found.get("version")
    if not isinstance(version, str) or not 0 < len(version) <= 64 or not version.isprintable():
        raise BadBundle("metadata.json states no version")
    if "network_data_format" not in found:
        raise BadBundle("metadata.json lacks network_data_format")
    state.metadata = found
    state.config = read_inference(state.folder)
    yield f"version {version}"


def _needs(state: _State) -> Iterator[str]:
    """What is not built here, named before the configuration is judged by its single words."""
    if not state.metadata:
        raise _NotReached
    words = " ".join(texts(state.config))
    known = detector.is_detector(state.config)
    needed = [need for names, need in _NEEDS if any(name in words for name in names) and not (known and need == _BOXES)]
    rows = state.metadata["network_data_format"]
    inputs = rows.get("inputs") if isinstance(rows, Mapping) else None
    images = [row for row in inputs.values() if isinstance(row, Mapping)] if isinstance(inputs, Mapping) else []
    modalities = {str(row.get("modality", "")).strip().upper() for row in images}
    if not modalities or not modalities <= MODALITIES:
        needed.append(f"images of another kind than CT or MR: {', '.join(sorted(modalities))}"[:100])
    several = kinds_of(images[0]) if len(images) == 1 else ()
    if not several and (len(images) > 1 or any(row.get("num_channels") != 1 for row in images)):
        names = [str(name) for row in images for name in dict(row.get("channel_def") or {}).values()]
        needed.append(f"several series at once: {', '.join(names)}"[:200])
    if needed:
        raise BundleNeeds(f"it needs {'; '.join(needed)}")
    yield f"{modalities.pop()} series: {', '.join(several)}" if several else f"one {modalities.pop()} series"


def _configuration(state: _State) -> Iterator[str]:
    if not state.metadata:
        raise _NotReached
    audited(state.config, WANTED[1:])
    yield "every target, expression and directive is on its list"


def _networks(state: _State) -> Iterator[str]:
    found: dict[Kind, list[str]] = {}
    for path in sorted((state.folder / "models").glob("*")):
        if path.suffix in NETWORK_SUFFIXES and path.is_file():
            found.setdefault(_kind(path), []).append(path.name)
    chosen: list[NetworkFound] = []
    for kind in _PREFERRED:
        named = found.get(kind, [])
        first = next((name for name in named if Path(name).stem == "model"), named[0] if len(named) == 1 else None)
        if first is not None and not (chosen and kind in {"safetensors", "checkpoint"}):
            chosen.append(NetworkFound(f"models/{first}", kind))
    if not chosen:
        raise BadBundle("the bundle holds no network, or several of which none is called model")
    for network in chosen:
        reader, counted = _READERS[network.kind]
        count = reader(state.folder / network.file)
        state.networks.append(network)
        yield f"{network.file}: {network.kind}, {count} {counted}"


def _kind(path: Path) -> Kind:
    if path.suffix in {".pt", ".pth"}:
        return "torchscript" if holds_script(path) else "checkpoint"
    return _KINDS[path.suffix]


def _parts(state: _State) -> Iterator[str]:
    """The network's class matters where only its tensors are here; else the file holds the network."""
    if not state.metadata or not state.networks:
        raise _NotReached
    by_class = any(network.kind in {"safetensors", "checkpoint"} for network in state.networks)
    detects = detector.is_detector(state.config)
    found = detector.parts_of(state.config) if detects else resolved(state.config, WANTED if by_class else WANTED[1:])
    if not by_class and not detects:
        found["network_def"] = _plain(state.config.get("network_def"))
    for key in found:
        if not isinstance(found[key], dict) or "_target_" not in found[key]:
            raise BadBundle(f"{key} of inference.json is no object")
    package = _PACKAGES.get(str(found["network_def"].get("_target_"))) if by_class else None
    if package is not None and find_spec(package) is None:
        raise BundleNeeds(f"its network's class needs the package {package}, or the network as TorchScript")
    state.parts = found
    yield f"{found['inferer']['_target_']}, {len(found['preprocessing'].get('transforms', []))} transforms before it"


def _plain(node: Any) -> dict[str, Any]:
    """What a network's declaration states outright; what it computes is not needed."""
    if not isinstance(node, dict):
        return {"_target_": ""}
    stated = {key: value for key, value in node.items() if not isinstance(value, str)}
    return {**stated, "_target_": str(node.get("_target_", "")).rsplit(".", 1)[-1]}


def _facts(state: _State) -> Iterator[str]:
    if not state.parts:
        raise _NotReached
    state.shape = derive.shape_of(state.metadata, state.parts)
    if "detector" in state.parts:
        state.regions = detector.classes_of(state.metadata, state.parts["network_def"]["num_classes"])
        yield f"windows of {' x '.join(map(str, state.shape.window))}, boxes of {', '.join(state.regions)}"
        return
    state.structures = derive.structures_of(state.metadata, state.parts)
    window = " x ".join(map(str, state.shape.window))
    yield f"windows of {window}, {len(state.structures)} structures"


def _carried_out(state: _State) -> Iterator[str]:
    if not state.parts:
        raise _NotReached
    state.judge({**state.parts, "channels": state.shape.channels_in if state.shape else 1})
    yield "every transform is carried out here"


def _licence(state: _State) -> Iterator[str]:
    state.licence = licence.of_bundle(state.folder, state.metadata)
    yield state.licence


_STEPS: tuple[tuple[str, Callable[[_State], Iterator[str]]], ...] = (
    ("metadata", _metadata),
    ("needs", _needs),
    ("configuration", _configuration),
    ("networks", _networks),
    ("interpreted parts", _parts),
    ("derived facts", _facts),
    ("transforms", _carried_out),
    ("licence", _licence),
)
