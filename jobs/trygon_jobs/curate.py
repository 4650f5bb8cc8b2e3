"""Sources of labelled pictures to shards of samples: cleaned, without copies, split and mixed."""

from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import Field, model_validator

from trygon.data.render import Resize
from trygon.taxonomy.taxon import RANKS
from trygon_jobs.config import JobConfig, Place


class CurateConfig(JobConfig):
    """What is curated, and how."""

    out: Place
    """The folder for the shards."""

    source: tuple[str, ...] = ()
    """Where pictures and their names come from, as KIND:PLACE (inat21, bioscan, eol, treeoflife, webdataset,
    rarespecies, list), or a folder of photos with a labels.csv; may be given several times. Of copies, the picture
    with the deepest name is kept, and of equals that of the source named first. Without it, the sample photos that
    `trygon sample` brings."""

    exclude: tuple[str, ...] = ()
    """A benchmark to keep out, as a source or as a file of taxa (.csv, .tsv, .tab, .txt, .parquet, or a Darwin Core
    archive as .zip): all its species, and copies of its pictures."""

    backbone: Place | None = None
    """A checklist that names are matched to: a Darwin Core archive, EOL's or iNaturalist's taxonomy, or a table.
    What is not found in it keeps its own name."""

    webdataset: bool = False
    """Write the shards in BioCLIP's WebDataset form too."""

    side: int = Field(default=256, ge=32)
    """Pixels of a sample's shorter side; of both with `squash`."""

    resize: Resize = Resize.KEEP
    """`keep` the aspect, smaller pictures as they are; or `squash` to a square, as BioCLIP's shards were made."""

    quality: int = Field(default=90, ge=1, le=95)
    """Of the samples' JPEGs."""

    min_side: int = Field(default=32, ge=1)
    """Pictures with a shorter side below this are left out."""

    copy_bits: int = Field(default=10, ge=-1, le=16)
    """Pictures whose perceptual fingerprints differ in at most this many of 256 bits are copies; -1: only exact."""

    val: float = Field(default=0.05, ge=0, lt=1)
    """Share of the pictures for validation."""

    stratify: bool = False
    """Take that share from each species, and at least one picture of every species that has two."""

    holdout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the clades that training never sees; each is chosen by a hash of its name and the seed."""

    holdout_rank: Literal[RANKS] = "species"  # pyright: ignore[reportInvalidTypeForm]
    """The rank of these clades."""

    holdout_clade: tuple[str, ...] = ()
    """A clade that training never sees, by its name; may be given several times."""

    subset: int = Field(default=0, ge=0)
    """Write this many of the training pictures once more, with all their views, as the split
    `train_small`: 1,000,000 for TreeOfLife-1M."""

    views: int = Field(default=1, ge=1)
    """Above 1: so many random views of each training picture, for a few hundred photos. Cut-outs are pasted."""

    backgrounds: Place | None = None
    """A folder of pictures without organisms that cut-outs are pasted on; without it, the sample's."""

    shard_rows: int = Field(default=2048, ge=1)
    """Most samples in one shard."""

    seed: int = Field(default=0, ge=0)
    """Of the splits and the views."""

    @model_validator(mode="after")
    def _views_are_squares(self) -> "CurateConfig":
        if self.views > 1 and self.resize is not Resize.KEEP:
            raise ValueError("views above 1 are squares already: leave out resize")
        if self.views == 1 and self.backgrounds:
            raise ValueError("backgrounds are for cut-outs in many views: give views above 1")
        return self


def main(config: Annotated[CurateConfig, Parameter(name="*")]) -> None:
    """Make shards of labelled pictures; run again it continues or does nothing."""
    from trygon_jobs.curate_stages import curate

    curate(config)
