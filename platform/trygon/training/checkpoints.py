"""The checkpoints of a run in their place, whether they are whole, and Ray Train's own list of them. Knows nothing of
what they hold."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xxhash

from trygon.errors import PermanentError, UserError
from trygon.models.folder import WEIGHTS_NAME
from trygon.storage import (
    below,
    exists,
    join,
    list_files,
    name_of,
    open_input,
    read_bytes,
    read_json,
    remove_tree,
    write_text,
)

RUN = "run"
"""The folder of a run's checkpoints, in `checkpoints` of its model folder."""
STATE, SEAL = "state.pt", "seal.json"
"""What a checkpoint holds: a training state, and what that must be."""
_SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's list: it goes on from what this says."""


class BrokenError(PermanentError):
    """A checkpoint is not what was written."""


def checksum(place: str | Path) -> str:
    """Of the state in a folder, as hex: XXH3, which takes a fifth of SHA-256's time from the steps beside it."""
    with open_input(join(place, STATE)) as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def is_whole(place: str | Path) -> bool:
    """Whether the state in a folder is the one that was written."""
    try:
        sealed = json.loads(read_bytes(join(place, SEAL)))["xxh3_128"]
        return checksum(place) == sealed
    except (OSError, ValueError, KeyError):
        return False


def _snapshot(place: str) -> dict[str, Any] | None:
    listed = join(place, _SNAPSHOT)
    return read_json(listed) if exists(listed) else None


def has_list(place: str) -> bool:
    """Whether there is a list, or what is left of one."""
    return exists(join(place, _SNAPSHOT))


def is_listed(place: str) -> bool:
    """Whether the list can be read. On disk Ray Train writes over the old one: a kill can leave half of it."""
    try:
        return _snapshot(place) is not None
    except UserError:
        return False


def found_checkpoints(place: str) -> list[str]:
    """The folders of all checkpoints that are there, the latest first, whatever the list says."""
    names = {below(place, file).split("/")[0] for file in list_files(place)} - {_SNAPSHOT}
    return [join(place, name) for name in sorted(names, reverse=True)]


def unfinished_run(place: str) -> str | None:
    """The last whole checkpoint of a model folder that holds a run and no model yet; None for any other folder.
    `PermanentError` where a run's checkpoints are all broken."""
    if exists(join(place, WEIGHTS_NAME)) or not (kept := found_checkpoints(join(place, "checkpoints", RUN))):
        return None
    whole = next(filter(is_whole, kept), None)
    if whole is None:
        raise PermanentError(f"--initial.model {place}: none of the checkpoints of this run is whole")
    return whole


def list_alone(folder: str, place: str, leg: int, step: int) -> None:
    """Write the list anew, with one checkpoint on it, as Ray 2.60 does."""
    result = {"version": 0, "checkpoint_dir_name": name_of(folder), "metrics": {"leg": leg, "step": step}}
    snapshot = {
        "ray_version": version("ray"), "checkpoint_results": [result], "checkpoint_report_indices": [0],
        "latest_checkpoint_result": result, "pending_training_results": [], "pending_validation_specs": [],
        "current_report_index": 1, "validated_checkpoint_dir_names": [],
        "timed_out_validation_checkpoint_dir_names": [], "failed_validation_checkpoint_dir_names": [],
    }  # fmt: skip
    write_text(join(place, _SNAPSHOT), json.dumps(snapshot))


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
    for folder in set(found_checkpoints(place)) - set(listed_checkpoints(place)):
        remove_tree(folder)
