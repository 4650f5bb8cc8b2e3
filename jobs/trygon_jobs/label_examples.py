"""`trygon label --examples`: what was learned from pictures, or from a review, joins the labels of a run."""

import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from trygon.archive.run_folder.examples import find_pictures, gather, is_run, mean_crop
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.sessions import makers
from trygon.errors import UserError
from trygon.labelling.choice import Choice
from trygon.labelling.examples import Examples, with_examples
from trygon.labelling.few_shot import Prototypes
from trygon.lease import Hold
from trygon.models.encoders import find_encoder
from trygon.models.encoders.choice import EncoderChoice
from trygon.models.folder import absolute_ref, describe, model_key
from trygon.storage import join, write_text
from trygon.taxonomy.captions import caption
from trygon.taxonomy.taxon import Taxon
from trygon_jobs.label import LabelConfig


def require_examples(config: LabelConfig) -> None:
    """`UserError` where there are none, before anything is started."""
    for place in config.examples:
        if not is_run(place):
            find_pictures(place)


def read_examples(config: LabelConfig, hold: Hold) -> pa.Table | None:
    """EXAMPLE rows, whose pictures are embedded as those of the run were; None where no examples are given."""

    def tell(num: int) -> None:
        print(f"note: {num} pictures of examples are embedded first", file=sys.stderr)

    if not config.examples:
        return None
    return gather(config.examples, config.out, hold, lambda: _encoder(config), tell)


def _encoder(config: LabelConfig) -> EncoderChoice:
    encoder = find_encoder(config.encoder, describe(absolute_ref(config.model)))
    made_with = {"model": model_key(encoder.tower), "encoder": encoder.identity}
    if any(makers(config.out)[what] != digest for what, digest in made_with.items()):
        raise UserError(
            f"--examples: {config.model} with the encoder {config.encoder} is not what made the vectors of "
            f"{config.from_run or config.out}: bring that model back, or say where it is with --model"
        )
    return encoder


def join_examples(config: LabelConfig, choice: Choice, table: pa.Table, hold: Hold) -> tuple[Choice, Prototypes]:
    """The choice with the examples' taxa, and their prototypes; says and writes what became of each name."""
    bank = choice.whole
    examples = Examples.of(table, bank.tree)
    failed = table.filter(table["failure"].is_valid())
    for note in (*examples.notes, *([f"examples: {failed.num_rows} cannot be read"] if failed.num_rows else [])):
        print(f"note: {note}; see examples.csv in {config.out}", file=sys.stderr)
    hold.check()
    write_text(join(config.out, "examples.csv"), examples.report(Counter(failed["name"].to_pylist())))

    def encode(taxa: Sequence[Taxon]) -> np.ndarray:
        # Not above: PyTorch is needed only where a taxon is in no label.
        from trygon.models.model import load_model

        model = load_model(config.model)
        bank.require_model(model)
        return model.encode_texts([caption(taxon, bank.text_type) for taxon in taxa])

    archive_D = mean_crop(Parts(config.out), bank.vector_ND.shape[1])
    return with_examples(choice, examples, archive_D, encode, config.examples_only)
