"""The images hold what is used in them, and are of the Ray that is used here. They are not built here."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from manifests import CLUSTER, ROOT, containers_of, manifests, read
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DOCKER = ROOT / "infra/docker"


DOCKERFILES = sorted(DOCKER.glob("Dockerfile.*"))


CONSTRAINTS = DOCKER / "constraints.txt"


def test_every_image_has_its_dockerfile() -> None:
    images = {container["image"] for manifest in manifests() for container in containers_of(manifest)}
    images.add(read(CLUSTER)["docker"]["image"])
    for image in images - {"busybox:1.37"}:  # in which files are copied
        name, tag = image.rsplit("/", 1)[-1].split(":")
        dockerfile = ROOT / "infra/docker" / f"Dockerfile.{name.removeprefix('trygon-')}"
        assert f"{image} ." in dockerfile.read_text()
        import trygon

        assert tag == trygon.__version__


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_do_not_run_as_root_and_copy_what_exists(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "1000"
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        for source in [word for word in line.split() if not word.startswith("--")][:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored


def _requirements(*arguments: str) -> list[Requirement]:
    """What an image installs."""
    command = [sys.executable, DOCKER / "requirements.py", *arguments]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [Requirement(line) for line in told.splitlines()]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_hold_the_dependencies_and_extras_that_the_pages_use_there(path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = path.read_text()
    (extras,) = re.findall(r'^ARG EXTRAS="(.*)"$', text, re.MULTILINE)
    (arguments,) = re.findall(r"requirements\.py (.*)\$\{EXTRAS\} > requirements\.txt", text)
    assert "-r requirements.txt -c constraints.txt" in text
    wanted = [Requirement(line) for line in project["dependencies"]]
    wanted += [Requirement(line) for extra in extras.split() for line in project["optional-dependencies"][extra]]
    installed = _requirements(*arguments.split(), *extras.split())
    is_triton = path.suffix == ".triton"
    assert {it.name for it in wanted} - {it.name for it in installed} == ({"ray"} if is_triton else set())
    assert "openvino" in {it.name for it in installed}
    assert ("opentelemetry-sdk" in {it.name for it in installed}) is not is_triton


def test_constraints_of_the_images_are_versions_that_the_packages_allow() -> None:
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)  # no path, no build of a machine
    versions = dict(line.split("==") for line in lines)
    assert list(versions) == sorted(versions)
    (ray_image,) = [path for path in DOCKERFILES if path.suffix == ".ray"]
    (extras,) = re.findall(r'^ARG EXTRAS="(.*)"$', ray_image.read_text(), re.MULTILINE)
    for wanted in _requirements(*extras.split()):
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), wanted
    assert not versions.keys() & {"pytest", "ruff", "ultralytics", "megadetector", "nvidia-pytriton"}


def test_base_image_is_of_this_ray() -> None:
    import ray

    text = (ROOT / "infra/docker/Dockerfile.ray").read_text()
    assert f"rayproject/ray:{ray.__version__}-py311-gpu" in text
