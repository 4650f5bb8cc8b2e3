"""What the parts hold beside what the archive has now: frames that are there, and those that are no longer."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.archive.inputs.listing import Listing
from trygon.archive.run_folder.parts import Parts
from trygon.ids import Ids
from trygon.schemas import LISTED, MEDIA

_LISTED = ("path", "deployment", "bytes", "mark", "member", "sequence")
"""What a listing knows as of now: a part has it as it was."""


def sort_media(parts: Parts, listing: Listing) -> tuple[pa.Table, pa.Table]:
    """MEDIA of the listed frames in the listing's order, and of those that the archive no longer has.

    Deployments, bursts, and times where a list gives them, are those of the listing: no frame is read for them again.
    """
    known = parts.media()
    ids = known["media_id"].to_numpy()
    listed = pa.Table.from_batches(listing.batches(), LISTED)
    wanted = listed["media_id"].to_numpy()
    at = Ids(ids).positions(wanted)
    assert (at >= 0).all(), "every listed file is in a part"
    media = known.take(pa.array(at))
    for name in _LISTED:
        media = media.set_column(MEDIA.names.index(name), MEDIA.field(name), listed[name])
    time = pc.coalesce(listed["timestamp"], media["timestamp"])
    media = media.set_column(MEDIA.names.index("timestamp"), MEDIA.field("timestamp"), time)
    gone = known.filter(pa.array(~np.isin(ids, wanted), pa.bool_()))
    return media, gone.sort_by("path")
