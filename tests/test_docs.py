"""The documents know what the code knows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bithive
from tests.common import tables
from tests.common.tree import ROOT, files, is_migration, module_name, product_files

DOCS = ROOT / "docs"
PAGES = [path for path in files() if path.suffix == ".md"]
CODES = (
    "import importlib, json, sys\n"
    "for name in sys.argv[1:]: importlib.import_module(name)\n"
    "from bithive.errors import leaves\n"
    "print(json.dumps({leaf.code: leaf.__module__ for leaf in leaves()}))"
)


@pytest.fixture(scope="module")
def codes() -> dict[str, str]:
    """Each error code with the module that defines it, after importing the whole product in a process of its own."""
    names = [
        module_name(path)
        for path in product_files()
        if not is_migration(path) and not path.stem.endswith("_ray") and path.name != "__main__.py"
    ]
    ended = subprocess.run([sys.executable, "-c", CODES, *names], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", sorted(tables.TABLES))
def test_generated_tables_are_current(name):
    page = (DOCS / name).read_text()
    assert page == tables.with_table(page, tables.TABLES[name]()), "run `make docs`"


def test_each_error_code_has_its_page(codes):
    missing = {f"{code} ({module})" for code, module in codes.items() if not (DOCS / "errors" / f"{code}.md").exists()}
    assert not missing, "\n" + "\n".join(sorted(missing))


def test_each_error_page_has_its_code(codes):
    source = "\n".join((ROOT / path).read_text() for path in product_files())
    orphans = [
        page.name
        for page in (DOCS / "errors").glob("*.md")
        if page.stem not in codes and f'"{page.stem}"' not in source and page.name != "index.md"
    ]
    assert not orphans, "\n" + "\n".join(orphans)


def test_each_error_page_says_what_to_do():
    for page in sorted(set((DOCS / "errors").glob("*.md")) - {DOCS / "errors" / "index.md"}):
        lines = page.read_text().strip().splitlines()
        assert lines[0].startswith("# "), page.name
        assert page.stem in lines[0] or f"`{page.stem}`" in page.read_text(), page.name
        assert 3 <= len(lines) <= 40, f"{page.name} has {len(lines)} lines"


def test_each_failure_of_an_attempt_has_its_page():
    from cluster import failures

    tables_of_codes = [value for value in vars(failures).values() if isinstance(value, dict)]
    named = {str(key) for table in tables_of_codes for key in table if re.fullmatch(r"[a-z]+(-[a-z]+)+", str(key))}
    assert named, "the table of failures is not where it was"
    missing = sorted(code for code in named if not (DOCS / "errors" / f"{code}.md").exists())
    assert not missing, "\n" + "\n".join(missing)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        assert aim.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors(aim), f"{target} names no heading"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_page_can_be_found_from_the_start():
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or not page.exists() or page.suffix != ".md":
            continue
        seen.add(page)
        waiting += [(page.parent / target.partition("#")[0]).resolve() for target in links(page)]
    lost = [
        str(page.relative_to(ROOT)) for page in DOCS.glob("**/*.md") if page not in seen and "errors" not in page.parts
    ]
    assert not lost, "\n" + "\n".join(lost)


def links(page: Path) -> list[str]:
    found = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", page.read_text())
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def test_decisions_are_numbered_once_and_have_their_parts():
    numbers: dict[str, str] = {}
    for page in sorted((DOCS / "adr").glob("*.md")):
        match = re.fullmatch(r"(\d{4})-[a-z0-9-]+", page.stem)
        assert match, page.name
        assert match[1] not in numbers, f"{page.name} and {numbers[match[1]]} have one number"
        numbers[match[1]] = page.name
        text = page.read_text()
        assert match[1].lstrip("0") in text.splitlines()[0], f"{page.name}: the heading has another number"
        assert all(word in text for word in ("Context", "Decision", "Consequences")), page.name
        assert len(text.splitlines()) <= 60, f"{page.name} is longer than a page"
    assert numbers


def test_no_package_index_and_no_machine_is_named():
    hosts = (
        "py" + "pi.org",
        "python" + "hosted",
        "opt/py" + "pi",
        "index" + "-url",
        "npm" + "js.org",
        "proxy.go" + "lang",
    )
    machines = ("/wo" + "rk/", "/ro" + "ot/", "/home/" + "user", "/tmp/" + "bh")
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in files()
        for word in (*hosts, *machines)
        if word in path.read_text(errors="replace")
    ]
    assert not found, "\n" + "\n".join(found)


def test_the_version_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == bithive.__version__
    assert (
        f"## [{bithive.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
        or "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
    )
