"""The YAML and Docker files agree with Ray's schemas and with the code. They are not run here."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trygon.errors import UserError
from trygon.limits import Limits
from trygon.models.triton_config import ENCODER
from trygon.testing.tiny import write_tiny_model
from trygon_jobs.cli import JOBS, app, check_command

ROOT = Path(__file__).parents[2]
K8S = ROOT / "infra/k8s"
CURATE = K8S / "rayjob-curate.yaml"
TRAIN = K8S / "rayjob-train.yaml"
LABELS = K8S / "job-labels.yaml"
RAYSERVICE = K8S / "rayservice.yaml"
PODMONITOR = ROOT / "infra/monitoring/podmonitor.yaml"
CLUSTER = ROOT / "ray_cluster.yaml"
DOCKER = ROOT / "infra/docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile.*"))
CONSTRAINTS = DOCKER / "constraints.txt"


def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def _cluster(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = manifest["spec"]
    return spec.get("rayClusterSpec") or spec["rayClusterConfig"]


def _pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """What its pods are made of: of a Ray cluster, a job or a pod alone."""
    match manifest["kind"]:
        case "RayJob" | "RayService":
            cluster = _cluster(manifest)
            groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
            return [group["template"]["spec"] for group in groups]
        case "Job":
            return [manifest["spec"]["template"]["spec"]]
        case "Pod":
            return [manifest["spec"]]
        case _:
            return []


def _manifests() -> list[dict[str, Any]]:
    """All that is applied to Kubernetes."""
    return [it for path in sorted(K8S.glob("*.yaml")) for it in yaml.safe_load_all(path.read_text())]


def _triton() -> dict[str, Any]:
    (triton,) = [it for it in _containers(_read(RAYSERVICE)) if it["name"] == "triton"]
    return triton


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


def test_cluster_says_what_has_to_be_filled_in_and_gives_no_node_more_rights_than_it_needs() -> None:
    """Without an image of its own a node gets one that is older than its GPU; without a profile, all of EC2 and S3."""
    text, types = CLUSTER.read_text(), _read(CLUSTER)["available_node_types"]
    nodes = {name: node["node_config"] for name, node in types.items()}
    assert {node["ImageId"] for node in nodes.values()} == {"ami-FILL-IN"}
    profiles = {name: node["IamInstanceProfile"]["Name"] for name, node in nodes.items()}
    assert profiles == {"head": "trygon-head", "gpu": "trygon-worker"}
    header = text.partition("\ncluster_name")[0]
    group = f"ray-autoscaler-{_read(CLUSTER)['cluster_name']}"
    assert all(word in header for word in ("ami-FILL-IN", "OWNER", "FILESYSTEM", *profiles.values(), group, "2049"))


@pytest.mark.parametrize("path", [CURATE, TRAIN], ids=lambda path: path.stem)
def test_job_works_in_the_volume_of_its_pods(path: Path) -> None:
    manifest = _read(path)
    mounts = [{mount["mountPath"] for mount in container["volumeMounts"]} for container in _containers(manifest)]
    caches = [_variables(container)["TRYGON_CACHE"] for container in _containers(manifest)]
    paths = [*_paths_of(manifest["spec"]["entrypoint"]), *map(Path, caches)]
    assert len(paths) == 4
    assert mounts == [{"/data"}] * 2
    assert all(path.is_relative_to("/data") for path in paths)


def test_training_asks_for_the_gpus_that_come_when_they_are_asked_for() -> None:
    """The command starts before there is any: without the flag it would train on the CPUs of the GPU pods."""
    manifest = _read(TRAIN)
    (group,) = _cluster(manifest)["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"]) == (0, 0)
    (worker,) = group["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "--use-gpu" in shlex.split(manifest["spec"]["entrypoint"])


def _option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_each_manifest_finds_what_the_one_before_it_wrote() -> None:
    curate, train = (shlex.split(_read(path)["spec"]["entrypoint"]) for path in (CURATE, TRAIN))
    (labels,) = [container["command"] for container in _containers(_read(LABELS))]
    assert _option(train, "--shards") == curate[curate.index("curate") + 1]
    assert _option(labels, "--model") == _option(train, "--out")
    assert _option(labels, "--calibrate") == _option(train, "--shards")
    (application,) = yaml.safe_load(_read(RAYSERVICE)["spec"]["serveConfigV2"])["applications"]
    (versions,) = application["args"]["models"].values()
    (served,) = versions.values()
    for container in _containers(_read(RAYSERVICE))[1:]:
        (mount,) = [it for it in container["volumeMounts"] if it["name"] == "data"]
        assert (mount["mountPath"], mount["subPath"]) == ("/models", "models")  # of what jobs see as /data
    assert f"/data{served['model']}" == _option(train, "--out")
    assert f"/data{served['labels']['names']}" == _option(labels, "--out")
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for manifest in _manifests()
        for pod in _pods(manifest)
        for volume in pod.get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    (claim,) = [it for it in _manifests() if it["kind"] == "PersistentVolumeClaim"]
    assert claims == {claim["metadata"]["name"]}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_command_that_makes_the_labels_parses() -> None:
    (container,) = _containers(_read(LABELS))
    paths = _paths_of(shlex.join(container["command"]))
    assert len(paths) == 3
    assert all(path.is_relative_to("/data") for path in paths)
    assert _variables(container)["TRYGON_CACHE"] == _variables(_containers(_read(TRAIN))[0])["TRYGON_CACHE"]


@pytest.mark.parametrize("path", [CURATE, TRAIN, RAYSERVICE], ids=lambda path: path.stem)
def test_cluster_on_kubernetes_is_of_this_ray_and_closed(path: Path) -> None:
    import ray

    manifest = _read(path)
    assert manifest["apiVersion"] == "ray.io/v1"
    cluster = _cluster(manifest)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["autoscalerOptions"]["version"] == "v2"


@pytest.mark.parametrize("manifest", _manifests(), ids=lambda it: f"{it['kind']}-{it['metadata']['name']}")
def test_pods_are_safe_and_whole(manifest: dict[str, Any]) -> None:
    closed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    for pod in _pods(manifest):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            assert container["securityContext"] == closed
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
            assert container["resources"]["requests"]["memory"]
    if manifest["kind"] in ("RayJob", "RayService"):
        assert _cluster(manifest)["autoscalerOptions"]["securityContext"] == closed


def test_every_image_has_its_dockerfile() -> None:
    images = {container["image"] for manifest in _manifests() for container in _containers(manifest)}
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


def _requirements(*arguments: str) -> list[Requirement]:
    """What an image installs."""
    command = [sys.executable, DOCKER / "requirements.py", *arguments]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [Requirement(line) for line in told.splitlines()]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_hold_the_dependencies_and_extras_that_the_pages_use_there(path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = path.read_text()
    (extras,) = re.findall(r'^ARG EXTRAS="(.*)"$', text, re.MULTILINE)
    (arguments,) = re.findall(r"requirements\.py (.*)\$\{EXTRAS\} > requirements\.txt", text)
    assert "-r requirements.txt -c constraints.txt" in text
    wanted = [Requirement(line) for line in project["dependencies"]]
    wanted += [Requirement(line) for extra in extras.split() for line in project["optional-dependencies"][extra]]
    installed = _requirements(*arguments.split(), *extras.split())
    is_triton = path.suffix == ".triton"
    assert {it.name for it in wanted} - {it.name for it in installed} == ({"ray"} if is_triton else set())
    assert "openvino" in {it.name for it in installed}
    assert ("opentelemetry-sdk" in {it.name for it in installed}) is not is_triton


def test_constraints_of_the_images_are_versions_that_the_packages_allow() -> None:
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)  # no path, no build of a machine
    versions = dict(line.split("==") for line in lines)
    assert list(versions) == sorted(versions)
    (ray_image,) = [path for path in DOCKERFILES if path.suffix == ".ray"]
    (extras,) = re.findall(r'^ARG EXTRAS="(.*)"$', ray_image.read_text(), re.MULTILINE)
    for wanted in _requirements(*extras.split()):
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), wanted
    assert not versions.keys() & {"pytest", "ruff", "ultralytics", "megadetector", "nvidia-pytriton"}


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
    options = dict(word.removeprefix("--").partition("=")[::2] for word in _triton()["args"])
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
    policy, triton = _read(K8S / "networkpolicy.yaml"), _triton()
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
    places = {"/repository": str(tmp_path / "r"), "/models/starter": str(model)}
    program, *words = [str(places.get(word, word)) for word in writer["command"]]
    assert program == "trygon"
    app(words, exit_on_error=False, print_error=False, result_action="return_value")
    assert (tmp_path / "r" / ENCODER / "config.pbtxt").is_file()
    assert "--model-repository=/repository" in _triton()["args"]


def test_triton_is_started_again_when_it_dies() -> None:
    """KubeRay gives these pods the restart policy Never, which a sidecar overrides."""
    writer, triton = _pods(_read(RAYSERVICE))[1]["initContainers"]
    assert (writer["name"], triton["name"]) == ("write-repository", "triton")
    assert "restartPolicy" not in writer
    assert triton["restartPolicy"] == "Always"
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= triton.keys()


def test_one_pod_stays_when_nodes_are_drained_and_a_node_takes_no_more_than_it_must() -> None:
    (budget,) = [it for it in _manifests() if it["kind"] == "PodDisruptionBudget"]
    (group,) = _cluster(_read(RAYSERVICE))["workerGroupSpecs"]
    selected = group["template"]["metadata"]["labels"] | {"ray.io/node-type": "worker"}  # which KubeRay adds
    assert budget["spec"] == {"minAvailable": 1, "selector": {"matchLabels": selected}}
    assert group["minReplicas"] > 1
    (spread,) = group["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    assert spread["labelSelector"] == {"matchLabels": selected}


def test_prometheus_asks_each_pod_at_ports_that_it_reaches() -> None:
    """Behind a service it would get the figures of several replicas in turn."""
    monitor, policy = _read(PODMONITOR)["spec"], _read(K8S / "networkpolicy.yaml")["spec"]
    assert monitor["selector"] == policy["podSelector"]
    ports = [port for it in _containers(_read(RAYSERVICE)) for port in it.get("ports", [])]
    named = {port["name"]: port["containerPort"] for port in ports} | {"metrics": 8080}  # which KubeRay adds
    asked = {endpoint["port"]: named[endpoint["port"]] for endpoint in monitor["podMetricsEndpoints"]}
    assert asked == {"serve": 8000, "triton-metrics": 8002, "metrics": 8080}
    (rule,) = [it for it in policy["ingress"] if "namespaceSelector" in str(it) and {"port": 8002} in it["ports"]]
    assert {port["port"] for port in rule["ports"]} == {8002, 8080}
    (keyed,) = [it for it in monitor["podMetricsEndpoints"] if "authorization" in it]
    assert keyed["port"] == "serve"
    # The head has a proxy of its own, and no replica: its figures would be those of another pod once more.
    assert _read(RAYSERVICE)["spec"]["excludeHeadPodFromServeSvc"] is True
    assert "ports" not in _pods(_read(RAYSERVICE))[0]["containers"][0]


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
