"""`trygon submit` against a real Ray head with token authentication."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from trygon.testing.ray_head import RayHead, ray_head

ROOT = Path(__file__).parents[2]
PACKAGES = ("platform/trygon", "jobs/trygon_jobs", "serving/trygon_serving")

# A job that only the checkout under test has: the cluster can know it from the packages alone.
GREET = '''
"""A job for this test."""
import os
import sys
import time
from typing import Annotated
from cyclopts import Parameter
from trygon_jobs.config import JobConfig

class GreetConfig(JobConfig):
    """Whom to greet."""
    name: str = "nobody"
    """Who."""
    exit_code: int = 0
    """How to end."""
    fail: bool = False
    """End by an exception."""
    seconds: float = 0
    """How long to stay."""

def main(config: Annotated[GreetConfig, Parameter(name="*")] = GreetConfig()) -> None:
    """Greet."""
    print(f"{GREETING} {config.name}, {os.environ.get('TRYGON_TEST_WORD')}", flush=True)
    time.sleep(config.seconds)
    if config.fail:
        raise RuntimeError("as asked")
    sys.exit(config.exit_code)

GREETING = "good day"
'''


@dataclass(frozen=True)
class Checkout:
    """A copy of the three packages that a test may edit, and the cluster that it submits to."""

    folder: Path
    head: RayHead

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start `trygon submit` from this copy."""
        return subprocess.Popen(
            [sys.executable, "-m", "trygon_jobs", "submit", "--address", self.head.address, *words],
            env=self.head.environment | {"PYTHONPATH": str(self.folder)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            # A shell in the background hands down that SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def submit(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `trygon submit` from this copy to its end."""
        process = self.start(*words, **environment)
        stdout, stderr = process.communicate(timeout=180)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    with ray_head(tmp_path_factory.mktemp("head")) as started:
        yield started


@pytest.fixture
def checkout(head: RayHead, tmp_path: Path) -> Checkout:
    folder = tmp_path / "checkout"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "trygon_jobs/greet.py").write_text(GREET)
    cli = folder / "trygon_jobs/cli.py"
    cli.write_text(cli.read_text().replace("JOBS = {", 'JOBS = {\n    "greet": "Greet.",', 1))
    return Checkout(folder, head)


pytestmark = [pytest.mark.slow, pytest.mark.ray]


def test_job_runs_on_the_cluster_with_the_packages_of_this_checkout(checkout: Checkout) -> None:
    first = checkout.submit("greet", "--name", "it's; a $(shell) 'test'", TRYGON_TEST_WORD="hello")
    assert first.returncode == 0, first.stderr
    assert "good day it's; a $(shell) 'test', hello\n" in first.stdout

    job = checkout.folder / "trygon_jobs/greet.py"
    job.write_text(job.read_text().replace('"good day"', '"good night"'))
    second = checkout.submit("greet", "--name=you")
    assert second.returncode == 0, second.stderr
    assert "good night you" in second.stdout


def test_config_file_of_this_machine_travels(checkout: Checkout, tmp_path: Path) -> None:
    config = tmp_path / "my config.yaml"
    config.write_text("# it's mine\nname: 50% of us\n")
    result = checkout.submit("greet", "--config", str(config))
    assert result.returncode == 0, result.stderr
    assert "good day 50% of us" in result.stdout


@pytest.mark.parametrize(("words", "code"), [(["--fail"], 1), (["--exit-code", "2"], 2)])
def test_ends_with_the_exit_status_of_the_job(checkout: Checkout, words: list[str], code: int) -> None:
    result = checkout.submit("greet", *words)
    assert result.returncode == code
    assert "good day nobody" in result.stdout
    assert "Traceback" not in result.stderr
    if code == 1:
        assert "RuntimeError: as asked" in result.stdout


def test_no_wait_prints_the_id_alone(checkout: Checkout) -> None:
    result = checkout.submit("--no-wait", "greet")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("raysubmit_")
    assert result.stdout.count("\n") == 1


def test_interrupt_leaves_the_job_and_says_how_to_reach_it(checkout: Checkout) -> None:
    process = checkout.start("greet", "--seconds", "60")
    assert process.stdout
    # Ray's own lines come first.
    while "good day" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    command = re.search(r"stop it: (ray job stop .*)", stderr)
    assert command
    subprocess.run(command[1].split(), env=checkout.head.environment, capture_output=True, timeout=60, check=True)


def test_bad_flag_is_an_error_before_anything_is_sent(checkout: Checkout) -> None:
    result = checkout.submit("greet", "--nmae", "you")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "--nmae" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("token", ["", "wrong" * 8])
def test_wrong_token_is_one_line(checkout: Checkout, token: str) -> None:
    result = checkout.submit("greet", RAY_AUTH_MODE="token" if token else "disabled", RAY_AUTH_TOKEN=token)
    assert result.returncode == 2
    assert "does not accept the token" in result.stderr
    assert result.stderr.count("\n") == 1


def test_unreachable_address_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trygon_jobs", "submit", "--address", "http://127.0.0.1:9", "curate", "out"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert "no Ray job server answers at http://127.0.0.1:9" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "RAY_ADDRESS" not in os.environ
