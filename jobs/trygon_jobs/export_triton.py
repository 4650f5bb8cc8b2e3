"""`trygon export-triton`: the model repository of a Triton server that somebody else starts."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from trygon_jobs.config import JobConfig, Ref


class ExportTritonConfig(JobConfig):
    """One model in a repository."""

    model: Ref
    """A model folder, on disk or at an s3:// address, or hf-hub:OWNER/NAME."""
    out: Path
    """The repository. Other models in it stay."""
    encoder: str = "torch"
    """What runs the image encoder: torch, openvino or openvino-int8 in Triton's Python backend, which needs trygon
    there; onnx, or onnx-tensorrt on GPUs, in its ONNX Runtime backend. `trygon export-model` makes all but torch; a
    folder elsewhere as NAME:FOLDER."""
    name: str = Field("", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$", max_length=64)
    """What stands behind image_encoder- and text_encoder-: one for each further model in the same repository."""
    text: bool = True
    """Write the text encoder too, for requests with names of their own. It runs in the Python backend, whatever runs
    the other one."""
    tensorrt_cache: str = Field("/tmp", pattern="^/")
    """With onnx-tensorrt: a folder that is there on the server's machine, for the engines that TensorRT builds."""


def main(config: Annotated[ExportTritonConfig, Parameter(name="*")]) -> None:
    """Write a model's encoders into the model repository of a Triton server of your own."""
    from trygon.models.folder import absolute_ref
    from trygon.models.triton_repository import write_own_repository

    suffix = f"-{config.name}" if config.name else ""
    ref = absolute_ref(config.model)
    write_own_repository(config.out, ref, config.encoder, suffix, config.text, config.tensorrt_cache)
    names = [f"image_encoder{suffix}", *([f"text_encoder{suffix}"] if config.text else [])]
    print(f"{' and '.join(names)} in {config.out}: tritonserver --model-repository={config.out.absolute()}")
