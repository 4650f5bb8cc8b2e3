"""A synthetic tree of life in the formats of the real sources, of any size. Ray Data spreads the drawing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from pydantic import Field

from trygon.data.synthetic.recipe import MIN_SPECIES, Recipe, SourceKind
from trygon.errors import UserError
from trygon_jobs.config import JobConfig, Place

if TYPE_CHECKING:
    from trygon.data.synthetic.parts import Part
    from trygon.disk import Hold


class SynthesizeConfig(JobConfig):
    """What is made, and how much of it."""

    out: Place
    """The folder, or the s3:// address, for the sources; each stands in a folder of its own name (the source
    `folder` in photos/), beside truth.parquet and truth.json, which say what was made."""

    images: int = Field(default=10_000, ge=100)
    """Pictures of all sources together. They spread over the sources as in TreeOfLife-10M."""

    species: int | None = Field(default=None, ge=MIN_SPECIES)
    """Species in the tree; without it, one for 22 pictures, as in TreeOfLife-10M."""

    sources: Annotated[tuple[SourceKind, ...], Parameter(consume_multiple=True, negative="")] = Field(
        default=(SourceKind.INAT21, SourceKind.BIOSCAN, SourceKind.EOL, SourceKind.RARESPECIES), min_length=1
    )
    """The sources to make. `folder` is a small clean folder of photos with a labels.csv."""

    part_images: int = Field(default=1000, ge=1)
    """Pictures in one part of the work, which is also the size of EOL's image sets."""

    seed: int = Field(default=0, ge=0)
    """Of everything: the tree, the looks and the pictures. The same seed is the same data set."""


def main(config: Annotated[SynthesizeConfig, Parameter(name="*")]) -> None:
    """Make sources like iNat21, BIOSCAN-1M, EOL and Rare Species, of drawn organisms; run again it continues."""
    from trygon.data.synthetic.parts import plan, unfinished
    from trygon.disk import only_writer, writing_to
    from trygon.storage import absolute, join, write_json

    recipe = Recipe(config.images, tuple(dict.fromkeys(config.sources)), config.species or 0, config.seed)
    with writing_to(config.out), only_writer(config.out) as hold:
        _claim(config)
        parts = plan(recipe, absolute(config.out), config.part_images)
        missing = unfinished(parts)
        if missing:
            _make(missing, sum(part.num_pictures for part in parts), hold)
        write_json(join(config.out, "config.json"), config.model_dump(mode="json"))
    told = f"{config.images} pictures of {recipe.num_species} species" if missing else "was complete"
    print(f"synthetic tree of life: {config.out} ({told})")


def _claim(config: SynthesizeConfig) -> None:
    """Take the output for this config; refuse what holds another one."""
    from trygon.storage import exists, join, list_files, read_json, write_json

    identity, plan = config.model_dump(mode="json", exclude={"out"}), join(config.out, "plan.json")
    if exists(plan):
        previous = read_json(plan)
        changed = [key for key in identity if previous.get(key) != identity[key]]
        if changed:
            raise UserError(
                f"{config.out} holds another synthetic tree of life ({changed[0]}: {previous.get(changed[0])}, "
                f"now {identity[changed[0]]}): give another folder, or remove it"
            )
        return
    if list_files(config.out):
        told = "holds files of something else, which may be replaced: give another folder"
        raise UserError(f"{config.out} {told}")
    write_json(plan, identity)


def _make(parts: "Sequence[Part]", total: int, hold: "Hold") -> None:
    """Make the parts that are missing, each as a task; the long ones are spread over all workers."""
    import ray

    from trygon.cluster.local import start_ray
    from trygon.data.synthetic.parts import write_part
    from trygon_jobs.progress import counting

    start_ray()

    def make(row: dict[str, Any]) -> dict[str, Any]:
        return {"pictures": write_part(parts[row["item"]])}

    done = total - sum(part.num_pictures for part in parts)
    dataset = ray.data.from_items(list(range(len(parts))), override_num_blocks=len(parts)).map(make)
    with counting("draw pictures", total, done, "pictures") as advance:
        for row in dataset.iter_rows():
            hold.check()
            advance(row["pictures"])
