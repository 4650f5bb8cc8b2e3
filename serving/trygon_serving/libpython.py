"""The shared library of this Python, which Triton's Python backend is linked with.

Debian's python3 does not bring it: it lies in a package of its own, which is fetched once where it is missing.
"""

import ctypes
import sys
import sysconfig
import tempfile
from pathlib import Path

from trygon.cache import cache_folder
from trygon.data.packages import download_deb, missing_apt_tool, read_deb
from trygon.errors import UserError
from trygon.storage import write_bytes

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
    if missing_apt_tool():
        raise UserError(f"Triton's Python backend needs {_LIBRARY}, which this Python does not bring: {hint}")
    with tempfile.TemporaryDirectory() as scratch:
        # No version is named: it has to be that of the Python that the system has.
        problem = download_deb(_PACKAGE, Path(scratch))
        if problem:
            raise UserError(f"Triton's Python backend needs {_LIBRARY}, and apt has no {_PACKAGE} ({problem}): {hint}")
        (package,) = Path(scratch).glob("*.deb")
        ((_, library),) = read_deb(package, [f"usr/lib/{sysconfig.get_config_var('MULTIARCH')}/{_LIBRARY}"])
    write_bytes(target / _LIBRARY, library)


def _loads() -> bool:
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True
