"""`trygon export-model`: a model's image tower for other runtimes: OpenVINO, in fp32 or INT8, or ONNX's."""

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from trygon_jobs.config import JobConfig, Place, Ref

if TYPE_CHECKING:
    from trygon.models.encoder_folder import EncoderCard


class ExportModelConfig(JobConfig):
    """One encoder."""

    model: Ref
    """A model folder, on disk or at an s3:// address, or hf-hub:OWNER/NAME."""
    encoder: Literal["openvino", "openvino-int8", "onnx"] = "openvino-int8"
    """OpenVINO in fp32, or quantised to INT8, which CPUs run faster than torch; or ONNX in fp32, which Triton runs."""
    pictures: Place | None = None
    """A folder of pictures like those to be labelled: INT8 is fitted to 300 of them, and vectors are compared on
    others. Without it, the sample photos."""
    out: Place | None = None
    """The folder to write; without it encoders/NAME in the model folder, where trygon label looks."""


def main(config: Annotated[ExportModelConfig, Parameter(name="*")]) -> None:
    """Export a model's image encoder, for fast labelling on CPUs or for Triton, beside the model."""
    from trygon.data.picked import pick_pictures
    from trygon.disk import only_writer, writing_to
    from trygon.errors import UserError
    from trygon.mirror import made_here
    from trygon.models.encoder_folder import CARD, encoder_place, read_card
    from trygon.models.folder import absolute_ref, describe
    from trygon.storage import write_json

    tower = describe(absolute_ref(config.model))
    out = config.out or encoder_place(tower.ref, config.encoder)
    if not out:
        raise UserError(f"--model {tower.ref}: nothing can be written beside a model from the hub; give --out FOLDER")
    pictures = pick_pictures(config.pictures)
    with writing_to(out), only_writer(out) as hold:
        card = read_card(out)
        if card and card.made_of(config.encoder, tower, pictures.digest):
            _tell(out, card, " (it stood here already)")
            return
        from trygon.models.encoder_export import write_encoder
        from trygon.models.model import load_described  # torch: not for an encoder that stands

        model = load_described(tower, "cpu")
        with made_here(out, CARD, hold) as folder:
            card = write_encoder(folder, config.encoder, model, pictures)
            write_json(folder / CARD, card.model_dump(mode="json"))
    _tell(out, card)


def _tell(out: str, card: "EncoderCard", note: str = "") -> None:
    print(
        f"{card.encoder} in {out}{note}: its vectors have a cosine of {card.mean_cosine:.4f} with the model's own, "
        f"{card.least_cosine:.4f} at least, on {card.num_compared} pictures that it was not fitted to"
    )
