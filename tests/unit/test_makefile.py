"""What `make` installs for whom."""

import subprocess

from manifests import ROOT


def test_the_demo_installs_no_more_than_it_needs() -> None:
    """Ultralytics is under the AGPL: the tests need it, users do not."""

    def told(target: str) -> str:
        command = ["make", "--dry-run", target, "VENV=no-such-folder"]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    demo, tests = told("demo"), told("test")
    assert "nvidia-pytriton" in demo
    assert not [name for name in ("ultralytics", "megadetector", "[dev]") if name in demo]
    assert "ultralytics" in tests
    # One of the dependencies, one of the carriers, and for the tests one of what lies apart: pip resolves once, also
    # where nothing was installed before.
    assert [text.count("pip install") for text in (demo, tests)] == [2, 3]
    assert told("install").count("[dev]") == 1
