"""Interprets `configs/inference.json` of the bithive form: only targets of a table are made, and no text is evaluated.

MONAI's configuration language is code: `$` evaluates Python and `%` reads other files. The bithive form is what is left
without them: `_target_`, plain values and `@` references. A network is a `torch.jit.load` or an
`onnxruntime.InferenceSession` of a file that the bundle pins, and is made by the engine instead. A bundle of rules has
none, and no inferer. Bundles of MONAI's zoo are read by `models.resolve` and `inference.zoo_plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from inference import (
    brain,
    brain_checks,
    conform,
    film_gate,
    meshnet,
    planar,
    postprocess,
    preprocess,
    radiograph,
    rules,
    staged,
    steps,
    structures,
)
from inference.errors import BundleRefused

NETWORK_TARGETS = {"torch.jit.load": "f", "onnxruntime.InferenceSession": "path_or_bytes"}
"""What a network is loaded with, and its argument: the one that names the file."""
REQUIRED = ("preprocessing", "postprocessing")
WITH_NETWORK = ("network_def", "inferer")
"""Both or neither."""

_MAKERS: dict[str, Callable[..., Any]] = {
    "Compose": steps.Compose,
    "SimpleInferer": steps.SimpleInferer,
    "inference.preprocess.CheckVolumed": preprocess.CheckVolumed,
    "inference.preprocess.Canonicald": preprocess.Canonicald,
    "inference.preprocess.SampleGridd": preprocess.SampleGridd,
    "inference.preprocess.PercentileWindowd": preprocess.PercentileWindowd,
    "inference.preprocess.StandardiseWindowd": preprocess.StandardiseWindowd,
    "inference.preprocess.LocateBoxd": preprocess.LocateBoxd,
    "inference.staged.Staged": staged.Staged,
    "inference.staged.Inferd": staged.Inferd,
    "inference.conform.Conformd": conform.Conformd,
    "inference.meshnet.BrainBoxd": meshnet.BrainBoxd,
    "inference.meshnet.EverySecondInferer": meshnet.EverySecondInferer,
    "inference.structures.KeepLargestLabelsd": structures.KeepLargestLabelsd,
    "inference.structures.RestoreLabelsd": structures.RestoreLabelsd,
    "inference.structures.WithholdImplausibled": structures.WithholdImplausibled,
    "inference.structures.MeasureStructuresd": structures.MeasureStructuresd,
    "inference.structures.RequirePlausibleStructuresd": structures.RequirePlausibleStructuresd,
    "inference.planar.CheckPlanard": planar.CheckPlanard,
    "inference.planar.LocateSectord": planar.LocateSectord,
    "inference.planar.ClassifyFramesd": planar.ClassifyFramesd,
    "inference.planar.NamePlanesd": planar.NamePlanesd,
    "inference.radiograph.CheckFilmd": radiograph.CheckFilmd,
    "inference.radiograph.ShrinkFilmsd": radiograph.ShrinkFilmsd,
    "inference.film_gate.RequireFrontald": film_gate.RequireFrontald,
    "inference.radiograph.AskNetworkd": radiograph.AskNetworkd,
    "inference.radiograph.RequireChestFilmd": radiograph.RequireChestFilmd,
    "inference.radiograph.ScoreFilmsd": radiograph.ScoreFilmsd,
    "inference.postprocess.CertaintyScored": postprocess.CertaintyScored,
    "inference.postprocess.ThresholdChanneld": postprocess.ThresholdChanneld,
    "inference.postprocess.RestoreGridd": postprocess.RestoreGridd,
    "inference.postprocess.KeepLargestd": postprocess.KeepLargestd,
    "inference.postprocess.FillVoidsd": postprocess.FillVoidsd,
    "inference.postprocess.MeasureVolumed": postprocess.MeasureVolumed,
    "inference.postprocess.RequirePlausibled": postprocess.RequirePlausibled,
    "inference.brain.RequireDensitiesd": brain.RequireDensitiesd,
    "inference.brain.Cormackd": brain.Cormackd,
    "inference.brain.HeadGridd": brain.HeadGridd,
    "inference.brain.MarkBraind": brain.MarkBraind,
    "inference.brain_checks.TrimBoned": brain_checks.TrimBoned,
    "inference.brain_checks.MeasureBraind": brain_checks.MeasureBraind,
    "inference.brain_checks.RequireBrainOnCtd": brain_checks.RequireBrainOnCtd,
    "inference.brain_checks.RequireBrainOnMrd": brain_checks.RequireBrainOnMrd,
    "inference.rules.StackPlanesd": rules.StackPlanesd,
    "inference.rules.SegmentLungsd": rules.SegmentLungsd,
    "inference.rules.MeasureDensityd": rules.MeasureDensityd,
    "inference.rules.RequireLungsd": rules.RequireLungsd,
    "inference.rules.SegmentTissuesd": rules.SegmentTissuesd,
    "inference.rules.MeasureTissuesd": rules.MeasureTissuesd,
    "inference.rules.RequireTrunkd": rules.RequireTrunkd,
}
ALLOWED_TARGETS = frozenset(_MAKERS)

_DEPTH_MAX = 32
_CONTROLS = frozenset({"_target_", "_desc_"})


def audit(config: Mapping[str, Any]) -> list[str]:
    """Refuse a configuration that could do anything but make allowed objects.

    Returns
    -------
    list
        The files that its networks are loaded from, as the configuration names them.

    Raises
    ------
    BundleRefused
        If it lacks a required member, has a network without an inferer or the reverse, evaluates text, includes a file,
        names a target that is not allowed, or nests too deeply.
    """
    missing = [key for key in members_of(config) if key not in config]
    if missing:
        raise BundleRefused(f"inference.json lacks {', '.join(missing)}")
    return sorted({_file_of(node) for _, node in _nodes(config) if _is_network(node)})


def members_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The top-level members that a configuration must have, by whether it runs a network."""
    return (*WITH_NETWORK, *REQUIRED) if any(key in config for key in WITH_NETWORK) else REQUIRED


def build(config: Mapping[str, Any], networks: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """Make what an audited configuration declares.

    Parameters
    ----------
    config
        As `audit` accepted it.
    networks
        For each file that `audit` named, what to call.

    Returns
    -------
    dict
        `preprocessing` and `postprocessing`, and with a network `network_def` and `inferer`, ready to be called.

    Raises
    ------
    BundleRefused
        If a reference leads nowhere or to itself, or an argument does not fit the target that it is given to.
    """
    audit(config)
    builder = _Builder(config, networks)
    try:
        return {key: builder.member(key) for key in members_of(config)}
    except (TypeError, ValueError, KeyError) as error:
        raise BundleRefused("inference.json does not fit the transforms that it names") from error


class _Builder:
    """Makes each top-level member once; a reference to it gives the same object."""

    def __init__(self, config: Mapping[str, Any], networks: Mapping[str, Callable[..., Any]]) -> None:
        self._config, self._networks = config, networks
        self._made: dict[str, Any] = {}
        self._open: set[str] = set()

    def member(self, key: str) -> Any:
        if key not in self._made:
            if key in self._open or key not in self._config:
                raise BundleRefused("a reference of inference.json leads nowhere or to itself")
            self._open.add(key)
            self._made[key] = self._made_of(self._config[key])
        return self._made[key]

    def _made_of(self, node: Any) -> Any:
        if _is_network(node):
            return self._networks[_file_of(node)]
        if isinstance(node, dict):
            members = {key: self._made_of(value) for key, value in node.items() if key not in _CONTROLS}
            return _MAKERS[node["_target_"]](**members) if "_target_" in node else members
        if isinstance(node, list):
            return [self._made_of(value) for value in node]
        if isinstance(node, str) and node.startswith("@"):
            return self.member(node[1:])
        return node


def _is_network(node: Any) -> bool:
    return isinstance(node, dict) and _named(node.get("_target_"))


def _named(target: Any) -> bool:
    return isinstance(target, str) and target in NETWORK_TARGETS


def _file_of(node: Mapping[str, Any]) -> str:
    file: str = node[NETWORK_TARGETS[node["_target_"]]]
    return file


def _nodes(node: Any, depth: int = 0) -> Iterator[tuple[int, Any]]:
    """Every node of a configuration, each checked before it is given."""
    if depth > _DEPTH_MAX:
        raise BundleRefused("inference.json nests too deeply")
    _check(node)
    yield depth, node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from _nodes(child, depth + 1)


def _check(node: Any) -> None:
    if isinstance(node, str) and (node.startswith(("$", "%")) or "$" in node):
        raise BundleRefused("inference.json evaluates text or includes a file")
    if not isinstance(node, dict):
        return
    controls = {key for key in node if key.startswith(("_", "$", "%", "+", "~"))}
    if controls - _CONTROLS or any("::" in key or "#" in key for key in node):
        raise BundleRefused("inference.json uses a directive that is not allowed")
    target = node.get("_target_")
    if target is None:
        return
    if _named(target):
        argument = NETWORK_TARGETS[target]
        if set(node) != {"_target_", argument} or not isinstance(node[argument], str):
            raise BundleRefused("a network is loaded with other arguments than its file")
    elif not isinstance(target, str) or target not in ALLOWED_TARGETS:
        raise BundleRefused("inference.json names a target that is not allowed", target=str(target)[:100])
