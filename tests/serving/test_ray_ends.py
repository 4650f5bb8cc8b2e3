"""`trygon serve` with keys and a Triton of one's own, whose Ray is killed."""

import re
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest

from trygon.testing.commands import command
from trygon.testing.processes import family, kill_family, living, quiet_environment
from trygon.testing.served import Served
from trygon.testing.servers import free_port, wait_ready
from trygon_serving.embedded import Embedded
from trygon_serving.keys import add_key

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def test_it_ends_with_its_ray_and_asks_for_keys_in_the_proxy_until_then(
    tiny: Served, triton: Embedded, tmp_path: Path
) -> None:
    """Nobody listens any more once the raylet is gone: whatever runs the server is to start it again."""
    token, port = add_key(tmp_path / "keys.json", "app"), free_port()
    words = ["serve", "--model", tiny.model_folder, "--labels", tiny.labels_folder, "--port", port]
    words += ["--triton", triton.grpc, "--keys", tmp_path / "keys.json"]
    environment = quiet_environment()
    process = subprocess.Popen(
        command(*words), env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_ready(client, process)
            assert client.post("/v1/classify", content=b"x", headers={"Content-Type": "image/jpeg"}).status_code == 401
            figures = client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).raise_for_status().text
            assert re.search(r"^trygon_refused_total{.*} 1.0$", figures, re.MULTILINE)
        processes = family(process.pid)
        (raylet,) = [it for it in processes if it.name() == "raylet"]
        raylet.kill()
        _, err = process.communicate(timeout=60)
        psutil.wait_procs(processes, timeout=30)
    finally:
        if process.poll() is None:
            kill_family(process)
    assert process.returncode == 1
    assert (
        err.splitlines()[-1]
        == "error: Ray's process raylet has ended (exit code -9): it was killed, or memory ran out"
    )
    assert "Traceback" not in err
    assert not living(processes)
