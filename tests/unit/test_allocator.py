"""What training's processes on CPUs take their memory from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trygon.training.allocator import allocator

_OWN_LIBRARIES = "print(open('/proc/self/maps').read())"


@pytest.mark.skipif(sys.platform != "linux", reason="Ray has it for Linux alone")
def test_a_process_runs_on_rays_jemalloc_and_it_understands_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    environment = allocator()
    command = [sys.executable, "-c", _OWN_LIBRARIES]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    assert Path(environment["LD_PRELOAD"]).name in done.stdout
    assert done.stderr == ""  # it says there what it does not know


def test_who_preloads_an_allocator_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "libtcmalloc.so")
    assert allocator() == {}
