"""The layout of the repository, the direction of imports, and the habits that every module keeps."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"trygon": "platform", "trygon_jobs": "jobs", "trygon_serving": "serving"}
MODULES = sorted(path for package, folder in PACKAGES.items() for path in (ROOT / folder / package).rglob("*.py"))
MAX_LINES = 400

# In the library, work is distributed here and nowhere else: the rest runs, and is tested, without Ray.
RAY_ALLOWED = (
    "trygon/archive/pipeline.py",
    "trygon/cluster/",
    "trygon/data/curation.py",
    "trygon/data/ingest.py",
    "trygon/training/allocator.py",
    "trygon/training/endurance.py",
    "trygon/training/features.py",
    "trygon/training/reports.py",
    "trygon/training/run.py",
    "trygon/training/validation.py",
    "trygon/testing/",
    "trygon/training/worker.py",
)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _imports(path: Path) -> set[str]:
    """The top-level packages that a module imports anywhere, functions included."""
    names = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def _package(path: Path) -> str:
    return path.relative_to(ROOT).parts[1]


def _name(path: Path) -> str:
    """Path below its source root, as a test's name and in the list of what may import ray."""
    return "/".join(path.relative_to(ROOT).parts[1:])


def test_three_source_roots_and_their_neighbours() -> None:
    for entry in ("pyproject.toml", "Makefile", "README.md", "LICENSE", "ray_cluster.yaml", ".ci/run", "infra/k8s"):
        assert (ROOT / entry).exists(), entry
    for package, folder in PACKAGES.items():
        packages = [path.parent.name for path in (ROOT / folder).glob("*/__init__.py")]
        assert packages == [package]


@pytest.mark.parametrize("package", ["trygon", "trygon_serving"])
def test_what_other_programs_import_says_that_it_has_types(package: str) -> None:
    """Without the marker (PEP 561) their checkers take all of it as unknown. A wheel holds all files of a package."""
    assert resources.files(package).joinpath("py.typed").is_file()


def test_platform_does_not_shadow_the_standard_library() -> None:
    assert not list((ROOT / "platform").glob("*.py"))
    command = [sys.executable, "-c", "import platform; print(platform.system())"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip()


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_run_one_way(path: Path) -> None:
    others = {
        "trygon": {"trygon_jobs", "trygon_serving"},
        "trygon_jobs": {"trygon_serving"},
        "trygon_serving": {"trygon_jobs"},
    }
    assert not _imports(path) & others[_package(path)]


def _part(path: Path) -> str:
    """The part of the library that a module is in: a package, or a module beside the packages."""
    return path.relative_to(ROOT / "platform/trygon").parts[0].removesuffix(".py")


def _parts_imported(path: Path) -> set[str]:
    """Other parts of the library that a module imports anywhere, functions included."""
    names = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("trygon.")} - {_part(path)}


def test_parts_of_the_library_import_each_other_one_way() -> None:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        if _package(path) == "trygon":
            graph.setdefault(_part(path), set()).update(_parts_imported(path))
    TopologicalSorter(graph).prepare()  # a CycleError names the parts of a cycle


def test_library_distributes_work_only_where_it_says_so() -> None:
    offenders = [
        _name(path)
        for path in MODULES
        if _package(path) == "trygon" and "ray" in _imports(path) and not _name(path).startswith(RAY_ALLOWED)
    ]
    assert not offenders


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_says_what_it_knows_and_stays_small(path: Path) -> None:
    assert ast.get_docstring(_tree(path)), "no docstring"
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_public_functions_are_annotated(path: Path) -> None:
    missing = []
    for node in ast.walk(_tree(path)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [arg.arg for arg in arguments if arg.annotation is None and arg.arg not in ("self", "cls")]
        if node.returns is None or bare:
            missing.append(f"{node.name}:{node.lineno} {bare}")
    assert not missing


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_public_functions_and_classes_say_what_they_do(path: Path) -> None:
    definitions = [node for node in _tree(path).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    missing = [node.name for node in definitions if not node.name.startswith("_") and not ast.get_docstring(node)]
    assert not missing
