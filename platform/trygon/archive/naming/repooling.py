"""Events of which people reject some boxes, or name them otherwise: what the other boxes show together without these.

The taxa of `events.parquet` know of no review. What was pooled again stands beside them, with the boxes that it leaves
out: it holds as long as these are the boxes that people speak against. Where they said something else since, the
other boxes are called what the whole event is called.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.dataset import field

from trygon.archive.naming.event_names import under_event_names
from trygon.archive.naming.events import Events
from trygon.archive.naming.namer import Namer
from trygon.archive.naming.observations import name_boxes
from trygon.archive.naming.pooling import Pool
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.reviews import choices, standing
from trygon.schemas import REPOOLED

_NAMES = ["type", "rank", "scientific"]


def spoken_against(named: pa.Table, reviews: pa.Table) -> dict[int, list[int]]:
    """By event, the boxes of which the last word is another than what their event calls them, by ascending id.

    `named` are OBSERVATION rows as their events call them.
    """
    said = standing(reviews)
    choice_N = choices(named, said)
    counts = pc.and_(pc.is_valid(named["detection_id"]), pc.is_null(named["set_aside"]))
    rows = np.flatnonzero((choice_N >= 0) & counts.to_numpy())
    here = named.select(["event_id", "observation_id", *_NAMES]).take(pa.array(rows)).to_pylist()
    words = said.select(_NAMES).take(pa.array(choice_N[rows])).to_pylist()
    found: dict[int, list[int]] = defaultdict(list)
    for row, word in zip(here, words, strict=True):
        if any((row[name] or "") != (word[name] or "") for name in _NAMES):
            found[row["event_id"]].append(row["observation_id"])
    return {event_id: sorted(ids) for event_id, ids in found.items()}


def under_standing_names(
    observations: pa.Table, taxa: pa.ChunkedArray, reviews: pa.Table, repooled: pa.Table
) -> pa.Table:
    """OBSERVATION rows, each called what its event calls it, or what was pooled again without some of its boxes.

    `taxa` is that column of the events; boxes that were left out are called what the whole event is called.
    """
    named = under_event_names(observations, taxa)
    if not repooled.num_rows:
        return named
    against = spoken_against(named, reviews)
    known = repooled.select(["event_id", "left_out"]).to_pylist()
    again = repooled.filter(pa.array([against.get(row["event_id"]) == row["left_out"] for row in known]))
    left_out = again["left_out"].combine_chunks().flatten().to_numpy()
    of_these = np.isin(named["event_id"].to_numpy(), again["event_id"].to_numpy())
    rows = np.flatnonzero(of_these & ~np.isin(named["observation_id"].to_numpy(), left_out))
    renamed = under_event_names(observations.take(pa.array(rows)), again["taxa"])
    place_M = np.arange(named.num_rows)
    place_M[rows] = named.num_rows + np.arange(len(rows))
    return pa.concat_tables([named, renamed]).take(pa.array(place_M))


def repool(
    parts: Parts, observations: Path, events: Events, taxa: pa.ListArray, namer: Namer, reviews: pa.Table
) -> pa.Table:
    """REPOOLED rows of a run whose `observations.parquet` is there already; `taxa` are those of all its events."""
    said = pc.unique(standing(reviews)["observation_ids"].combine_chunks().flatten())
    if not len(said):
        return REPOOLED.empty_table()
    ids = pq.read_table(observations, columns=["observation_id", "event_id"])
    touched = ids.filter(pc.is_in(ids["observation_id"], value_set=said))["event_id"].unique()
    rows = pq.read_table(observations, filters=field("event_id").isin(touched))
    of_touched = pa.chunked_array([taxa.filter(pa.array(np.isin(events.event_ids, touched.to_numpy())))])
    against = spoken_against(under_event_names(rows, of_touched), reviews)
    left_out = np.asarray([one for ids in against.values() for one in ids], np.int64)
    rest = rows.filter(pc.and_(pc.is_valid(rows["detection_id"]), pc.is_null(rows["set_aside"])))
    rest = rest.filter(pa.array(np.isin(rest["event_id"].to_numpy(), np.asarray(list(against), np.int64))))
    rest = rest.filter(pa.array(~np.isin(rest["detection_id"].to_numpy(), left_out)))
    if not rest.num_rows:
        return REPOOLED.empty_table()
    frame_M = events.frames_of(rest["media_id"].to_numpy())
    pool = Pool(namer, events, frame_M)
    wanted, done = rest["detection_id"].to_numpy(), parts.finished()
    numbers = np.unique(done.part[done.find(rest["media_id"].to_numpy())]).tolist()
    for table in parts.detections(numbers=numbers):
        mask = pa.array(np.isin(table["detection_id"].to_numpy(), wanted))
        pool.add(name_boxes(table.filter(mask), events, namer))
    again = np.unique(events.event_F[frame_M])
    event_ids = events.event_ids[again]
    lists = pa.array([against[one] for one in event_ids.tolist()], REPOOLED.field("left_out").type)
    return pa.table([pa.array(event_ids), lists, pool.taxa().take(pa.array(again))], schema=REPOOLED)
