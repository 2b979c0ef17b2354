"""From a file of this site to a clinical task: a bundle by reference, and what is known better here than its authors said.

The task that the bundle gives by itself (`pipelines.from_bundle`), or the declared one that runs it, is the base; a file
narrows and names it. Nothing in a file is executed, and nothing that it does not know is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from bithive.offer import DataClass, Urgency
from models.bundle import Bundle
from pipelines import file_values as values
from pipelines import regions, weightings
from pipelines.errors import PipelineFileRefused
from pipelines.file_text import Written, parsed
from pipelines.from_bundle import RESEARCH_USE
from pipelines.match import SWITCHED_OFF
from pipelines.outputs import LEFT, RIGHT, Code, MeasurementOutput, Output, PreviewOutput, SegmentOutput
from pipelines.spec import Pipeline, SeriesSelector

_NAME = values.matching(r"[A-Za-z][A-Za-z0-9_]{2,63}", "3 to 64 letters, digits and underscores are expected")
_SHA256 = values.matching(r"[0-9a-f]{64}", "64 hexadecimal digits in quotes are expected")
_SIDES: Mapping[str, Code | None] = MappingProxyType({"left": LEFT, "right": RIGHT, "none": None})

_BUNDLE: Mapping[str, values.Reader] = MappingProxyType(
    {
        "name": values.matching(r"[A-Za-z][A-Za-z0-9_]{0,63}", "the name of a bundle is expected"),
        "version": values.matching(r"[0-9A-Za-z.+_-]{1,32}", "an exact version in quotes is expected"),
        "sha256": _SHA256,
        "from": values.matching(
            r"https://[!-~]{1,1000}|(?!\w+://)[ -~]{1,1000}", "an HTTPS address or a path is expected"
        ),
        "from_sha256": _SHA256,
    }
)
_SERIES: Mapping[str, values.Reader] = MappingProxyType(
    {
        "modality": values.matching(r"[A-Z]{2,16}", "a Modality such as CT is expected"),
        "regions": values.several(values.one_of(*regions.REGIONS), 1, len(regions.REGIONS)),
        "body_parts": values.body_parts,
        "body_part_required": values.boolean,
        "words_for": values.phrases,
        "words_against": values.phrases,
        "weighting": values.one_of("T1", "T2", "FLAIR", "any"),
        "planes": values.several(values.one_of("axial", "coronal", "sagittal", "oblique"), 1, 4),
        "slices_min": values.whole(1, 10_000),
        "spacing_mm_max": values.number(0.01, 100.0),
        "extent_mm_min": values.number(0.0, 2_000.0),
        "contrast": values.one_of("any", "without"),
        "age_years": values.span(0.0, 150.0),
        "planar": values.boolean,
        "views": values.code_strings,
        "view_may_be_absent": values.boolean,
        "colour": values.boolean,
    }
)
_STRUCTURE: Mapping[str, values.Reader] = MappingProxyType(
    {
        "label": values.text(1, 64),
        "code": values.code,
        "site": values.code,
        "colour": values.colour,
        "laterality": values.one_of(*_SIDES),
    }
)


def _outputs(item: Written, at: str) -> dict[str, tuple[int, dict[str, Any]]]:
    """Line and members by the structure's key."""
    if not isinstance(item.value, dict) or not item.value:
        raise values.refused(item, at, "structures with their members are expected")
    return {
        name: (inner.line, values.members(inner, f"{at}.{name[:40]}", _STRUCTURE)) for name, inner in item.value.items()
    }


_FILE: Mapping[str, values.Reader] = MappingProxyType(
    {
        "name": _NAME,
        "title": values.text(3, 64),
        "bundle": lambda item, at: values.members(item, at, _BUNDLE, ("name",)),
        "series": lambda item, at: values.members(item, at, _SERIES),
        "outputs": _outputs,
        "data_class": values.one_of("P3", "P2", "P1"),
        "data_class_reason": values.text(20, 400),
        "urgency": values.one_of(*(str(item) for item in Urgency)),
        "timeout_s": values.number(10.0, 86_400.0),
        "validated_age_years": values.span(0.0, 150.0),
        "intended_use": values.text(20, 1_000),
        "on": values.boolean,
    }
)
_NEEDED = ("name", "title", "bundle", "intended_use")


@dataclass(frozen=True, slots=True, eq=False)
class PipelineFile:
    """What a file declares, before its bundle is looked at.

    Attributes
    ----------
    name
        Of the pipeline.
    bundle
        Members of `bundle`: `name`, `version` or `sha256` or both, `from` and `from_sha256` where it can be pulled.
    members
        The other members of the file, read.
    lines
        Where each member of the file and of `bundle` (`bundle.version`) and of `series` (`series.views`) stands.
    """

    name: str
    bundle: Mapping[str, str]
    members: Mapping[str, Any]
    lines: Mapping[str, int]

    @property
    def is_on(self) -> bool:
        """Whether the file switches it on."""
        return bool(self.members.get("on", True))


def read(content: bytes) -> PipelineFile:
    """What a file declares.

    Raises
    ------
    PipelineFileRefused
        With the line.
    """
    item = parsed(content)
    members = values.members(item, "file", _FILE, _NEEDED)
    lines = {name: inner.line for name, inner in item.value.items()}
    for group in ("bundle", "series"):
        if group in members:
            lines |= {f"{group}.{name}": inner.line for name, inner in item.value[group].value.items()}
    file = PipelineFile(members["name"], MappingProxyType(members["bundle"]), MappingProxyType(members), lines)
    _check_reference(file)
    if members.get("data_class", "P3") != "P3" and "data_class_reason" not in members:
        raise PipelineFileRefused("data_class: below P3 a data_class_reason is needed", line=lines["data_class"])
    return file


def _check_reference(file: PipelineFile) -> None:
    bundle, line = file.bundle, file.lines["bundle"]
    if "version" not in bundle and "sha256" not in bundle:
        raise PipelineFileRefused("bundle: its exact version, its sha256 or both are needed", line=line)
    if "from" in bundle and "from_sha256" not in bundle and bundle["from"].startswith("https://"):
        raise PipelineFileRefused("bundle.from_sha256: an address needs the SHA-256 of its zip", line=line)
    if "from_sha256" in bundle and "from" not in bundle:
        raise PipelineFileRefused("bundle.from_sha256: it goes with from", line=line)


def pipeline_from(file: PipelineFile, bundle: Bundle, base: Pipeline) -> Pipeline:
    """The clinical task that a file declares.

    Parameters
    ----------
    file
        From `read`.
    bundle
        The one that it names, as it is installed.
    base
        What the bundle is used for where a file says nothing.

    Raises
    ------
    PipelineFileRefused
        With the line: another version is installed, or the bundle has no such structure or cannot be used so.
    """
    _check_installed(file, bundle)
    said = file.members
    data_class = DataClass(said.get("data_class", "P3"))
    selector = _selector(file, base.selector)
    _check_ages(file, base)
    for member in ("weighting", "contrast", "words_for"):
        if base.further and member in said.get("series", {}):
            line = file.lines[f"series.{member}"]
            raise PipelineFileRefused(f"series.{member}: the bundle takes several series that differ in it", line=line)
    if data_class is DataClass.P1 and (not selector.body_parts or "HEAD" in selector.body_parts):
        raise PipelineFileRefused("data_class: P1 is not for heads and faces", line=file.lines["data_class"])
    return replace(
        base,
        name=file.name,
        title=said["title"],
        bundle=bundle.name,
        bundle_version=bundle.version,
        selector=selector,
        further=tuple(replace(role, selector=_selector(file, role.selector)) for role in base.further),
        outputs=_renamed(file, base),
        data_class=data_class,
        urgency=Urgency(said.get("urgency", base.urgency)),
        timeout_s=said.get("timeout_s", base.timeout_s),
        intended_use=f"{RESEARCH_USE} {said['intended_use']}",
        validated_age_years=said.get("validated_age_years", base.validated_age_years),
        withheld="" if file.is_on else SWITCHED_OFF,
    )


def _check_ages(file: PipelineFile, base: Pipeline) -> None:
    """Who was studied is no site's to widen: what is flagged positive hangs on it."""
    said, known = file.members.get("validated_age_years"), base.validated_age_years
    if said is not None and known is not None and not known[0] <= said[0] <= said[1] <= known[1]:
        line = file.lines["validated_age_years"]
        raise PipelineFileRefused(f"validated_age_years: it lies within {known[0]:g} to {known[1]:g}", line=line)


def _check_installed(file: PipelineFile, bundle: Bundle) -> None:
    for member, installed in (("version", bundle.version), ("sha256", bundle.sha256)):
        wanted = file.bundle.get(member)
        if wanted is not None and wanted != installed:
            line = file.lines[f"bundle.{member}"]
            raise PipelineFileRefused(f"bundle.{member}: {installed[:64]} is installed", line=line)


def _regions(shown: tuple[str, ...]) -> dict[str, Any]:
    found = frozenset(shown)
    return {
        "body_parts": regions.body_parts(found),
        "other_anatomy_words": regions.other_anatomy(found),
        "extent_mm_min": min(regions.REGIONS[region].extent_mm_min for region in found),
    }


def _weighting(name: str) -> dict[str, Any]:
    found = weightings.ANY if name == "any" else weightings.WEIGHTINGS[name][1]
    members = ("shown_by_words", "shown_by_timings", "contrary_words", "contrary_timings")
    return {member: getattr(found, member) for member in members}


_CHANGES: Mapping[str, Callable[[Any], dict[str, Any]]] = MappingProxyType(
    {
        "regions": _regions,
        "weighting": _weighting,
        "words_for": lambda found: {"words_needed": found},
        "words_against": lambda found: {"words_refused": found},
        "planes": lambda found: {"planes": frozenset(found)},
        "contrast": lambda found: {"with_contrast": found == "any"},
    }
)
"""What a member of `series` changes in the selector, where it is not the member of that name. In this order."""


def _selector(file: PipelineFile, base: SeriesSelector) -> SeriesSelector:
    said: Mapping[str, Any] = file.members.get("series", {})
    for member, here in (("modality", base.modality), ("planar", base.planar)):
        if member in said and said[member] != here and said[member] not in base.further_modalities:
            spoken = str(here).lower() if isinstance(here, bool) else here
            raise PipelineFileRefused(
                f"series.{member}: the bundle is for {spoken}", line=file.lines[f"series.{member}"]
            )
    for member in ("views", "view_may_be_absent", "colour"):
        if member in said and not base.planar:
            line = file.lines[f"series.{member}"]
            raise PipelineFileRefused(f"series.{member}: it is for planar images; the bundle takes slices", line=line)
    if "weighting" in said and base.modality != "MR":
        raise PipelineFileRefused("series.weighting: it is for MR", line=file.lines["series.weighting"])
    changes: dict[str, Any] = {}
    for member in (*_CHANGES, *(name for name in said if name not in _CHANGES)):
        if member in said and member not in {"modality", "planar"}:
            changes |= _CHANGES[member](said[member]) if member in _CHANGES else {member: said[member]}
    return replace(base, **changes)


def _renamed(file: PipelineFile, base: Pipeline) -> tuple[Output, ...]:
    said: Mapping[str, tuple[int, dict[str, Any]]] = file.members.get("outputs", {})
    known = {output.mask for output in base.outputs if isinstance(output, SegmentOutput)}
    for key, (line, _) in said.items():
        if key not in known:
            raise PipelineFileRefused(f"outputs.{key[:40]}: the bundle finds no such structure", line=line)
    renamed = tuple(_with(output, said, file) for output in base.outputs)
    labels = [output.label for output in renamed if isinstance(output, SegmentOutput)]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None and said:
        raise PipelineFileRefused(f"outputs: two segments are called {twice}", line=file.lines["outputs"])
    return renamed


def _with(output: Output, said: Mapping[str, tuple[int, dict[str, Any]]], file: PipelineFile) -> Output:
    if isinstance(output, PreviewOutput):
        return replace(output, title=f"{file.members['title']}, preview"[:64])
    if not isinstance(output, SegmentOutput | MeasurementOutput) or output.mask not in said:
        return output
    _, members = said[output.mask or ""]
    changes: dict[str, Any] = {}
    if "laterality" in members:
        changes["laterality"] = _SIDES[members["laterality"]]
    if isinstance(output, SegmentOutput):
        changes |= {"label": members.get("label", output.label), "type": members.get("code", output.type)}
        changes["colour_rgb"] = members.get("colour", output.colour_rgb)
        return replace(output, **changes)
    moved = members.get("code", output.finding) if output.finding == output.finding_site else output.finding_site
    changes |= {"finding": members.get("code", output.finding), "finding_site": members.get("site", moved)}
    return replace(output, **changes)
