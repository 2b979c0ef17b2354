"""The repository as files: what is ours, and what Python sees in it."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES: tuple[str, ...] = tuple(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
)
_NOT_OURS = {"state", "demo-state", "build", "__pycache__"}
_TEXT = {".py", ".md", ".toml", ".txt", ".json", ".html", ".css", ".js", ".svg", ".yml", ".yaml", ".cfg", ".mako", ""}


def files() -> Iterator[Path]:
    """Every text file of the repository, hidden and generated folders aside; `.ci` is ours."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part not in {".ci", ".gitignore"} for part in parts)
        generated = any(part in _NOT_OURS or part.endswith(".egg-info") for part in parts)
        if not hidden and not generated and path.is_file() and path.suffix in _TEXT:
            yield path


def product_files() -> list[Path]:
    """Every Python file of the product, relative to the root."""
    return [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "__pycache__" not in path.parts
    ]


def is_migration(path: Path) -> bool:
    """Whether a file belongs to an Alembic history, which Alembic runs and nobody imports."""
    return "migrations" in path.parts


def module_name(path: Path) -> str:
    """Dotted name of a product file."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def parse(path: Path) -> ast.Module:
    """Syntax tree of a file given relative to the root."""
    return ast.parse((ROOT / path).read_text(), str(path))


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found
