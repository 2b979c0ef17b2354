"""The tables of docs/ that the code already says. `make docs` writes them; tests/test_docs.py compares."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import typer

from bithive import cli, limits, settings
from clinic.errors import InstanceRefused
from pipelines.catalog import pipelines
from tests.golden import outcomes

DOCS = Path(__file__).resolve().parents[2] / "docs"
_BEGIN, _END = "<!-- table: written by make docs -->", "<!-- end of table -->"


def settings_table() -> str:
    """Every setting with its default and its meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    defaults = _defaults()
    for name, description in sorted(settings.names().items()):
        rows.append(f"| `{name}` | {defaults[name]} | {description} |")
    return "\n".join(rows)


def limits_table() -> str:
    """Every limit with its value."""
    rows = ["| limit | value |", "|---|---|"]
    for name, value in vars(limits).items():
        if name.isupper() and len(name) > 3:
            rows.append(f"| `{name}` | {_amount(name, value)} |")
    return "\n".join(rows)


def pipelines_table() -> str:
    """Every clinical task."""
    rows = ["| pipeline | what it gives | bundle | payload's data class |", "|---|---|---|---|"]
    for name, pipeline in sorted(pipelines().items()):
        bundle = f"{pipeline.bundle} {pipeline.bundle_version}"
        rows.append(f"| [`{name}`](pipelines/{name}.md) | {pipeline.title} | {bundle} | {pipeline.data_class} |")
    return "\n".join(rows)


def commands_table() -> str:
    """Every command and what it takes."""
    rows = ["| command | what it does | options |", "|---|---|---|"]
    for name, (module, line) in cli.COMMANDS.items():
        command = typer.main.get_command(importlib.import_module(module).app)
        inner = getattr(command, "commands", None)
        for path, each in (
            {f"{name} {key}": each for key, each in inner.items()}.items() if inner else [(name, command)]
        ):
            said = (each.get_short_help_str(200) or line).strip()
            options = [
                option
                for parameter in each.params
                if not getattr(parameter, "hidden", False)
                for option in _shown_as(parameter)
            ]
            rows.append(f"| `bithive {path}` | {said} | {' '.join(f'`{option}`' for option in options)} |")
    return "\n".join(rows)


def _shown_as(parameter: Any) -> list[str]:
    if parameter.name in {"help", "install_completion", "show_completion"}:
        return []
    return [max(parameter.opts, key=len)] if parameter.param_type_name == "option" else [parameter.name.upper()]


def reasons_table() -> str:
    """Every way an instance of a STOW-RS request can fail."""
    rows = ["| Failure Reason | code | meaning |", "|---|---|---|"]
    refusals = sorted(InstanceRefused.__subclasses__(), key=lambda leaf: leaf.reason)
    rows += [f"| 0x{leaf.reason:04X} | [`{leaf.code}`](errors/{leaf.code}.md) | {leaf.title} |" for leaf in refusals]
    return "\n".join(rows)


def errors_table() -> str:
    """Every error code with its title."""
    pages = [page for page in sorted((DOCS / "errors").glob("*.md")) if page.stem != "index"]
    return "\n".join(f"- [`{page.stem}`]({page.name}): {_heading(page)}" for page in pages)


def decisions_table() -> str:
    """Every decision by its number."""
    pages = sorted((DOCS / "adr").glob("*.md"))
    return "\n".join(f"- [{page.stem[:4]}](adr/{page.name}) {_heading(page)}" for page in pages)


def outcomes_table() -> str:
    """What becomes of every DICOM file of others that tests can reach."""
    rows = ["| series | images | outcome | Volume (z, y, x) | warnings |", "|---|---|---|---|---|"]
    for series in (*outcomes.SHARED, *outcomes.PYDICOM_SERIES):
        shape = " x ".join(map(str, series.shape or ()))
        put_right = ", ".join(_linked(code) for code in series.warnings)
        rows.append(f"| `{series.folder}` | {series.images} | {_outcome(series.outcome)} | {shape} | {put_right} |")
    rows += ["", "| test files of pydicom, each on its own | outcome |", "|---|---|"]
    for code, files in outcomes.PYDICOM_FILES.items():
        at = " by the intake" if code in outcomes.NOT_TAKEN else ""
        rows.append(f"| {', '.join(f'`{file}`' for file in files)} | {_outcome(code)}{at} |")
    return "\n".join(rows)


def _outcome(code: str) -> str:
    return code if code == "read" else _linked(code)


def _linked(code: str) -> str:
    return f"[`{code}`](errors/{code}.md)"


def _heading(page: Path) -> str:
    first = page.read_text().splitlines()[0].lstrip("# ")
    return re.sub(r"^(`[^`]*`|(ADR )?\d+)[:.]?\s*", "", first)


TABLES = {
    "errors/index.md": errors_table,
    "index.md": decisions_table,
    "commands.md": commands_table,
    "conformance.md": reasons_table,
    "settings.md": settings_table,
    "limits.md": limits_table,
    "pipelines.md": pipelines_table,
    "geometry.md": outcomes_table,
}


def with_table(page: str, table: str) -> str:
    """A page with the table between its two marks replaced."""
    assert _BEGIN in page, "the page has no place for its table"
    return re.sub(
        f"{re.escape(_BEGIN)}.*{re.escape(_END)}", lambda _: f"{_BEGIN}\n\n{table}\n\n{_END}", page, flags=re.DOTALL
    )


def _defaults() -> dict[str, str]:
    found: dict[str, str] = {}
    for name, field in settings.Settings.model_fields.items():
        members = getattr(field.annotation, "model_fields", None)
        if members:
            found |= {f"BITHIVE_{name}__{inner}".upper(): _shown(member.default) for inner, member in members.items()}
        else:
            found[f"BITHIVE_{name}".upper()] = _shown(field.default)
    return found


def _shown(value: object) -> str:
    return "none" if value is None or value == () else f"`{value}`"


def _amount(name: str, value: float) -> str:
    if "_BYTES" in name:
        for unit, size in (("GiB", limits.GIB), ("MiB", limits.MIB), ("KiB", limits.KIB)):
            if value >= size and value % size == 0:
                return f"{int(value // size)} {unit}"
        return f"{value} bytes"
    return f"{value:g} s" if "_S" in name.removesuffix("_MAX")[-2:] else f"{value:,}"


if __name__ == "__main__":
    for page_name, make in TABLES.items():
        path = DOCS / page_name
        path.write_text(with_table(path.read_text(), make()))
