"""The import rules of the repository, held by reading the imports.

Arrows point one way: domains -> core and datasets; datasets -> nothing of ours; inside the core
estimators -> training, sampling, networks -> continuous, discrete. One domain imports no other, and only the
two faces (`sciffusion/__init__.py` and `sciffusion/cli.py`) name a domain. The last tests plant violations in
a small tree and check that each is found.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

LONGEST_MODULE = 500
BOTTOM = {"continuous", "discrete"}
MIDDLE = BOTTOM | {"sampling"}
ALLOWED_IN_CORE = {
    "continuous": set(),
    "discrete": set(),
    "sampling": BOTTOM,
    "training": BOTTOM,
    "networks": BOTTOM,
    "exact": MIDDLE,
    "diagnostics": MIDDLE,
    "testing": MIDDLE | {"exact"},
    "estimators": MIDDLE | {"training", "networks"},
}
CORE = set(ALLOWED_IN_CORE)
FACES = {"sciffusion", "sciffusion.cli"}
PACKAGE_FOLDERS = {
    "sciffusion": "sciffusion",
    "domains": "sciffusion.domains",
    "datasets": "sciffusion.datasets",
}
OTHER_FOLDERS = ("tests", "benchmarks", "docs")
NAMELESS_NAMES = {"util", "utils", "helper", "helpers", "common", "misc"}


@dataclass(frozen=True)
class Module:
    """One module of the package: its name, whether it is an `__init__.py`, and its syntax tree."""

    name: str
    is_package: bool
    tree: ast.Module

    def absolute(self, node: ast.ImportFrom) -> str:
        """Return the module that a `from` import reads, with leading dots resolved."""
        if node.level == 0:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + (1 if self.is_package else 0)]
        return ".".join([*parts, *([node.module] if node.module else [])])


def python_files(folder: Path) -> Iterator[Path]:
    """Yield the Python files under a folder, those behind symlinks and in caches left out."""
    for path in sorted(folder.rglob("*.py")):
        relative = path.relative_to(folder)
        behind_symlink = any((folder / parent).is_symlink() for parent in relative.parents)
        generated = {"_build", "auto_examples", "__pycache__"} & set(relative.parts)
        if not behind_symlink and not generated:
            yield path


def read_modules(root: Path) -> dict[str, Module]:
    """Parse every module of the package."""
    modules = {}
    for folder, package in PACKAGE_FOLDERS.items():
        for path in python_files(root / folder):
            parts = path.relative_to(root / folder).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join([package, *(parts[:-1] if is_package else parts)])
            modules[name] = Module(name, is_package, ast.parse(path.read_text(encoding="utf-8")))
    return modules


def imported_by(module: Module, modules: dict[str, Module]) -> set[str]:
    """Return what a module imports of ours: in functions, for type checkers only and by a string, too."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = module.absolute(node)
            for alias in node.names:
                submodule = f"{source}.{alias.name}"
                found.add(submodule if submodule in modules else source)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # `importlib.import_module("sciffusion.domains.survival")` is an import, too.
            found |= {node.value} & modules.keys() if "." in node.value else set()
    return {name for name in found if name.split(".")[0] == "sciffusion"}


def part_of(name: str) -> str:
    """Return the part a module belongs to, such as "sampling", "datasets" or "domains.survival"."""
    parts = name.split(".")[1:]
    return ".".join(parts[:2]) if parts[:1] == ["domains"] else parts[0] if parts else ""


def is_allowed(importer: str, imported: str) -> bool:
    """Whether the arrows let one module import another."""
    source, target = part_of(importer), part_of(imported)
    if importer in FACES:
        return target != "cli"
    if source == target:
        return True
    if source.startswith("domains"):
        return target in CORE | {"datasets"}
    return target in ALLOWED_IN_CORE.get(source, set())


def arrow_violations(root: Path) -> list[str]:
    """List the imports that point the wrong way, and parts that the rules do not know."""
    modules = read_modules(root)
    wrong = [
        f"{name} imports {imported}"
        for name, module in modules.items()
        for imported in sorted(imported_by(module, modules))
        if not is_allowed(name, imported)
    ]
    known = CORE | {"datasets", "domains", "cli", ""}
    return wrong + [
        f"{name} is in no known part" for name in modules if part_of(name).split(".")[0] not in known
    ]


def circles(root: Path) -> list[str]:
    """List one circle of imports, or none."""
    modules = read_modules(root)
    # Nothing may import a face (the arrows see to that), so no circle goes through one.
    graph = {
        name: {imported for imported in imported_by(module, modules) if imported in modules} - {name}
        for name, module in modules.items()
        if name not in FACES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def file_violations(root: Path) -> list[str]:
    """List files that are too long, have a name that says nothing, or import `domains` or `datasets` bare."""
    found = []
    for folder in (*PACKAGE_FOLDERS, *OTHER_FOLDERS):
        for path in python_files(root / folder):
            relative, text = path.relative_to(root), path.read_text(encoding="utf-8")
            if text.count("\n") > LONGEST_MODULE:
                found.append(f"{relative} is longer than {LONGEST_MODULE} lines")
            if NAMELESS_NAMES & set(re.split(r"[_/.]", relative.as_posix())):
                found.append(f"{relative} has a name that says nothing")
            found += [f"{relative} imports {name} bare" for name in bare_imports(ast.parse(text))]
    return found


def bare_imports(tree: ast.Module) -> list[str]:
    """Return the imports of the top-level folders under names that clash with other packages."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.append(node.module)
    return [name for name in names if name.split(".")[0] in ("domains", "datasets")]


def test_imports_point_one_way(repository_root: Path) -> None:
    assert arrow_violations(repository_root) == []


def test_no_import_circles(repository_root: Path) -> None:
    assert circles(repository_root) == []


def test_files_are_small_named_and_import_no_bare_folder(repository_root: Path) -> None:
    assert file_violations(repository_root) == []


def test_the_whole_package_is_read(repository_root: Path) -> None:
    modules = read_modules(repository_root)
    assert {
        "sciffusion",
        "sciffusion.cli",
        "sciffusion.domains.survival",
        "sciffusion.datasets",
    } <= modules.keys()
    assert "sciffusion.continuous.path" in imported_by(modules["sciffusion.continuous.prediction"], modules)


@pytest.fixture
def small_house(tmp_path: Path) -> Path:
    """Return a tree with one module in some parts, in which nothing is wrong."""
    files = {
        "sciffusion/__init__.py": "if True:\n    from sciffusion.domains.survival import model\n",
        "sciffusion/cli.py": "NAME = 'sciffusion.domains.survival.model'\n",
        "sciffusion/continuous/__init__.py": "from .path import x\n",
        "sciffusion/continuous/path.py": "import math\n",
        "sciffusion/sampling/__init__.py": "from sciffusion.continuous import path\n",
        "sciffusion/estimators/__init__.py": "def f():\n    from ..sampling import x\n",
        "sciffusion/testing/__init__.py": "import sciffusion.continuous.path\n",
        "domains/__init__.py": "",
        "domains/survival/__init__.py": "from . import model\n",
        "domains/survival/model.py": "from sciffusion.estimators import x\nimport sciffusion.datasets\n",
        "domains/music/__init__.py": "",
        "datasets/__init__.py": "",
        "tests/test_all.py": "from sciffusion import anything\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for folder in ("domains", "datasets"):
        (tmp_path / "sciffusion" / folder).symlink_to(f"../{folder}")
    return tmp_path


def plant(root: Path, file: str, line: str) -> None:
    """Add a line to a file of the tree, which may be new."""
    path = root / file
    path.write_text((path.read_text() if path.exists() else "") + line + "\n")


def test_nothing_is_found_where_nothing_is_wrong(small_house: Path) -> None:
    assert arrow_violations(small_house) + circles(small_house) + file_violations(small_house) == []


@pytest.mark.parametrize(
    ("importer", "line", "imported"),
    [
        ("sampling", "import sciffusion.estimators", "estimators"),
        ("continuous", "def f():\n    from ..sampling import x", "sampling"),
        ("continuous", "from sciffusion import domains", "domains"),
        ("estimators", "m = 'sciffusion.domains.music'", "domains.music"),
        ("testing", "from .. import estimators", "estimators"),
        ("domains.music", "from ..survival import model", "domains.survival.model"),
        ("datasets", "from sciffusion.continuous import path", "continuous.path"),
    ],
)
def test_an_import_that_points_the_wrong_way_is_found(
    small_house: Path, importer: str, line: str, imported: str
) -> None:
    folder = "sciffusion/" + importer.replace(".", "/")  # through the symlinks
    plant(small_house, f"{folder}/planted.py", line)
    plant(small_house, f"{folder}/__init__.py", line)
    assert arrow_violations(small_house) == [
        f"sciffusion.{importer} imports sciffusion.{imported}",
        f"sciffusion.{importer}.planted imports sciffusion.{imported}",
    ]


def test_an_import_through_the_face_is_found(small_house: Path) -> None:
    plant(small_house, "sciffusion/estimators/__init__.py", "from sciffusion import SDPMSurvival")
    assert arrow_violations(small_house) == ["sciffusion.estimators imports sciffusion"]


def test_an_unknown_part_is_found(small_house: Path) -> None:
    plant(small_house, "sciffusion/anywhere.py", "")
    assert arrow_violations(small_house) == ["sciffusion.anywhere is in no known part"]


def test_a_circle_is_found(small_house: Path) -> None:
    plant(small_house, "sciffusion/continuous/path.py", "from sciffusion.continuous import x")
    assert len(circles(small_house)) == 1


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("tests/test_all.py", "import datasets", "tests/test_all.py imports datasets bare"),
        (
            "domains/music/__init__.py",
            "from domains.x import y",
            "domains/music/__init__.py imports domains.x bare",
        ),
        (
            "sciffusion/sampling/grid_utils.py",
            "",
            "sciffusion/sampling/grid_utils.py has a name that says nothing",
        ),
        ("domains/common/x.py", "", "domains/common/x.py has a name that says nothing"),
        ("tests/test_all.py", "\n" * 500, "tests/test_all.py is longer than 500 lines"),
    ],
)
def test_a_file_that_breaks_a_rule_is_found(small_house: Path, file: str, line: str, found: str) -> None:
    (small_house / file).parent.mkdir(exist_ok=True)
    plant(small_house, file, line)
    assert file_violations(small_house) == [found]
