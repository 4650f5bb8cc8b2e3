"""The command line as a user calls it: in a process of its own, or in this one."""

import io
import os
import runpy
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path


def command(*words: object) -> list[str]:
    """`trygon WORDS`, as a list for subprocess."""
    return [sys.executable, "-m", "trygon_jobs", *map(str, words)]


def trygon(*words: object, cwd: Path | None = None, timeout_s: float = 500) -> subprocess.CompletedProcess[str]:
    """What it said and how it ended."""
    return subprocess.run(command(*words), cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)


def told(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same from this process, which spares the start of another: Python, PyTorch, Ray.

    For what does not become another program, as `trygon serve` does, and starts no Ray: a job that needs one takes the
    one that is connected, and leaves it as it was.
    """
    out, said, code = io.StringIO(), io.StringIO(), 0
    arguments, environment = sys.argv, dict(os.environ)
    sys.argv = ["trygon", *map(str, words)]
    try:
        with chdir(cwd or "."), redirect_stdout(out), redirect_stderr(said), warnings.catch_warnings():
            # It looks for tests in its callers, and takes the words of `sys.argv` there for forgotten ones.
            warnings.filterwarnings("ignore", "Cyclopts application invoked without tokens")
            runpy.run_module("trygon_jobs", run_name="__main__")
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv = arguments
        # Never empty in between: threads of this process, such as a server's, read it.
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
    return subprocess.CompletedProcess(["trygon", *map(str, words)], code, out.getvalue(), said.getvalue())


def label_words(archive: str, out: str, *more: str) -> list[str]:
    """`label` in a folder that has model/, labels/ and detector/."""
    fixed = ["--model", "model", "--labels", "labels", "--detector", "detector", "--num-workers", "1"]
    return ["label", archive, *fixed, "--out", out, *more]
