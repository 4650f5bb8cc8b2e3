"""The files of infra/ and ray_cluster.yaml, read for tests of what they agree with."""

import shlex
from pathlib import Path
from typing import Any

import yaml

from trygon_jobs.cli import JOBS, app, check_command

ROOT = Path(__file__).parents[2]
K8S = ROOT / "infra/k8s"
CURATE = K8S / "rayjob-curate.yaml"
TRAIN = K8S / "rayjob-train.yaml"
LABEL = K8S / "rayjob-label.yaml"
RAYSERVICE = K8S / "rayservice.yaml"
CLUSTER = ROOT / "ray_cluster.yaml"


def read(path: Path) -> dict[str, Any]:
    """A file with one document."""
    return yaml.safe_load(path.read_text())


def cluster_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The Ray cluster of a RayJob or a RayService."""
    spec = manifest["spec"]
    return spec.get("rayClusterSpec") or spec["rayClusterConfig"]


def pods_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """What its pods are made of: of a Ray cluster, a job or a pod alone."""
    match manifest["kind"]:
        case "RayJob" | "RayService":
            cluster = cluster_of(manifest)
            groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
            return [group["template"]["spec"] for group in groups]
        case "Job":
            return [manifest["spec"]["template"]["spec"]]
        case "Pod":
            return [manifest["spec"]]
        case _:
            return []


def manifests() -> list[dict[str, Any]]:
    """All that is applied to Kubernetes."""
    return [it for path in sorted(K8S.glob("*.yaml")) for it in yaml.safe_load_all(path.read_text())]


def containers_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers, of those that begin and those that stay."""
    return [it for pod in pods_of(manifest) for it in (*pod.get("initContainers", []), *pod["containers"])]


def paths_of(command: str) -> list[Path]:
    """The paths that a command names, as the command line itself parses it up to calling the job."""
    words = shlex.split(command)
    start = next(at for at, word in enumerate(words) if word in JOBS and word != "submit")
    tokens, _ = check_command(words[start:])
    _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    values = [value for _, value in bound.arguments["config"]]
    flat = [it for value in values for it in (value if isinstance(value, tuple) else [value])]
    return [Path(value) for value in flat if isinstance(value, Path | str) and "/" in str(value)]


def variables_of(container: dict[str, Any]) -> dict[str, str]:
    """The environment that a container gets."""
    return {it["name"]: it["value"] for it in container.get("env", [])}
