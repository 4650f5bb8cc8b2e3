"""`trygon build-labels`: the text vectors of many taxa, as a LabelBank."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from pydantic import Field

from trygon.taxonomy.captions import TextType
from trygon_jobs.config import JobConfig, Place, Ref

if TYPE_CHECKING:
    from trygon.labelling.bank import LabelBank
    from trygon.models.model import Model
    from trygon.taxonomy.tree import TaxonTree


_SAMPLE_CLADES = ("Mammalia", "Aves")
_SAMPLE_LIMIT = 15_000
_CALIBRATION_PHOTOS = 5000


class BuildLabelsConfig(JobConfig):
    """One LabelBank."""

    model: Ref
    """A model folder, on disk or at an s3:// address, or hf-hub:OWNER/NAME."""
    out: Place
    """The folder to write."""
    taxa: Place | None = None
    """A Parquet or CSV table with the seven ranks and common; without it, the taxonomy of trygon sample."""
    include: Place | None = None
    """A table of taxa that are always in."""
    clade: Annotated[tuple[str, ...], Parameter(negative="--empty-clade")] = ()
    """Take species of these clades, by name or path (Animalia/Aves), the first named first (repeat it). By default all
    of --taxa; mammals and birds of the sample's taxonomy."""
    limit: int | None = Field(None, ge=1)
    """How many species to take, those with a common name first. By default all of --taxa; 15,000 of the sample's."""
    text_type: TextType = TextType.TAXON_COM
    """What a caption says of a taxon."""
    calibrate: Place | None = None
    """Shards whose `val` photos tell how sure the model may be; without them the model's own logit scale is kept."""


def main(config: Annotated[BuildLabelsConfig, Parameter(name="*")]) -> None:
    """Encode the names of taxa once, as a LabelBank."""
    from trygon.disk import only_writer, writing_to
    from trygon.labelling.bank import CARD, LabelBank
    from trygon.mirror import made_here
    from trygon.models.folder import describe
    from trygon.storage import join, remove_tree, write_json
    from trygon_jobs.progress import counting

    tower = describe(config.model)
    tree = _choose(config)
    photos = _calibration_digest(config)
    chunks = join(config.out, ".chunks")
    with writing_to(config.out), only_writer(config.out) as hold:
        if LabelBank.stands(config.out, tree, tower, config.text_type, photos):
            print(f"{len(tree)} taxa stand in {config.out} already")
            return
        from trygon.models.model import load_model  # torch: not for a bank that stands

        model = load_model(config.model)
        with counting("build-labels", total=len(tree), unit="taxa") as advance:
            bank = LabelBank.build(tree, model, config.text_type, advance, scratch=chunks)
        bank = _calibrated(config, bank, model, photos)
        with made_here(config.out, CARD, hold) as folder:
            write_json(folder / "config.json", config.model_dump(mode="json"))
            bank.save(folder)
        remove_tree(chunks)
    print(f"{len(bank.tree)} taxa of {len(bank.tree.clade_starts[4])} families in {config.out}")


def _choose(config: BuildLabelsConfig) -> "TaxonTree":
    from trygon.cache import sample_folder
    from trygon.errors import UserError
    from trygon.labelling.selection import choose_species, clade_notes
    from trygon.taxonomy.tables import read_taxa
    from trygon_jobs.taxa import read_clean

    path = config.taxa or sample_folder() / "taxa" / "inat.parquet"
    if config.taxa is None and not Path(path).is_file():
        raise UserError("there is no taxonomy: run `trygon sample`, or give --taxa TABLE")
    taxa = read_clean(config.taxa) if config.taxa else read_taxa(path)
    include = read_clean(config.include) if config.include else None
    clades = config.clade or (() if config.taxa else _SAMPLE_CLADES)
    limit = config.limit or (taxa.num_rows if config.taxa else _SAMPLE_LIMIT)
    for note in clade_notes(taxa, clades):
        print(f"note: {note}", file=sys.stderr)
    return choose_species(taxa, clades, limit, include)


def _calibration_digest(config: BuildLabelsConfig) -> str:
    from trygon.data.shards import identify_shards
    from trygon.errors import UserError
    from trygon.storage import digest_texts

    if config.calibrate is None:
        return ""
    shards = identify_shards(config.calibrate, "val")
    if not shards:
        raise UserError(f"--calibrate {config.calibrate} holds no val shards; see `trygon curate`")
    return digest_texts(shards.values())


def _calibrated(config: BuildLabelsConfig, bank: "LabelBank", model: "Model", photos: str) -> "LabelBank":
    from dataclasses import replace

    from trygon.evaluation.zero_shot import task_of
    from trygon.labelling.calibration import calibrate

    if config.calibrate is None:
        return bank
    seen = task_of("seen", config.calibrate, "val", _CALIBRATION_PHOTOS)
    scale, count = calibrate(bank, model, seen)
    if count:
        print(f"logit scale {bank.logit_scale:.1f}, calibrated to {scale:.1f} on {count} photos")
    else:
        print("no photo of the val shards shows a taxon of these labels: the model's own logit scale is kept")
    return replace(bank, logit_scale=scale, calibration=photos)
