"""A small YAML file as plain values that know their lines; whatever is more than plain is refused.

No anchors, aliases, tags or second documents; few bytes, few values, little depth: what a file of declarations needs and
nothing that makes a reader work. Scalars are those of `yaml.safe_load`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bithive.limits import PIPELINE_FILE_BYTES_MAX, PIPELINE_FILE_DEPTH_MAX, PIPELINE_FILE_VALUES_MAX
from pipelines.errors import PipelineFileRefused


@dataclass(frozen=True, slots=True)
class Written:
    """A value, and where it stands.

    Attributes
    ----------
    value
        A str, int, float, bool or None; a tuple of `Written`; or a dict of those by name.
    line
        Counted from 1. Of a member of a mapping: the line of its name.
    """

    value: Any
    line: int


def parsed(content: bytes) -> Written:
    """The one document of a file.

    Parameters
    ----------
    content
        UTF-8; at most `PIPELINE_FILE_BYTES_MAX` bytes.

    Raises
    ------
    PipelineFileRefused
        With the line: it is too large, no YAML, or uses what is not spoken here; a name stands twice in one mapping.
    """
    import yaml

    if len(content) > PIPELINE_FILE_BYTES_MAX:
        raise PipelineFileRefused(f"it has more than {PIPELINE_FILE_BYTES_MAX} bytes", line=1)
    try:
        text = content.decode()
        _check_events(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise PipelineFileRefused("it is empty", line=1)
        return _written(node)
    except UnicodeDecodeError:
        raise PipelineFileRefused("it is not UTF-8", line=1) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        raise PipelineFileRefused(
            f"no YAML: {getattr(error, 'problem', None) or 'it cannot be read'}", line=line
        ) from None


def _check_events(text: str) -> None:
    """Look at the events one by one, before anything is built of them."""
    import yaml

    depth = values = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        opens = isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent)
        depth += opens - isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        values += opens or isinstance(event, yaml.ScalarEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise PipelineFileRefused("anchors and aliases are not spoken here", line=line)
        if getattr(event, "tag", None) is not None:
            raise PipelineFileRefused("tags are not spoken here", line=line)
        if depth > PIPELINE_FILE_DEPTH_MAX or values > PIPELINE_FILE_VALUES_MAX or documents > 1:
            raise PipelineFileRefused("it is nested too deeply, holds too many values, or several documents", line=line)


def _written(node: Any) -> Written:
    import yaml

    line = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return Written(tuple(_written(item) for item in node.value), line)
    if isinstance(node, yaml.MappingNode):
        members: dict[str, Written] = {}
        for name, item in node.value:
            at = name.start_mark.line + 1
            if not isinstance(name, yaml.ScalarNode):
                raise PipelineFileRefused("a name is plain text", line=at)
            if name.value in members:
                raise PipelineFileRefused(f"{name.value[:40]} stands twice", line=at)
            members[name.value] = Written(_written(item).value, at)
        return Written(members, line)
    return Written(_scalar(node), line)


def _scalar(node: Any) -> Any:
    import yaml

    try:
        value = yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, OverflowError):
        value = math.nan
    if not isinstance(value, str | int | float | bool | None) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise PipelineFileRefused(
            "it is no text, number, true or false: put text in quotes", line=node.start_mark.line + 1
        )
    return value
