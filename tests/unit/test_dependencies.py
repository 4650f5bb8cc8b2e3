"""What the packages import is what pyproject.toml asks for: an image with the base dependencies alone can run them."""

import ast
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SOURCES = ("platform/trygon", "jobs/trygon_jobs", "serving/trygon_serving")
MODULES = sorted(path for source in SOURCES for path in (ROOT / source).rglob("*.py"))

# The extras `demo`, `openvino` and `onnx` are for these; everything else runs without them.
DEMO = ("trygon/data/sample/", "trygon/data/qtbundle.py", "trygon_jobs/demo.py")
OPENVINO = ("trygon/models/encoders/openvino.py", "trygon/models/openvino_export.py")
ONNX = ("trygon/models/onnx_export.py",)
TESTING = "trygon/testing/"
# Triton's own interpreter brings it.
BROUGHT = {"triton_python_backend_utils"}


@cache
def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _name(path: Path) -> str:
    return "/".join(path.relative_to(ROOT).parts[1:])


@cache
def _brought(*requirements: str) -> set[str]:
    """The distributions that requirements bring, with the requirements of those."""
    pending = [Requirement(text) for text in requirements]
    seen: set[tuple[str, str]] = set()
    while pending:
        wanted = pending.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras} - {known for other, known in seen if other == name}:
            seen.add((name, extra))
            further = [Requirement(text) for text in _requires(name)]
            pending += [it for it in further if not it.marker or it.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def _requires(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # for another platform, or of an extra that is not installed
        return []


@cache
def _distributions() -> dict[str, set[str]]:
    """The distributions that an import may come from."""
    return {name: {canonicalize_name(it) for it in found} for name, found in packages_distributions().items()}


@cache
def _allowed(path: Path) -> set[str]:
    project, name = _project(), _name(path)
    wanted = list(project["dependencies"])
    if name.startswith((*DEMO, TESTING)):
        wanted += project["optional-dependencies"]["demo"]
    if name.startswith(OPENVINO):
        wanted += project["optional-dependencies"]["openvino"]
    if name.startswith(ONNX):
        wanted += project["optional-dependencies"]["onnx"]
    if name.startswith(TESTING):
        wanted += project["optional-dependencies"]["dev"]
    return _brought(*wanted)


def _imports(path: Path) -> set[str]:
    """The third-party packages that a module imports, in functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    tops = {name.split(".")[0] for name in names}
    return {name for name in tops if name not in sys.stdlib_module_names and not name.startswith("trygon")}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_are_dependencies(path: Path) -> None:
    for name in _imports(path) - BROUGHT:
        assert _distributions().get(name, set()) & _allowed(path), f"{name} is imported, but no dependency brings it"


def test_tokenizer_of_a_model_folder_loads_without_extras() -> None:
    # open_clip imports it by itself when a folder holds a tokenizer, and does not require it.
    names = {canonicalize_name(Requirement(text).name) for text in _project()["dependencies"]}
    assert {"open-clip-torch", "transformers"} <= names
