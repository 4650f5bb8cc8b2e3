"""What events call the boxes in them: a box alone may say something else than all that shows the animal together."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trygon.schemas import NAME_COLUMNS

_TOLD = (*NAME_COLUMNS, "probability", "decided_by")


def under_event_names(observations: pa.Table, taxa: pa.ChunkedArray) -> pa.Table:
    """OBSERVATION rows, each called what its event calls it; `taxa` is that column of their events.

    A box that counts and shows none of the taxa is blank: so are all boxes of its animal together. Blank frames and
    what is set aside stay as they are.
    """
    rows = taxa.combine_chunks().flatten()
    ids = pc.struct_field(rows, "observation_ids")
    of_taxon = pa.array(np.repeat(np.arange(len(rows)), pc.list_value_length(ids).to_numpy(zero_copy_only=False)))
    counts = pc.and_(pc.is_valid(observations["detection_id"]), pc.is_null(observations["set_aside"]))
    shown = pc.index_in(observations["observation_id"].combine_chunks(), value_set=ids.flatten())
    at = of_taxon.take(pc.if_else(counts, shown, pa.scalar(None, pa.int32())))
    blank = {"type": "blank", "decided_by": "classifier"}
    columns = {name: observations[name] for name in observations.column_names}
    for name in _TOLD:
        nothing = pa.scalar(blank.get(name), observations.schema.field(name).type)
        alone = pc.if_else(counts, nothing, observations[name])
        columns[name] = pc.if_else(pc.is_valid(at), pc.struct_field(rows, name).take(at), alone)
    return pa.table(columns, schema=observations.schema)
