"""The shared library of this Python, which Triton's Python backend is linked with.

Debian's python3 does not bring it: it lies in a package of its own, which is fetched once where it is missing.
"""

import ctypes
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from trygon.data.cache import cache_folder
from trygon.errors import UserError
from trygon.storage import replace_folder

_PACKAGE = f"libpython{sys.version_info.major}.{sys.version_info.minor}"
_LIBRARY = f"{_PACKAGE}.so.1.0"


def library_folder() -> Path | None:
    """The folder that holds the library; None where the system's loader finds it by itself.

    `UserError` where it is neither there nor to be had from apt.
    """
    own = Path(sysconfig.get_config_var("LIBDIR") or "")
    if (own / _LIBRARY).is_file():
        return own
    if _loads():
        return None
    fetched = cache_folder() / _PACKAGE
    if not (fetched / _LIBRARY).is_file():
        fetch(fetched)
    return fetched


def fetch(target: Path) -> None:
    """Take the library out of Debian's package; nothing is installed."""
    hint = f"install it (Debian: sudo apt-get install {_PACKAGE}), or name a running Triton with --triton HOST:PORT"
    if not all(shutil.which(tool) for tool in ("apt-get", "dpkg-deb")):
        raise UserError(f"Triton's Python backend needs {_LIBRARY}, which this Python does not bring: {hint}")
    with tempfile.TemporaryDirectory() as scratch:
        for command in (["download", _PACKAGE], ["update"], ["download", _PACKAGE]):
            done = subprocess.run(["apt-get", "-qq", *command], cwd=scratch, capture_output=True, check=False)
            if command[0] == "download" and not done.returncode:
                break
        packages = list(Path(scratch).glob("*.deb"))
        if not packages:
            raise UserError(f"Triton's Python backend needs {_LIBRARY}, and apt could not download {_PACKAGE}: {hint}")
        subprocess.run(["dpkg-deb", "-x", packages[0], "unpacked"], cwd=scratch, capture_output=True, check=True)
        (library,) = Path(scratch, "unpacked").rglob(_LIBRARY)
        finished = target.with_name(f".{target.name}.part")
        finished.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, finished)
        replace_folder(finished, target)


def _loads() -> bool:
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True
