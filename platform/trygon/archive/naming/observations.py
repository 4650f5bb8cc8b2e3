"""Stored vectors to observations. Reads no picture: the same detections can be named again with other labels."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from trygon.archive.naming.boxes import Boxes
from trygon.archive.naming.events import Events
from trygon.archive.naming.namer import Named, Namer, vectors_of
from trygon.archive.naming.pooling import Pool
from trygon.labelling.columns import TaxonTexts, keeps_name, reason_texts, type_texts
from trygon.labelling.decisions import BLANK, DETECTOR
from trygon.schemas import OBSERVATION

REPEATED, NOTHING_SEEN = "repeated", "blank"
"""Why an observation is set aside."""

_ROWS = 8192
"""Vectors that are taken from parts together."""

_THREADS = 2
"""That name vectors, beside the one that pools them: each holds the probabilities of a chunk."""


def observe(
    detections: Iterable[pa.Table], events: Events, namer: Namer, repeated: np.ndarray, pool: Pool
) -> Iterator[pa.Table]:
    """OBSERVATION rows of tables of DETECTION: one a detection, and one a frame without any that counts; none for a
    file that could not be read. The rest of the boxes goes to `pool`; `repeated` are the ids of detections that are
    set aside."""
    texts = TaxonTexts(namer.classifier.bank.tree)
    shown_F = np.zeros(len(events.media_F), bool)
    for named in _ahead(lambda table: name_boxes(table, events, namer), _gathered(detections)):
        repeated_M = np.isin(named.boxes.detection_M, repeated)
        shown_F[named.boxes.frame_M[~repeated_M & (named.type_M != BLANK)]] = True
        yield _table(named, repeated_M, events, texts)
        pool.add(named.take(np.flatnonzero(~repeated_M)))
    yield _blanks(np.flatnonzero(~shown_F), events)


def name_boxes(table: pa.Table, events: Events, namer: Namer) -> Named:
    """The rows of DETECTION in frames that count, named."""
    boxes, rows = Boxes.of(table, events)
    column = table["vector"].combine_chunks()
    column = column if len(rows) == len(column) else column.take(pa.array(rows))
    return namer.name(boxes, vectors_of(column, namer.classifier.bank.dim))


def _ahead(call: Callable[[pa.Table], Named], tables: Iterable[pa.Table]) -> Iterator[Named]:
    """What the call makes of each, in order; some are made by other threads while the last one is used."""
    with ThreadPoolExecutor(_THREADS) as threads:
        waiting = deque[Future[Named]]()
        for number, table in enumerate(tables):
            waiting.append(threads.submit(call, table))
            if number == 0:
                waiting[0].result()  # what all share is made with it
            if len(waiting) > _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of small tables in larger ones, whose columns are of one piece each."""
    waiting, count = [], 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        if count >= _ROWS:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting, count = [], 0
    if count:
        yield pa.concat_tables(waiting).combine_chunks()


def _table(named: Named, repeated_M: np.ndarray, events: Events, texts: TaxonTexts) -> pa.Table:
    names, keeps_M = named.names, keeps_name(named.type_M)
    rank_M = np.where(keeps_M, names.rank_B, -1)
    at_M = np.maximum(rank_M, 0)[:, None]
    clade_M, probability_M = (
        np.take_along_axis(column, at_M, axis=1)[:, 0] for column in (names.clade_BR, names.probability_BR)
    )
    aside = np.where(repeated_M, 0, np.where(named.type_M == BLANK, 1, 2))
    columns = texts.clades(rank_M, clade_M) | {
        # A detection's observation has its id, whatever the labels: made of the picture and the box.
        "observation_id": pa.array(named.boxes.detection_M),
        "media_id": pa.array(events.media_F[named.boxes.frame_M]),
        "detection_id": pa.array(named.boxes.detection_M),
        "frame_number": pa.array(named.boxes.picture_M, mask=named.boxes.picture_M < 0),
        "event_id": pa.array(events.event_ids[events.event_F[named.boxes.frame_M]]),
        "type": type_texts(named.type_M),
        "probability": pa.array(probability_M, mask=rank_M < 0),
        "rank_probabilities": _lists(pa.array(names.probability_BR.reshape(-1)), names.probability_BR, keeps_M),
        "top_scientific": _lists(texts.taxa(names.top_BK.reshape(-1)), names.top_BK, keeps_M),
        "top_probability": _lists(pa.array(names.top_probability_BK.reshape(-1)), names.top_BK, keeps_M),
        "decided_by": reason_texts(named.decided_M),
        "set_aside": pa.array([REPEATED, NOTHING_SEEN, None]).take(pa.array(aside)),
    }
    return pa.table([columns[field.name].cast(field.type) for field in OBSERVATION], schema=OBSERVATION)


def _blanks(frames: np.ndarray, events: Events) -> pa.Table:
    media = pa.array(events.media_F[frames], pa.int64())
    known = {
        "observation_id": pa.array(events.blank_F[frames], pa.int64()),
        "media_id": media,
        "event_id": pa.array(events.event_ids[events.event_F[frames]], pa.int64()),
        "type": type_texts(np.full(len(frames), BLANK)),
        "decided_by": reason_texts(np.full(len(frames), DETECTOR)),
    }
    columns = [known.get(it.name, pa.nulls(len(frames), it.type)) for it in OBSERVATION]
    return pa.table(columns, schema=OBSERVATION)


def _lists(values: pa.Array, shape_MK: np.ndarray, present_M: np.ndarray) -> pa.Array:
    """A list a row, null where the row has none; `values` are those of all rows."""
    offsets = np.arange(len(shape_MK) + 1, dtype=np.int32) * shape_MK.shape[1]
    return pa.ListArray.from_arrays(offsets, values, mask=pa.array(~present_M))
