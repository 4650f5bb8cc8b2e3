"""LabelBank: text vectors of the taxa of one TaxonTree under one model, in a folder, memory-mapped."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from trygon.errors import UserError
from trygon.mirror import local_folder
from trygon.models.folder import Identified, model_key
from trygon.storage import digest_texts, exists, join, read_bytes, read_json, write_bytes, write_json
from trygon.taxonomy.captions import TextType, caption
from trygon.taxonomy.clade_names import clade_slices
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree

if TYPE_CHECKING:
    from trygon.models.model import Model

_VECTORS, _TAXA = "vectors.npy", "taxa.parquet"
CARD = "bank.json"
"""The file that comes last."""

_TOLERANCE = 0.05


@dataclass(frozen=True)
class LabelBank:
    """`vector_ND` (N, D) float32, unit length, in the tree's order, with the digest of the model that made them.

    They are stored as products take them, the first number of all taxa and then the second: processes that open one
    bank share its pages, none has a copy, and a clade is a part of them.
    """

    tree: TaxonTree
    vector_ND: np.ndarray
    logit_scale: float
    model: str
    model_digest: str
    text_type: TextType
    calibration: str = ""
    """The digest of the photos given to fit `logit_scale` to; blank where none were."""

    @classmethod
    def build(
        cls,
        tree: TaxonTree,
        model: "Model",
        text_type: TextType,
        progress: Callable[[int], None] = lambda num_done: None,
        chunk: int = 1024,
        scratch: str | Path | None = None,
    ) -> "LabelBank":
        """Encode one caption a taxon. `progress` is told how many more are done.

        With `scratch`, a folder, finished chunks are kept there: the same call after a crash goes on behind them.
        """
        key = digest_texts([tree.digest, model.digest, model.ref, str(text_type), str(chunk)])[:16]
        vector_ND = np.empty((len(tree), model.dim), np.float32, "F")
        for start in range(0, len(tree), chunk):
            kept = join(scratch, f"{key}-{start:08d}.npy") if scratch else None
            taxa = tree.taxa[start : start + chunk]
            rows = vector_ND[start : start + len(taxa)]
            if kept and exists(kept):
                rows[:] = np.load(io.BytesIO(read_bytes(kept)), allow_pickle=False)
            else:
                rows[:] = model.encode_texts([caption(it, text_type) for it in taxa])
                if kept:
                    _keep(kept, rows)
            progress(len(taxa))
        return cls(tree, vector_ND, model.logit_scale, model.ref, model.digest, text_type)

    def save(self, folder: Path) -> None:
        """Write the bank; its card comes last, so that a folder with a card is whole."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CARD).unlink(missing_ok=True)
        # In a file of its own, which then takes the name: a server may have the former vectors in its memory by map.
        vector_ND = np.asfortranarray(self.vector_ND, np.float32)
        np.save(folder / f".{_VECTORS}", vector_ND)
        (folder / f".{_VECTORS}").replace(folder / _VECTORS)
        self.tree.save(folder / _TAXA)
        card = {
            "model": self.model,
            "model_digest": self.model_digest,
            "taxa_digest": self.tree.digest,
            "vectors_digest": hashlib.sha256(vector_ND.T.data).hexdigest(),
            "text_type": str(self.text_type),
            "num_taxa": len(self.tree),
            "dim": self.vector_ND.shape[1],
            "logit_scale": self.logit_scale,
            "calibration": self.calibration,
        }
        write_json(folder / CARD, card)

    @staticmethod
    def stands(
        place: str | Path, tree: TaxonTree, model: Identified, text_type: TextType, calibration: str = ""
    ) -> bool:
        """Whether there is what `build` would make of these, calibrated on the same photos. Reads its card alone."""
        if not exists(join(place, CARD)):
            return False
        card = _read_card(place, join(place, CARD))
        made_of = (card["taxa_digest"], card["model_digest"] or card["model"], card["text_type"], card["calibration"])
        return made_of == (tree.digest, model_key(model), text_type, calibration)

    @classmethod
    def load(cls, place: str | Path, verify: bool = False) -> "LabelBank":
        """Open a bank without reading its vectors; from S3 it is fetched. `UserError` where it is missing,
        half-written or mixed up.

        With `verify` all vectors are read, and have to be those that were written: a million of them take seconds.
        """
        folder = local_folder(place)
        if not exists(folder / CARD):
            raise UserError(f"{place} is not a finished LabelBank; make one with `trygon build-labels`")
        card = _read_card(place, folder / CARD)
        tree = TaxonTree.load(folder / _TAXA)
        if tree.digest != card["taxa_digest"]:
            raise UserError(f"the taxa in {place} are not those of its vectors; remove it and build the labels again")
        vector_ND = _opened(place, folder / _VECTORS)
        if vector_ND.shape != (len(tree), card["dim"]) or vector_ND.dtype != np.float32:
            raise UserError(f"the vectors in {place} are incomplete; remove it and build the labels again")
        if verify:
            _require_sound(place, tree, vector_ND, card["vectors_digest"])
        text_type = TextType(card["text_type"])
        scale, calibration = card["logit_scale"], card["calibration"]
        return cls(tree, vector_ND, scale, card["model"], card["model_digest"], text_type, calibration)

    @property
    def dim(self) -> int:
        """The width of the vectors."""
        return self.vector_ND.shape[1]

    def products(self, vector_BD: np.ndarray) -> np.ndarray:
        """Of vectors with those of all taxa: (B, N)."""
        return vector_BD @ self.vector_ND.T

    @property
    def model_key(self) -> str:
        """The key of the model that made the vectors."""
        return self.model_digest or self.model

    def require_model(self, model: Identified) -> None:
        """`UserError` unless this bank was made with that model."""
        if self.model_key == model_key(model):
            return
        if self.model == model.ref and self.model_digest:
            raise UserError(
                f"the weights in {model.ref} are not those that the labels were built with: they were damaged or "
                "replaced since; bring the former ones back, or build the labels again"
            )
        raise UserError(f"the labels were built with {self.model}, not with {model.ref}; build them again with it")

    def within(self, clades: Sequence[str]) -> "LabelBank":
        """The bank of the taxa in any of the clades, by their names or paths; all of it where none is named."""
        if not clades:
            return self
        found = {clade: clade_slices(self.tree, clade) for clade in clades}
        for clade, slices in found.items():
            if not slices:
                raise UserError(f"--clade {clade}: the labels hold no clade of that name")
        rows = [np.arange(it.start, it.stop) for slices in found.values() for it in slices]
        chosen = np.unique(np.concatenate(rows))
        return self if len(chosen) == len(self.tree) else self.select(chosen)

    def select(self, positions: np.ndarray | Sequence[int]) -> "LabelBank":
        """The bank of some of the taxa, in tree order. Where they follow one another, as in a clade, it shares the
        vectors of this one."""
        rows = np.unique(np.asarray(positions))
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
            vector_MD = self.vector_ND[rows[0] : rows[-1] + 1]
        else:
            vector_MD = self.vector_ND.T.take(rows, axis=1).T
        return replace(self, tree=self.tree.select(rows), vector_ND=vector_MD)

    def part(self, slices: Sequence[slice]) -> "LabelPart":
        """Stretches of the taxa, in tree order and apart from one another, to multiply with."""
        views = tuple(self.vector_ND[it] for it in slices)
        return LabelPart(self.tree.part(slices), views, self.dim, self.logit_scale)

    def with_taxa(self, taxa: Sequence[Taxon], vector_MD: np.ndarray) -> "LabelBank":
        """The bank with more taxa, none of which it holds yet, and their vectors."""
        if not taxa:
            return self
        more = TaxonTree.from_taxa(taxa)
        tree = TaxonTree.from_table(pa.concat_tables([self.tree.table, more.table]))
        at_M = tree.locate(taxa)
        vector_ND = np.empty((len(tree), self.vector_ND.shape[1]), np.float32, "F")
        vector_ND[np.setdiff1d(np.arange(len(tree)), at_M)] = self.vector_ND
        vector_ND[at_M] = vector_MD
        return replace(self, tree=tree, vector_ND=vector_ND)


@dataclass(frozen=True)
class LabelPart:
    """Some taxa of a LabelBank, with views of its vectors: of the clades that one request asks for there is no copy,
    be it nearly all taxa."""

    tree: TaxonTree
    views: Sequence[np.ndarray]
    """Their vectors (n, D), in tree order; none where the products come from elsewhere."""
    dim: int
    logit_scale: float

    def products(self, vector_BD: np.ndarray) -> np.ndarray:
        """Of vectors with those of all these taxa: (B, N)."""
        return np.concatenate([vector_BD @ view_ND.T for view_ND in self.views], axis=1)


def _read_card(place: str | Path, card_place: str | Path) -> dict[str, Any]:
    card = read_json(card_place)
    if "vectors_digest" not in card:
        raise UserError(f"{place} was made by another version; remove it and build the labels again")
    return card


def _opened(place: str | Path, path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError, FileNotFoundError) as error:  # cut off, within the header or behind it, or gone
        message = f"the vectors in {place} are incomplete ({error}); remove it and build the labels again"
        raise UserError(message) from error


def _require_sound(place: str | Path, tree: TaxonTree, vector_ND: np.ndarray, digest: str) -> None:
    """`UserError` where a vector is not of unit length, or any is another than was written, as after a fault of the
    disk or where files of two banks were mixed."""
    found, squared_N = hashlib.sha256(), np.zeros(len(tree), np.float32)
    for number_N in vector_ND.T:  # as they lie on the disk
        found.update(np.ascontiguousarray(number_N).data)
        squared_N += number_N * number_N
    is_unit_N = np.abs(np.sqrt(squared_N) - 1) < _TOLERANCE
    if not is_unit_N.all():
        first = tree.taxon(int(np.argmin(is_unit_N)))
        raise UserError(
            f"the vectors in {place} are damaged, the first of them that of {first.scientific}; "
            "remove it and build the labels again"
        )
    if found.hexdigest() != digest:
        raise UserError(
            f"the vectors in {place} are not those that were written there; remove it and build the labels again"
        )


def _keep(place: str, vector_ND: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, vector_ND)
    write_bytes(place, buffer.getvalue())
