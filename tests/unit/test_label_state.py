"""When the tables of a run are written again: state of its files beside the labels."""

import pyarrow as pa

from trygon.archive.inputs.deployments import Deployment, Deployments
from trygon.archive.inputs.listing import Listing
from trygon.schemas import MEDIA
from trygon_jobs.label_run import state_of


def _media(clock: str | None) -> pa.Table:
    return pa.Table.from_pylist([{"media_id": 1, "path": "a/1.jpg", "deployment": "a", "clock": clock}], MEDIA)


def test_tables_follow_what_is_known_of_files_cameras_and_clocks() -> None:
    listing, nothing = Listing("listing.parquet", 1, 0, "digest"), Deployments()
    states = [
        state_of(listing, nothing, 3, _media(None)),
        state_of(listing, nothing, 3, _media("future")),  # until the clock of this machine is set right
        state_of(listing, nothing, 4, _media(None)),
        state_of(listing, Deployments((Deployment("a", 1, 2),)), 3, _media(None)),
        state_of(Listing("listing.parquet", 1, 0, "other"), nothing, 3, _media(None)),
    ]
    assert len(set(states)) == len(states)
    assert state_of(listing, nothing, 3, _media(None)) == states[0]
