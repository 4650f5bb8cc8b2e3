"""Shards to prepared samples with Ray Data: decode or look up, augment, caption, tokenise.

Everything drawn at random comes from (seed, epoch, sample id): a sample looks the same on whichever worker, in
whichever run. Shapes: B samples, S side, L tokens, R = 7 ranks, F the width of the image trunk's features.
"""

import errno
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trygon.cluster.pacing import pace
from trygon.data.augmentation import augment, draw_crop
from trygon.data.images import BadImage, ResizeMode
from trygon.data.mixing import Piece
from trygon.data.plan import Visit
from trygon.data.row_groups import chosen_rows
from trygon.data.shards import open_shard
from trygon.errors import PermanentError, TrygonError
from trygon.taxonomy.captions import PUBLISHED, TextType, caption, with_common
from trygon.taxonomy.clades import clade_keys
from trygon.taxonomy.taxon import RANKS, Taxon

_COLUMNS = ("sample_id", "source", "image", "feature", "broken", *RANKS, "common")
PAIR = {"key": "sample_id", "jpg": "image", "caption": "caption"}
"""Columns of a picture with a text of its own, as img2dataset writes them, and what they are called here."""
_OPEN_SHARDS = 32
READER_CPUS = 0.5
"""What one reader needs, beside the worker that it prepares for."""
_STREAM_VISITS = 4096
"""Visits that one pipeline prepares: the next one takes seconds to start, and each visit is a line of its plan."""
_AGAIN = "give the same command again; training goes on from its last checkpoint"
_PAUSE_S = 0.05
"""Between rounds of the loop; readers have work for longer than this."""
_MAX_CAPTIONS = 50_000


@dataclass(frozen=True)
class Preparation:
    """How a row becomes a training sample. `tokenizer` makes the model's tokenizer, in each process that prepares.
    Features are used in place of pictures where a shard holds them. `sources` are weights, all equal where there are
    none. With the text draw `step` a sample comes with a caption in each text type, in their order."""

    tokenizer: Callable[[], Any]
    side: int
    resize_mode: ResizeMode
    text_types: tuple[TextType, ...]
    seed: int
    crop_scale: tuple[float, float] = (0.9, 1.0)
    crop_ratio: tuple[float, float] = (1.0, 1.0)
    mirror: bool = True
    template: str = PUBLISHED
    text_draw: Literal["sample", "step"] = "sample"
    sources: Mapping[str, float] | None = None


def stream(visits: Iterable[Visit], preparation: Preparation, num_readers: int = 1) -> Iterator[Piece]:
    """What the visits read, in their order, in pieces of whatever size: `image` (B, 3, S, S) uint8 or `feature`
    (B, F), `tokens` (B, L) or, for T text types to choose from, (B, T, L), `clades` (B, R), and `broken` (B,): true
    where the next sample stands in for one whose picture cannot be read. `num_readers` processes prepare.
    Raises `PermanentError` where of a whole row group nothing can be read."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    pace(context, _PAUSE_S)
    # On the worker's own machine: nothing is sent, and no other machine can go and take the readers with it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    for some in _chunks(visits, _STREAM_VISITS):
        rows = [row_of(visit) for visit in some]
        # One block a task; few visits are spread over all readers, of many some go together.
        num_blocks = max(min(len(rows), 64), len(rows) // 4)
        dataset = ray.data.from_items(rows, override_num_blocks=num_blocks).map_batches(
            Preparer,
            fn_constructor_args=(preparation,),
            batch_size=1,
            num_cpus=0,  # what they need is reserved with the worker that they prepare for
            compute=ray.data.ActorPoolStrategy(size=num_readers),
            scheduling_strategy=here,
        )
        yield from cast(Iterator[Piece], dataset.iter_batches(batch_size=None, batch_format="numpy"))


def row_of(visit: Visit) -> dict[str, str | int]:
    """A visit as a row of Ray Data's, which `Preparer` reads."""
    group = visit.row_group
    return {
        "path": group.path, "index": group.index, "epoch": visit.epoch, "first": visit.first, "last": visit.last,
    }  # fmt: skip


def _chunks(visits: Iterable[Visit], size: int) -> Iterator[list[Visit]]:
    remaining = iter(visits)
    while some := list(islice(remaining, size)):
        yield some


class Preparer:
    """Turns visits into arrays; holds the tokenizer, the tokens of captions, and the footers of shards."""

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation
        self.tokenizer = preparation.tokenizer()
        self._tokens: dict[str, np.ndarray] = {}
        self._open = lru_cache(maxsize=_OPEN_SHARDS)(open_shard)
        self._clades = lru_cache(maxsize=_MAX_CAPTIONS)(clade_keys)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        numbers = ("index", "epoch", "first", "last")
        parts = [
            self._visit(str(path), *(int(batch[name][row]) for name in numbers))
            for row, path in enumerate(batch["path"])
        ]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _visit(self, path: str, index: int, epoch: int, first: int, last: int) -> dict[str, np.ndarray]:
        group = self._row_group(path, index)
        if self.preparation.sources:
            row_B = chosen_rows(group, self.preparation.sources)
            turn_B = np.arange(len(row_B)) - np.searchsorted(row_B, row_B)
            group = group.take(row_B).append_column("turn", pa.array(turn_B))
        prepared = self._prepared(group.slice(first, last - first), epoch)
        for row in range(group.num_rows) if prepared is None else ():  # of a few rows, none may be whole
            if (one := self._prepared(group.slice(row, 1), epoch)) is not None:
                prepared = {name: np.repeat(values, last - first, 0) for name, values in one.items()}
                prepared["broken"][:] = True
                break
        if prepared is None:
            raise PermanentError(f"{path}: none of {group.num_rows} pictures of row group {index} can be read")
        return prepared

    def _prepared(self, table: pa.Table, epoch: int) -> dict[str, np.ndarray] | None:
        """The rows as arrays, broken ones stood in for; None where all are broken."""
        draws, columns = _draws(table), table.column_names
        prepared: dict[str, np.ndarray] = {"broken": np.zeros(len(draws), np.bool_)}
        if "caption" in columns:
            texts = [text or "" for text in table["caption"].to_pylist()]
            prepared["tokens"] = self.tokenizer(texts).numpy()
            prepared["clades"] = np.zeros((len(draws), len(RANKS)), np.int64)
        else:
            taxa = _taxa(table)
            prepared["tokens"] = self._texts(taxa, draws, epoch)
            prepared["clades"] = np.asarray([self._clades(taxon.lineage) for taxon in taxa], np.int64)
        if "feature" in columns:
            feature_BF = table["feature"].combine_chunks().flatten().to_numpy()
            prepared["feature"] = feature_BF.astype(np.float32).reshape(len(draws), -1)
            whole = [row for row, is_broken in enumerate(table["broken"].to_pylist()) if not is_broken]
        else:
            prepared["image"], whole = self._images(table["image"], draws, epoch)
        if len(whole) == len(draws):
            return prepared
        if not whole:
            return None
        # All workers take the same number of steps: without a row in its place, a lost one would end training.
        stand_ins = np.asarray([min((w for w in whole if w >= row), default=whole[0]) for row in range(len(draws))])
        return {name: values[stand_ins] for name, values in prepared.items()} | {
            "broken": stand_ins != np.arange(len(draws))
        }

    def _row_group(self, path: str, index: int) -> pa.Table:
        try:
            shard = self._open(path)
            names = set(shard.schema_arrow.names)
            if names.issuperset(PAIR):
                return shard.read_row_group(index, columns=list(PAIR)).select(list(PAIR)).rename_columns(PAIR)
            return shard.read_row_group(index, columns=[name for name in _COLUMNS if name in names])
        except (OSError, pa.ArrowInvalid, IndexError) as error:
            self._open.cache_clear()
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
                raise TrygonError(f"{path} cannot be read now ({reason})") from error
            raise PermanentError(f"{path} cannot be read ({reason}): see that it is whole, and {_AGAIN}") from error

    def _images(self, column: pa.ChunkedArray, draws: Sequence[str], epoch: int) -> tuple[np.ndarray, list[int]]:
        """The augmented pictures, and the rows that are whole."""
        wanted = self.preparation
        image_BCHW, whole = np.zeros((len(draws), 3, wanted.side, wanted.side), np.uint8), []
        for row, (data, draw) in enumerate(zip(column, draws, strict=True)):
            rng = random.Random(f"{wanted.seed}/{epoch}/{draw}/image")
            crop = draw_crop(wanted.crop_scale, wanted.crop_ratio, wanted.mirror, rng)
            try:
                image_BCHW[row] = augment(data.as_py() or b"", wanted.side, wanted.resize_mode, crop)
                whole.append(row)
            except BadImage:
                continue
        return image_BCHW, whole

    def _texts(self, taxa: Sequence[Taxon], draws: Sequence[str], epoch: int) -> np.ndarray:
        """Tokens of one caption per sample (B, L); of one in each text type (B, T, L) where the step will choose."""
        wanted = self.preparation
        if wanted.text_draw == "sample":
            drawn = [(draw_text_type(wanted, epoch, draw),) for draw in draws]
        else:
            drawn = [wanted.text_types] * len(draws)
        texts = [
            [caption(taxon, text_type, wanted.template) for text_type in text_types]
            for taxon, text_types in zip(map(with_common, taxa), drawn, strict=True)
        ]
        if len(self._tokens) > _MAX_CAPTIONS:
            self._tokens.clear()
        new = list({text: None for row in texts for text in row if text not in self._tokens})
        if new:
            self._tokens |= zip(new, self.tokenizer(new).numpy(), strict=True)
        tokens_BTL = np.stack([np.stack([self._tokens[text] for text in row]) for row in texts])
        return tokens_BTL[:, 0] if wanted.text_draw == "sample" else tokens_BTL


def _draws(table: pa.Table) -> list[str]:
    """What the draws for each row go by: its id, and which time it is where a source's samples come several times an
    epoch."""
    ids = table["sample_id"].to_pylist()
    turns = table["turn"].to_pylist() if "turn" in table.column_names else [0] * len(ids)
    return [f"{sample_id}/{turn}" if turn else str(sample_id) for sample_id, turn in zip(ids, turns, strict=True)]


def _taxa(table: pa.Table) -> list[Taxon]:
    rows = table.select([name for name in (*RANKS, "common") if name in table.column_names]).to_pylist()
    return [Taxon.from_row(row) for row in rows]


def draw_text_type(preparation: Preparation, epoch: int, draw: int | str) -> TextType:
    """The text type of a sample in an epoch, by what `_draws` gives of it."""
    return random.Random(f"{preparation.seed}/{epoch}/{draw}/text").choice(preparation.text_types)


def draw_step_text_type(text_types: Sequence[TextType], step: int) -> int:
    """Which of the text types a step takes, on all workers alike: BioCLIP's draw, whose seed is the step alone."""
    return random.Random(step).choice(range(len(text_types)))
