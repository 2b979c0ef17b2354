"""The rules of CONTRIBUTING.md that a machine can check."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

import pytest

from api import startup
from tests.common.tree import ROOT, imported, is_migration, module_name, parse, product_files

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
PRODUCT = product_files()

# Files that no test names, and why that is right.
TESTED_ELSEWHERE = {
    "*/__init__.py": "empty, or names only",
    "*/migrations/*": "a test of each schema compares the migrated database with the declared one",
    "*/metadata_sql.py": "one line; every contract test uses it",
    "*/tables*_sql.py": "declarations; every contract test uses them",
    "*/errors.py": "declarations; test_docs.py walks them",
    "*/limits.py": "declarations",
    "*/_*.py": "a private part of the file that imports it, and tested through that",
    "*_ray.py": "tests/e2e: starts Ray",
}

# Which libraries belong into which files, by pattern; a library that is not here may be used anywhere.
TECHNOLOGY = {
    "sqlalchemy": ("*_sql.py", "*/migrations/*"),
    "alembic": ("*_sql.py", "*/migrations/*"),
    "pg8000": ("*_sql.py",),
    "ray": ("*_ray.py",),
    "pydicom": ("clinic/*", "api/*"),
    "highdicom": ("clinic/*", "api/*"),
    "pynetdicom": ("clinic/*", "api/*"),
    "gdcm": ("clinic/*", "api/*"),
    "torch": ("inference/*", "models/*"),
    "monai": ("inference/*", "models/*"),
    "openvino": ("inference/*", "models/*"),
    "opentelemetry": ("*_otel.py",),
    "prometheus_client": ("api/*",),
    "typer": ("bithive/cli.py", "api/commands/*"),
    "rich": ("bithive/cli.py", "api/commands/*"),
}

# Dataclasses that change after they are made, each with the reason.
MUTABLE = {
    "economy.book.*": "balances in memory while a batch is planned; what leaves is frozen",
    "economy.check.*": "the state of a replay, folded entry by entry",
    "api.demonstration.Seen": "what the demonstration has seen so far",
}


def refuse(lines: Iterable[str]) -> None:
    found = list(lines)
    assert not found, "\n" + "\n".join(found)


def test_imports_point_down():
    program = Path(sys.executable).parent / "lint-imports"
    ended = subprocess.run([program, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_packages_are_named_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert project["importlinter"]["root_packages"] == project["mypy"]["packages"]
    assert sorted(project["mypy"]["packages"]) == sorted(startup.PACKAGES)
    included = project["setuptools"]["packages"]["find"]["include"]
    assert sorted(name.removesuffix("*") for name in included) == sorted(startup.PACKAGES)
    makefile = (ROOT / "Makefile").read_text()
    named = next(line for line in makefile.splitlines() if line.startswith("PACKAGES"))
    assert sorted(named.split(":=")[1].split()) == sorted(startup.PACKAGES)


def test_no_installed_package_is_a_namesake():
    startup.check_packages()
    folder = Path(sysconfig.get_path("purelib"))
    namesakes = [name for name in (*startup.PACKAGES, "tests", "benchmarks") if (folder / name).exists()]
    assert namesakes == []


def test_a_file_fits_in_a_head():
    counts = {path: len((ROOT / path).read_text().splitlines()) for path in PRODUCT}
    refuse(f"{path} has {count} lines" for path, count in counts.items() if count > FILE_LINES_MAX)


def test_a_function_fits_on_a_screen():
    refuse(line for path in PRODUCT for line in long_functions(path))


def long_functions(path: Path) -> list[str]:
    found = []
    functions = (node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    for function in functions:
        docstring = function.body[0] if ast.get_docstring(function) else None
        count = function.end_lineno - function.lineno + 1
        if docstring is not None:
            count -= docstring.end_lineno - docstring.lineno + 1
        if count > FUNCTION_LINES_MAX:
            found.append(f"{path}:{function.lineno} {function.name} has {count} lines")
    return found


def test_the_suffix_names_the_technology():
    refuse(
        f"{path} imports {library}"
        for path in PRODUCT
        for library in sorted(imported(path) & set(TECHNOLOGY))
        if not any(fnmatch(str(path), pattern) for pattern in TECHNOLOGY[library])
    )


def test_every_file_has_a_test():
    """By its mirrored name, or by a test of its package that imports it by name, or for a reason in the table."""
    named = modules_named_in_tests()
    refuse(str(path) for path in PRODUCT if not has_test(path, named))


def has_test(path: Path, named: set[str]) -> bool:
    if any(fnmatch(str(path), pattern) for pattern in TESTED_ELSEWHERE):
        return True
    mirror = ROOT / "tests" / "unit" / path.parent / f"test_{path.name}"
    return mirror.exists() or module_name(path) in named


def modules_named_in_tests() -> set[str]:
    named: set[str] = set()
    for test in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(test.read_text())):
            if isinstance(node, ast.Import):
                named.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                named.add(node.module)
                named.update(f"{node.module}.{alias.name}" for alias in node.names)
    return named


def test_each_exception_is_used():
    unused = [pattern for pattern in TESTED_ELSEWHERE if not any(fnmatch(str(path), pattern) for path in PRODUCT)]
    assert unused == []


def test_dataclasses_are_frozen_and_slotted():
    refuse(line for path in PRODUCT for line in mutable_dataclasses(path))


def mutable_dataclasses(path: Path) -> list[str]:
    found = []
    for node in (node for node in ast.walk(parse(path)) if isinstance(node, ast.ClassDef)):
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            name = ast.unparse(call.func if call else decorator).split(".")[-1]
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in (call.keywords if call else [])}
            kept = given.get("frozen") == given.get("slots") == "True"
            if name == "dataclass" and not kept and not is_mutable(f"{module_name(path)}.{node.name}"):
                found.append(f"{path}:{node.lineno} {node.name}")
    return found


def is_mutable(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in MUTABLE)


def test_every_file_says_what_it_is():
    said = [path for path in PRODUCT if path.name != "__init__.py" and not is_migration(path)]
    refuse(str(path) for path in said if not ast.get_docstring(parse(path)))


def run(program: str, *arguments: str) -> str:
    ended = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


LOADED = (
    "import importlib, json, sys\n"
    "for name in sys.argv[1:]: importlib.import_module(name)\n"
    "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
)


@pytest.mark.parametrize(
    ("start", "heavy"),
    [
        ("bithive.cli", {"torch", "monai", "openvino", "ray", "scipy", "highdicom", "fastapi", "opentelemetry"}),
        ("api.app", {"torch", "monai", "openvino", "ray"}),
        ("cluster.broker", {"torch", "monai", "fastapi", "pydicom", "opentelemetry"}),
    ],
)
def test_what_a_start_does_not_pay_for(start, heavy):
    assert heavy.isdisjoint(json.loads(run(LOADED, start)))


WITHOUT_DICOM = (
    "import importlib, sys\n"
    "class Absent:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.split('.')[0] in {'pydicom', 'highdicom', 'pynetdicom', 'gdcm', 'clinic', 'api', 'economy'}:\n"
    "            raise ModuleNotFoundError(name)\n"
    "sys.meta_path.insert(0, Absent())\n"
    "for name in sys.argv[1:]: importlib.import_module(name)\n"
)


def test_a_node_needs_no_dicom_library():
    parts = ("bithive", "models", "inference", "cluster", "pipelines")
    edge = {"bithive.cli", "bithive.__main__"}
    modules = [module_name(path) for path in PRODUCT if path.parts[0] in parts and not is_migration(path)]
    run(WITHOUT_DICOM, *(name for name in modules if name not in edge))


def test_every_pipeline_says_who_may_receive_its_payload():
    from bithive.offer import DataClass
    from pipelines.catalog import pipelines

    for pipeline in pipelines().values():
        assert isinstance(pipeline.data_class, DataClass)
        assert pipeline.intended_use
