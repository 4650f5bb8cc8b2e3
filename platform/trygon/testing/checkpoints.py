"""A list of checkpoints as Ray Train keeps it, for tests of what goes on from them."""

import json
from pathlib import Path
from typing import Any

from trygon.errors import UserError
from trygon.storage import join
from trygon.training.checkpoints import RUN, saved_step


def noted_step(out: str | Path) -> int:
    """The step of the last checkpoint that a run which goes on meanwhile has noted; 0 before the first, and in the
    moment in which the list is being written."""
    try:
        return saved_step(join(out, "checkpoints", RUN))
    except UserError:
        return 0


def write_listed(place: Path, *steps: int) -> Path:
    """Checkpoints of these steps, which hold nothing yet where they are new, and Ray Train's list of them as Ray 2.60
    writes it. The folder of the last."""
    results: list[dict[str, Any]] = [
        {"version": 0, "checkpoint_dir_name": f"leg-{step:06d}", "metrics": {"leg": step, "step": step}}
        for step in steps
    ]
    for result in results:
        folder = place / result["checkpoint_dir_name"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state.pt").touch()
    names = [result["checkpoint_dir_name"] for result in results]
    snapshot = {
        "ray_version": "2.60.0", "checkpoint_results": results, "checkpoint_report_indices": list(range(len(steps))),
        "latest_checkpoint_result": results[-1], "pending_training_results": results[-1:],
        "pending_validation_specs": [True], "current_report_index": len(steps),
        "validated_checkpoint_dir_names": names[:-1], "timed_out_validation_checkpoint_dir_names": [],
        "failed_validation_checkpoint_dir_names": [],
    }  # fmt: skip
    (place / "checkpoint_manager_snapshot.json").write_text(json.dumps(snapshot))
    return place / names[-1]
