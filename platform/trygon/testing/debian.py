"""Programs that tests need, from Debian's packages."""

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path


def install(packages: dict[str, str]) -> None:
    """Install the packages of those programs that are missing, given as program and package. `FileNotFoundError` where
    some are and apt is not there either."""
    # Tests run in several processes, and apt lets one in at a time: the next one fails.
    with (Path(tempfile.gettempdir()) / "trygon-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [package for program, package in packages.items() if not shutil.which(program)]
        if missing:
            quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
            subprocess.run(["apt-get", "update", "-qq"], **quiet)
            subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], **quiet)
