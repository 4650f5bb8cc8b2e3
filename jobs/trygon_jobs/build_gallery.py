"""`trygon build-gallery`: reference pictures with their names, credits and vectors, to be shown and searched."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trygon_jobs.config import JobConfig, Place, Ref

if TYPE_CHECKING:
    from trygon.data.sources.source import Source


class BuildGalleryConfig(JobConfig):
    """One gallery."""

    model: Ref
    """A model folder, on disk or at an s3:// address, or hf-hub:OWNER/NAME: the one that is served."""
    out: Place
    """The folder to write. A gallery that stands there is replaced once the new one is whole."""
    pictures: str | None = None
    """Pictures that may be shown: a folder with labels.csv, such a list of its own (NAME.csv), or another source as
    `trygon curate` takes it. Without it, the sample photos that `trygon sample` brings."""
    license: str = ""
    """The licence of pictures of which the table names none. Those without any are left out."""
    author: str = ""
    """The author of pictures of which the table names none."""
    encoder: str = "torch"
    """What makes the vectors, as in `trygon label`: best the one that is served."""


def main(config: Annotated[BuildGalleryConfig, Parameter(name="*")]) -> None:
    """Embed reference pictures and keep small copies of them, as a gallery."""
    from trygon.disk import only_writer, writing_to
    from trygon.gallery.building import Credit, build_gallery, told
    from trygon.gallery.card import PICTURES
    from trygon.models.encoders import find_encoder
    from trygon.models.folder import absolute_ref, describe
    from trygon.storage import join
    from trygon_jobs.progress import counting

    source = _source(config.pictures)
    records = source.records()
    choice = find_encoder(config.encoder, describe(absolute_ref(config.model)))
    credit = Credit(config.license.strip(), config.author.strip())
    bar = counting("build-gallery", total=records.num_rows, unit="pictures")
    with writing_to(config.out), only_writer(config.out) as hold, bar as advance:
        card = build_gallery(config.out, source, records, choice, credit, hold, advance)
    print(f"{card.num_pictures} pictures of {card.num_taxa} taxa in {config.out}")
    if card.num_failed:
        print(f"left out: {told(card.num_failed)}; see `failure` in {join(config.out, card.state, PICTURES)}")


def _source(pictures: str | None) -> "Source":
    from trygon.cache import sample_folder
    from trygon.data.sources.catalog import has_kind, open_source
    from trygon.errors import UserError

    if pictures is None:
        photos = sample_folder() / "photos"
        if not (photos / "labels.csv").is_file():
            raise UserError("there are no sample photos: run `trygon sample`, or give --pictures")
        return open_source(f"folder:{photos}")
    is_list = pictures.lower().endswith(".csv") and not has_kind(pictures)
    return open_source(f"list:{pictures}" if is_list else pictures)
