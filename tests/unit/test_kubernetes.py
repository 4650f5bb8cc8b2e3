"""The manifests agree with Ray's schemas, with each other and with the code. They are not applied here."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import (
    CURATE,
    K8S,
    LABEL,
    RAYSERVICE,
    ROOT,
    TRAIN,
    cluster_of,
    containers_of,
    manifests,
    paths_of,
    pods_of,
    read,
    variables_of,
)

from trygon.errors import UserError
from trygon.limits import Limits
from trygon.models.triton_config import ENCODER
from trygon.testing.tiny import write_tiny_model
from trygon_jobs.cli import app

CLUSTERS = ROOT / "docs/clusters.md"
LABELS = K8S / "job-labels.yaml"
PODMONITOR = ROOT / "infra/monitoring/podmonitor.yaml"


def _triton() -> dict[str, Any]:
    (triton,) = [it for it in containers_of(read(RAYSERVICE)) if it["name"] == "triton"]
    return triton


@pytest.mark.parametrize("path", [CURATE, TRAIN], ids=lambda path: path.stem)
def test_job_works_in_the_volume_of_its_pods(path: Path) -> None:
    manifest = read(path)
    mounts = [{mount["mountPath"] for mount in container["volumeMounts"]} for container in containers_of(manifest)]
    caches = [variables_of(container)["TRYGON_CACHE"] for container in containers_of(manifest)]
    paths = [*paths_of(manifest["spec"]["entrypoint"]), *map(Path, caches)]
    assert len(paths) == 4
    assert mounts == [{"/data"}] * 2
    assert all(path.is_relative_to("/data") for path in paths)


@pytest.mark.parametrize("path", [TRAIN, LABEL], ids=lambda path: path.stem)
def test_job_asks_for_the_gpus_that_come_when_they_are_asked_for(path: Path) -> None:
    """The command starts before there is any: without the flag it would work on the CPUs of the GPU pods."""
    manifest = read(path)
    (group,) = cluster_of(manifest)["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"]) == (0, 0)
    (worker,) = group["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "--use-gpu" in shlex.split(manifest["spec"]["entrypoint"])


def test_labelling_takes_what_the_jobs_before_it_made_and_no_more_workers_than_there_may_be() -> None:
    label, train = (shlex.split(read(path)["spec"]["entrypoint"]) for path in (LABEL, TRAIN))
    (labels,) = [container["command"] for container in containers_of(read(LABELS))]
    assert paths_of(read(LABEL)["spec"]["entrypoint"])  # it parses
    assert _option(label, "--model") == _option(train, "--out")
    assert _option(label, "--labels") == _option(labels, "--out")
    (group,) = cluster_of(read(LABEL))["workerGroupSpecs"]
    assert 0 < int(_option(label, "--num-workers")) <= group["maxReplicas"]
    assert {variables_of(it)["TRYGON_CACHE"] for it in containers_of(read(LABEL))} == {"/data/cache"}


@pytest.mark.parametrize("path", [CURATE, TRAIN, LABELS, LABEL], ids=lambda path: path.stem)
def test_pods_of_a_job_get_keys_for_s3_from_the_secret_that_the_page_makes(path: Path) -> None:
    page = CLUSTERS.read_text()
    for container in containers_of(read(path)):
        (source,) = container["envFrom"]
        assert source["secretRef"]["optional"] is True  # a role may give them
        assert f"kubectl create secret generic {source['secretRef']['name']} " in page


def _option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_each_manifest_finds_what_the_one_before_it_wrote() -> None:
    curate, train = (shlex.split(read(path)["spec"]["entrypoint"]) for path in (CURATE, TRAIN))
    (labels,) = [container["command"] for container in containers_of(read(LABELS))]
    assert _option(train, "--shards") == curate[curate.index("curate") + 1]
    assert _option(labels, "--model") == _option(train, "--out")
    assert _option(labels, "--calibrate") == _option(train, "--shards")
    (application,) = yaml.safe_load(read(RAYSERVICE)["spec"]["serveConfigV2"])["applications"]
    (versions,) = application["args"]["models"].values()
    (served,) = versions.values()
    for container in containers_of(read(RAYSERVICE))[1:]:
        (mount,) = [it for it in container["volumeMounts"] if it["name"] == "data"]
        assert (mount["mountPath"], mount["subPath"]) == ("/models", "models")  # of what jobs see as /data
    assert f"/data{served['model']}" == _option(train, "--out")
    assert f"/data{served['labels']['names']}" == _option(labels, "--out")
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for manifest in manifests()
        for pod in pods_of(manifest)
        for volume in pod.get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    (claim,) = [it for it in manifests() if it["kind"] == "PersistentVolumeClaim"]
    assert claims == {claim["metadata"]["name"]}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_job_that_makes_the_labels_parses_and_stays_to_be_looked_at() -> None:
    assert "ttlSecondsAfterFinished" not in read(LABELS)["spec"]  # its log would go with it
    (container,) = containers_of(read(LABELS))
    paths = paths_of(shlex.join(container["command"]))
    assert len(paths) == 3
    assert all(path.is_relative_to("/data") for path in paths)
    assert variables_of(container)["TRYGON_CACHE"] == variables_of(containers_of(read(TRAIN))[0])["TRYGON_CACHE"]


@pytest.mark.parametrize("path", [CURATE, TRAIN, LABEL, RAYSERVICE], ids=lambda path: path.stem)
def test_cluster_on_kubernetes_is_of_this_ray_and_closed(path: Path) -> None:
    import ray

    manifest = read(path)
    assert manifest["apiVersion"] == "ray.io/v1"
    cluster = cluster_of(manifest)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["autoscalerOptions"]["version"] == "v2"


@pytest.mark.parametrize("manifest", manifests(), ids=lambda it: f"{it['kind']}-{it['metadata']['name']}")
def test_pods_are_safe_and_whole(manifest: dict[str, Any]) -> None:
    closed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    for pod in pods_of(manifest):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            assert container["securityContext"] == closed
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
            assert container["resources"]["requests"]["memory"]
    is_cluster = manifest["kind"] in ("RayJob", "RayService")
    if is_cluster:
        assert cluster_of(manifest)["autoscalerOptions"]["securityContext"] == closed
    # A head asks Kubernetes for pods. The others read pictures, and have no token.
    assert not any(pod.get("automountServiceAccountToken", True) for pod in pods_of(manifest)[is_cluster:])


def test_service_agrees_with_the_application() -> None:
    from ray.serve.schema import ServeDeploySchema

    from trygon_serving.app import ClassifierApp
    from trygon_serving.args import AppArgs

    config = ServeDeploySchema.model_validate(yaml.safe_load(read(RAYSERVICE)["spec"]["serveConfigV2"]))
    (application,) = config.applications
    assert application.import_path == "trygon_serving.app:build"
    args = AppArgs.model_validate(application.args)
    assert [deployment.name for deployment in application.deployments] == [ClassifierApp.name]
    # A replica that goes, and the pod of one, may end the longest request first.
    drains_s = ClassifierApp._deployment_config.graceful_shutdown_timeout_s
    assert drains_s > args.limits.body_s + args.limits.answer_s
    assert (config.http_options.request_timeout_s or 0) > args.limits.longest_s
    worker = pods_of(read(RAYSERVICE))[1]
    (replica,) = [it for it in worker["containers"] if it["name"] == "ray-worker"]
    assert variables_of(replica).items() > variables_of(containers_of(read(RAYSERVICE))[0]).items()
    ray_waits_s = float(variables_of(replica)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert args.limits.longest_s < ray_waits_s < worker["terminationGracePeriodSeconds"]
    options = dict(word.removeprefix("--").partition("=")[::2] for word in _triton()["args"])
    assert args.triton == f"{options['grpc-address']}:{options['grpc-port']}"
    assert str(config.http_options.port) not in {options["http-port"], options["metrics-port"]}
    assert args.triton_metrics == f"http://127.0.0.1:{options['metrics-port']}/metrics"


def test_service_answers_those_with_a_key_of_its_secret() -> None:
    from trygon_serving.app import build
    from trygon_serving.args import AppArgs
    from trygon_serving.front import KEYS

    (application,) = yaml.safe_load(read(RAYSERVICE)["spec"]["serveConfigV2"])["applications"]
    args = AppArgs.model_validate(application["args"])
    assert build(args)
    with pytest.raises(UserError, match="trygon keys FILE"):
        build(args.model_copy(update={"keys": ""}))
    worker = pods_of(read(RAYSERVICE))[1]
    (replica,) = [it for it in worker["containers"] if it["name"] == "ray-worker"]
    assert variables_of(replica)[KEYS] == args.keys  # for the proxy; that of the head has no such file
    assert KEYS not in variables_of(containers_of(read(RAYSERVICE))[0])
    (mount,) = [it for it in replica["volumeMounts"] if Path(it["mountPath"]) == Path(args.keys).parent]
    (volume,) = [it for it in worker["volumes"] if it["name"] == mount["name"]]
    assert f"generic {volume['secret']['secretName']} --from-file={Path(args.keys).name}" in CLUSTERS.read_text()


def test_nobody_outside_reaches_triton_or_the_dashboard() -> None:
    """Triton's gRPC and HTTP answer within the pod alone, and its probes ask there; the rest is the policy's."""
    policy, triton = read(K8S / "networkpolicy.yaml"), _triton()
    options = dict(word.removeprefix("--").partition("=")[::2] for word in triton["args"])
    assert options["grpc-address"] == options["http-address"] == "127.0.0.1"
    assert [port["containerPort"] for port in triton["ports"]] == [int(options["metrics-port"])]
    assert options["metrics-address"] == "0.0.0.0"  # else Prometheus would not reach it either
    for probe in (triton["readinessProbe"], triton["livenessProbe"]):
        assert f"http://127.0.0.1:{options['http-port']}/v2/health/" in probe["exec"]["command"][-1]
        compile(probe["exec"]["command"][-1], "probe", "exec")
    spec = read(RAYSERVICE)["spec"]["rayClusterConfig"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    selected = policy["spec"]["podSelector"]["matchLabels"]
    assert [group["template"]["metadata"]["labels"] for group in groups] == [selected, selected]
    to_anyone = [rule["ports"] for rule in policy["spec"]["ingress"] if "from" not in rule]
    assert to_anyone == [[{"port": yaml.safe_load(read(RAYSERVICE)["spec"]["serveConfigV2"])["http_options"]["port"]}]]


def test_service_follows_both_queues_with_one_replica_a_pod() -> None:
    """Where a pod held several, they would share its Triton, and more of them would not shorten its queue."""
    from ray.serve.config import AutoscalingConfig

    (application,) = yaml.safe_load(read(RAYSERVICE)["spec"]["serveConfigV2"])["applications"]
    (deployment,) = application["deployments"]
    assert deployment["max_replicas_per_node"] == 1
    scaling = AutoscalingConfig(**deployment["autoscaling_config"])
    assert scaling.policy.get_policy().__name__ == "both_queues"
    (group,) = read(RAYSERVICE)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
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
    (writer,) = [it for it in containers_of(read(RAYSERVICE)) if it["name"] == "write-repository"]
    model = write_tiny_model(tmp_path / "model")
    places = {"/repository": str(tmp_path / "r"), "/models/starter": str(model)}
    program, *words = [str(places.get(word, word)) for word in writer["command"]]
    assert program == "trygon"
    app(words, exit_on_error=False, print_error=False, result_action="return_value")
    assert (tmp_path / "r" / ENCODER / "config.pbtxt").is_file()
    assert "--model-repository=/repository" in _triton()["args"]


def test_triton_is_started_again_when_it_dies() -> None:
    """KubeRay gives these pods the restart policy Never, which a sidecar overrides."""
    writer, triton = pods_of(read(RAYSERVICE))[1]["initContainers"]
    assert (writer["name"], triton["name"]) == ("write-repository", "triton")
    assert "restartPolicy" not in writer
    assert triton["restartPolicy"] == "Always"
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= triton.keys()


def test_one_pod_stays_when_nodes_are_drained_and_a_node_takes_no_more_than_it_must() -> None:
    (budget,) = [it for it in manifests() if it["kind"] == "PodDisruptionBudget"]
    (group,) = cluster_of(read(RAYSERVICE))["workerGroupSpecs"]
    selected = group["template"]["metadata"]["labels"] | {"ray.io/node-type": "worker"}  # which KubeRay adds
    assert budget["spec"] == {"minAvailable": 1, "selector": {"matchLabels": selected}}
    assert group["minReplicas"] > 1
    (spread,) = group["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    assert spread["labelSelector"] == {"matchLabels": selected}


def test_prometheus_asks_each_pod_at_ports_that_it_reaches() -> None:
    """Behind a service it would get the figures of several replicas in turn."""
    monitor, policy = read(PODMONITOR)["spec"], read(K8S / "networkpolicy.yaml")["spec"]
    assert monitor["selector"] == policy["podSelector"]
    ports = [port for it in containers_of(read(RAYSERVICE)) for port in it.get("ports", [])]
    named = {port["name"]: port["containerPort"] for port in ports} | {"metrics": 8080}  # which KubeRay adds
    asked = {endpoint["port"]: named[endpoint["port"]] for endpoint in monitor["podMetricsEndpoints"]}
    assert asked == {"serve": 8000, "triton-metrics": 8002, "metrics": 8080}
    (rule,) = [it for it in policy["ingress"] if "namespaceSelector" in str(it) and {"port": 8002} in it["ports"]]
    assert {port["port"] for port in rule["ports"]} == {8002, 8080}
    (keyed,) = [it for it in monitor["podMetricsEndpoints"] if "authorization" in it]
    assert keyed["port"] == "serve"
    # The head has a proxy of its own, and no replica: its figures would be those of another pod once more.
    assert read(RAYSERVICE)["spec"]["excludeHeadPodFromServeSvc"] is True
    assert "ports" not in pods_of(read(RAYSERVICE))[0]["containers"][0]
