"""The YAML and Docker files agree with Ray's schemas and with the code. They are not run here."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from trygon.errors import UserError
from trygon.limits import Limits
from trygon.models.triton_config import ENCODER
from trygon.testing.tiny import write_tiny_model
from trygon_jobs.cli import JOBS, app, check_command

ROOT = Path(__file__).parents[2]
RAYJOB = ROOT / "infra/k8s/rayjob-train.yaml"
RAYSERVICE = ROOT / "infra/k8s/rayservice.yaml"
CLUSTER = ROOT / "ray_cluster.yaml"
DOCKERFILES = sorted((ROOT / "infra/docker").iterdir())


def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def _pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = manifest["spec"]
    cluster = spec.get("rayClusterSpec") or spec["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def _containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [it for pod in _pods(manifest) for it in (*pod.get("initContainers", []), *pod["containers"])]


def _paths_of(command: str) -> list[Path]:
    """The paths that a command names, as the command line itself parses it up to calling the job."""
    words = shlex.split(command)
    start = next(at for at, word in enumerate(words) if word in JOBS and word != "submit")
    tokens, _ = check_command(words[start:])
    _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    values = [value for _, value in bound.arguments["config"]]
    flat = [it for value in values for it in (value if isinstance(value, tuple) else [value])]
    return [Path(value) for value in flat if isinstance(value, Path | str) and "/" in str(value)]


def _submitted(path: Path) -> list[str]:
    """The `trygon submit …` commands of a file, in its text or in its comments."""
    return re.findall(r"^(?:# +)?(trygon submit .*)$", path.read_text(), re.MULTILINE)


def _variables(container: dict[str, Any]) -> dict[str, str]:
    return {it["name"]: it["value"] for it in container.get("env", [])}


def test_cluster_file_passes_the_launchers_own_checks() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(_read(CLUSTER))
    validate_config(config)
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    assert types["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_cluster_is_not_open_to_the_network() -> None:
    config = _read(CLUSTER)
    start = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    options = config["docker"]["run_options"]
    assert "-e RAY_AUTH_MODE=token" in options
    path = next(option.split("=")[1] for option in options if "RAY_AUTH_TOKEN_PATH" in option)
    assert path in config["file_mounts"]


@pytest.mark.parametrize("page", [CLUSTER, ROOT / "README.md", ROOT / "docs/clusters.md"], ids=lambda path: path.name)
def test_submitted_commands_name_folders_that_all_nodes_see(page: Path) -> None:
    commands = _submitted(page)
    assert commands
    for command in commands:
        paths = _paths_of(command)
        assert paths
        assert all(path.is_relative_to("/mnt/shared") for path in paths), command


def test_every_node_of_the_cluster_mounts_the_shared_folder_with_the_sample_data() -> None:
    config = _read(CLUSTER)
    options = config["docker"]["run_options"]
    assert "-v /mnt/shared:/mnt/shared" in options
    (mount,) = [command for command in config["initialization_commands"] if "mount -t" in command]
    assert mount.endswith(" /mnt/shared")
    (cache,) = [option.split("=")[1] for option in options if "TRYGON_CACHE=" in option]
    assert Path(cache).is_relative_to("/mnt/shared")
    assert f"TRYGON_CACHE={cache} trygon sample" in CLUSTER.read_text()


def test_job_works_in_the_volume_of_its_pods() -> None:
    manifest = _read(RAYJOB)
    mounts = [{mount["mountPath"] for mount in container["volumeMounts"]} for container in _containers(manifest)]
    caches = [_variables(container)["TRYGON_CACHE"] for container in _containers(manifest)]
    paths = [*_paths_of(manifest["spec"]["entrypoint"]), *map(Path, caches)]
    assert len(paths) == 4
    assert mounts == [{"/data"}] * 2
    assert all(path.is_relative_to("/data") for path in paths)


@pytest.mark.parametrize("path", [RAYJOB, RAYSERVICE], ids=lambda path: path.stem)
def test_manifest_is_safe_and_whole(path: Path) -> None:
    import ray

    manifest = _read(path)
    assert manifest["apiVersion"] == "ray.io/v1"
    cluster = manifest["spec"].get("rayClusterSpec") or manifest["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == ray.__version__
    for pod in _pods(manifest):
        assert pod["securityContext"]["runAsNonRoot"] is True
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
            assert container["resources"]["requests"]["memory"]


def test_every_image_has_its_dockerfile() -> None:
    images = {container["image"] for path in (RAYJOB, RAYSERVICE) for container in _containers(_read(path))}
    images.add(_read(CLUSTER)["docker"]["image"])
    for image in images:
        name, tag = image.rsplit("/", 1)[-1].split(":")
        dockerfile = ROOT / "infra/docker" / f"Dockerfile.{name.removeprefix('trygon-')}"
        assert f"{image} ." in dockerfile.read_text()
        import trygon

        assert tag == trygon.__version__


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_do_not_run_as_root_and_copy_what_exists(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "1000"
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        for source in [word for word in line.split() if not word.startswith("--")][:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored


def test_base_image_is_of_this_ray() -> None:
    import ray

    text = (ROOT / "infra/docker/Dockerfile.ray").read_text()
    assert f"rayproject/ray:{ray.__version__}-py311-gpu" in text


def test_service_agrees_with_the_application() -> None:
    from ray.serve.schema import ServeDeploySchema

    from trygon_serving.app import ClassifierApp
    from trygon_serving.args import AppArgs

    config = ServeDeploySchema.model_validate(yaml.safe_load(_read(RAYSERVICE)["spec"]["serveConfigV2"]))
    (application,) = config.applications
    assert application.import_path == "trygon_serving.app:build"
    args = AppArgs.model_validate(application.args)
    assert [deployment.name for deployment in application.deployments] == [ClassifierApp.name]
    # A replica that goes, and the pod of one, may end the longest request first.
    drains_s = ClassifierApp._deployment_config.graceful_shutdown_timeout_s
    assert drains_s > args.limits.body_s + args.limits.answer_s
    assert (config.http_options.request_timeout_s or 0) > args.limits.longest_s
    assert _pods(_read(RAYSERVICE))[1]["terminationGracePeriodSeconds"] > drains_s
    (triton,) = [it for it in _containers(_read(RAYSERVICE)) if it["name"] == "triton"]
    options = dict(word.removeprefix("--").partition("=")[::2] for word in triton["args"])
    assert args.triton == f"{options['grpc-address']}:{options['grpc-port']}"
    assert str(config.http_options.port) not in {options["http-port"], options["metrics-port"]}
    assert args.triton_metrics == f"http://127.0.0.1:{options['metrics-port']}/metrics"


def test_service_answers_those_with_a_key_of_its_secret() -> None:
    from trygon_serving.app import build
    from trygon_serving.args import AppArgs

    (application,) = yaml.safe_load(_read(RAYSERVICE)["spec"]["serveConfigV2"])["applications"]
    args = AppArgs.model_validate(application["args"])
    assert build(args)
    with pytest.raises(UserError, match="trygon keys FILE"):
        build(args.model_copy(update={"keys": ""}))
    worker = _pods(_read(RAYSERVICE))[1]
    (replica,) = [it for it in worker["containers"] if it["name"] == "ray-worker"]
    (mount,) = [it for it in replica["volumeMounts"] if Path(it["mountPath"]) == Path(args.keys).parent]
    (volume,) = [it for it in worker["volumes"] if it["name"] == mount["name"]]
    assert f"generic {volume['secret']['secretName']} --from-file={Path(args.keys).name}" in RAYSERVICE.read_text()


def test_nobody_outside_reaches_triton_or_the_dashboard() -> None:
    """Triton's gRPC and HTTP answer within the pod alone, and its probes ask there; the rest is the policy's."""
    policy, pods = _read(RAYSERVICE.parent / "networkpolicy.yaml"), _pods(_read(RAYSERVICE))
    (triton,) = [it for it in pods[1]["containers"] if it["name"] == "triton"]
    options = dict(word.removeprefix("--").partition("=")[::2] for word in triton["args"])
    assert options["grpc-address"] == options["http-address"] == "127.0.0.1"
    assert [port["containerPort"] for port in triton["ports"]] == [int(options["metrics-port"])]
    assert options["metrics-address"] == "0.0.0.0"  # else Prometheus would not reach it either
    for probe in (triton["readinessProbe"], triton["livenessProbe"]):
        assert f"http://127.0.0.1:{options['http-port']}/v2/health/" in probe["exec"]["command"][-1]
        compile(probe["exec"]["command"][-1], "probe", "exec")
    spec = _read(RAYSERVICE)["spec"]["rayClusterConfig"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    selected = policy["spec"]["podSelector"]["matchLabels"]
    assert [group["template"]["metadata"]["labels"] for group in groups] == [selected, selected]
    to_anyone = [rule["ports"] for rule in policy["spec"]["ingress"] if "from" not in rule]
    assert to_anyone == [
        [{"port": yaml.safe_load(_read(RAYSERVICE)["spec"]["serveConfigV2"])["http_options"]["port"]}]
    ]


def test_service_follows_both_queues_with_one_replica_a_pod() -> None:
    """Where a pod held several, they would share its Triton, and more of them would not shorten its queue."""
    from ray.serve.config import AutoscalingConfig

    (application,) = yaml.safe_load(_read(RAYSERVICE)["spec"]["serveConfigV2"])["applications"]
    (deployment,) = application["deployments"]
    assert deployment["max_replicas_per_node"] == 1
    scaling = AutoscalingConfig(**deployment["autoscaling_config"])
    assert scaling.policy.get_policy().__name__ == "both_queues"
    (group,) = _read(RAYSERVICE)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (scaling.min_replicas, scaling.max_replicas)


def test_replicas_follow_the_load_where_that_is_asked_for() -> None:
    from trygon_serving.app import build_scaled
    from trygon_serving.args import AppArgs
    from trygon_serving.catalogue import VersionSpec

    version = VersionSpec(model="/models/model", labels={"names": "/models/labels"})
    args = AppArgs(models={"bioclip": {"v1": version}}, triton="127.0.0.1:1", limits=Limits(body_s=300))
    fixed, scaled = (build_scaled(args, *replicas, 5, 60)._bound_deployment for replicas in ((2, 2), (1, 4)))
    assert (fixed.num_replicas, fixed._deployment_config.autoscaling_config) == (2, None)
    scaling = scaled._deployment_config.autoscaling_config
    assert scaling
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 4)
    assert (scaling.upscale_delay_s, scaling.downscale_delay_s) == (5, 60)
    assert scaling.policy.is_default_policy_function()  # they share one Triton
    assert min(it._deployment_config.graceful_shutdown_timeout_s for it in (fixed, scaled)) > 300


def test_pod_writes_the_repository_that_triton_reads(tmp_path: Path) -> None:
    (writer,) = [it for it in _containers(_read(RAYSERVICE)) if it["name"] == "write-repository"]
    model = write_tiny_model(tmp_path / "model")
    places = {"/repository": str(tmp_path / "r"), "/models/model": str(model)}
    program, *words = [str(places.get(word, word)) for word in writer["command"]]
    assert program == "trygon"
    app(words, exit_on_error=False, print_error=False, result_action="return_value")
    assert (tmp_path / "r" / ENCODER / "config.pbtxt").is_file()
    (triton,) = [it for it in _containers(_read(RAYSERVICE)) if it["name"] == "triton"]
    assert "--model-repository=/repository" in triton["args"]
