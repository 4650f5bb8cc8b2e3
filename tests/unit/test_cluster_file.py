"""`ray_cluster.yaml` passes the launcher's checks, and what its commands name is there for all nodes."""

import re
import subprocess
from functools import partial
from pathlib import Path

import pytest
from manifests import CLUSTER, ROOT, paths_of, read


def _submitted(path: Path) -> list[str]:
    """The `trygon submit …` commands of a file, in its text or in its comments."""
    return re.findall(r"^(?:# +)?(trygon submit .*)$", path.read_text(), re.MULTILINE)


def test_cluster_file_passes_the_launchers_own_checks() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(read(CLUSTER))
    validate_config(config)
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    for name in ("cpu", "gpu"):
        assert types[name]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


@pytest.mark.parametrize(("wanted", "bought"), [({"CPU": 1}, "cpu"), ({"CPU": 1, "GPU": 1}, "gpu")])
def test_gpus_are_bought_for_what_asks_for_them(wanted: dict[str, float], bought: str) -> None:
    from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
    from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for

    types = read(CLUSTER)["available_node_types"]
    score = partial(_default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({}))
    nodes, _ = get_nodes_for(types, {}, "head", 8, [wanted] * 20, score)  # pyright: ignore[reportArgumentType]
    assert set(nodes) == {bought}


def test_node_waits_for_the_lock_of_apt_and_installs_only_what_is_missing(tmp_path: Path) -> None:
    """With an apt that is refused twice before it brings the program."""
    (command,) = [it for it in read(CLUSTER)["initialization_commands"] if "apt-get" in it]
    sudo = """
    echo $2 >> calls
    [ $(wc -l < calls) -gt 2 ] || exit 100
    [ $2 = update ] || { touch mount.nfs4; chmod +x mount.nfs4; }
    """
    for name, text in {"sudo": sudo, "sleep": ""}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    for _ in range(2):
        path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        subprocess.run(["bash", "-c", command], cwd=tmp_path, env=path, check=True, timeout=30)
    assert (tmp_path / "calls").read_text().split() == ["update", "update", "update", "install"]


def test_cluster_is_not_open_to_the_network() -> None:
    config = read(CLUSTER)
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
        paths = paths_of(command)
        assert paths
        assert all(path.is_relative_to("/mnt/shared") for path in paths), command


def test_every_node_of_the_cluster_mounts_the_shared_folder_with_the_sample_data() -> None:
    config = read(CLUSTER)
    options = config["docker"]["run_options"]
    assert "-v /mnt/shared:/mnt/shared" in options
    (mount,) = [command for command in config["initialization_commands"] if "mount -t" in command]
    assert mount.endswith(" /mnt/shared")
    (cache,) = [option.split("=")[1] for option in options if "TRYGON_CACHE=" in option]
    assert Path(cache).is_relative_to("/mnt/shared")
    assert f"TRYGON_CACHE={cache} trygon sample" in (ROOT / "docs/clusters.md").read_text()


def test_cluster_says_what_has_to_be_filled_in_and_gives_no_node_more_rights_than_it_needs() -> None:
    """Without an image of its own a node gets one that is older than its GPU; without a profile, all of EC2 and S3."""
    text, types = CLUSTER.read_text(), read(CLUSTER)["available_node_types"]
    nodes = {name: node["node_config"] for name, node in types.items()}
    assert {node["ImageId"] for node in nodes.values()} == {"ami-FILL-IN"}
    profiles = {name: node["IamInstanceProfile"]["Name"] for name, node in nodes.items()}
    assert profiles == {"head": "trygon-head", "cpu": "trygon-worker", "gpu": "trygon-worker"}
    header = text.partition("\ncluster_name")[0]
    group = f"ray-autoscaler-{read(CLUSTER)['cluster_name']}"
    assert all(word in header for word in ("ami-FILL-IN", "OWNER", "FILESYSTEM", *profiles.values(), group, "2049"))
