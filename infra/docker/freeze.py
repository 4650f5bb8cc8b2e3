"""Write constraints.txt: the versions of all that the images install, as they are in the environment that this runs
in, in which the tests passed.

make test && .venv/bin/python infra/docker/freeze.py
"""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("openvino", "onnx", "traces")
LEFT_OUT = {"pip", "setuptools", "wheel"}
"""The tools of installing come with the images."""

HERE = Path(__file__).parent
HEADER = "# Written by infra/docker/freeze.py: what the images install, in the versions that were tested together."

versions: dict[str, str] = {}
seen: set[tuple[str, str]] = set()


def follow(line: str, extra: str = "") -> None:
    """Note what a requirement is met by here, and all that this needs itself."""
    needed = Requirement(line)
    name = canonicalize_name(needed.name)
    if needed.marker is not None and not needed.marker.evaluate({"extra": extra}):
        return
    try:
        found = distribution(name)
    except PackageNotFoundError:  # for another system or Python
        return
    versions[name] = found.version.partition("+")[0]  # without what names a build, such as +cpu
    for wanted in {"", *needed.extras} - {it for it in ("", *needed.extras) if (name, it) in seen}:
        seen.add((name, wanted))
        for other in found.requires or ():
            follow(other, wanted)


project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["project"]
groups = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in EXTRAS)]
for group in groups:
    for line in group:
        follow(line)
lines = [f"{name}=={version}" for name, version in sorted(versions.items()) if name not in LEFT_OUT]
(HERE / "constraints.txt").write_text("\n".join([HEADER, *lines]) + "\n")
