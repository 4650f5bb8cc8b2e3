"""The checkpoints of a run in their place, and Ray Train's own list of them. Knows nothing of what they hold."""

import json
from typing import Any

from trygon.storage import exists, join, list_files, read_json, remove_tree, write_text

RUN = "run"
"""The folder of a run's checkpoints, in `checkpoints` of its model folder."""
_SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's list: it goes on from what this says."""


def _snapshot(place: str) -> dict[str, Any] | None:
    listed = join(place, _SNAPSHOT)
    return read_json(listed) if exists(listed) else None


def listed_checkpoints(place: str) -> list[str]:
    """The folders of all checkpoints, the latest first."""
    snapshot = _snapshot(place)
    if not snapshot:
        return []
    order = dict(zip(snapshot["checkpoint_report_indices"], snapshot["checkpoint_results"], strict=True))
    return [join(place, order[index]["checkpoint_dir_name"]) for index in sorted(order, reverse=True)]


def latest_checkpoint(place: str) -> str | None:
    """The folder that training goes on from, if it goes on from one."""
    snapshot = _snapshot(place)
    latest = snapshot and snapshot["latest_checkpoint_result"]
    return join(place, latest["checkpoint_dir_name"]) if latest else None


def saved_step(place: str) -> int:
    """The step that training goes on from; 0 before the first checkpoint."""
    snapshot = _snapshot(place)
    latest = snapshot and snapshot["latest_checkpoint_result"]
    return latest["metrics"]["step"] if latest else 0


def remove_orphans(place: str) -> None:
    """Remove checkpoints that are on no list: a killed run was about to bring them there."""
    snapshot = _snapshot(place)
    known = {kept["checkpoint_dir_name"] for kept in snapshot["checkpoint_results"]} if snapshot else set()
    there = {path.removeprefix(place).strip("/").split("/")[0] for path in list_files(place)} - {_SNAPSHOT}
    for name in there - known:
        remove_tree(join(place, name))


def forget_latest(place: str) -> bool:
    """Strike the latest checkpoint from the list while nothing trains, so that training goes on from the one before
    it; False where there is none before it, and then nothing is changed."""
    snapshot = _snapshot(place)
    if not snapshot or len(snapshot["checkpoint_results"]) < 2:
        return False
    name = snapshot["latest_checkpoint_result"]["checkpoint_dir_name"]
    for key, beside in (("checkpoint_results", "checkpoint_report_indices"),
                        ("pending_training_results", "pending_validation_specs")):  # fmt: skip
        pairs = zip(snapshot[key], snapshot[beside], strict=True)
        kept = [(result, other) for result, other in pairs if result["checkpoint_dir_name"] != name]
        snapshot[key], snapshot[beside] = [result for result, _ in kept], [other for _, other in kept]
    for key in [key for key in snapshot if key.endswith("_checkpoint_dir_names")]:
        snapshot[key] = [other for other in snapshot[key] if other != name]
    order = dict(zip(snapshot["checkpoint_report_indices"], snapshot["checkpoint_results"], strict=True))
    snapshot["latest_checkpoint_result"] = order[max(order)]
    write_text(join(place, _SNAPSHOT), json.dumps(snapshot))
    return True
