"""The configurations of the encoders in Triton, as protobuf: what goes in and out, how Triton batches, what runs it.

What a client must know of the model stands in the parameters. Pictures travel as uint8 pixels of the model's side,
captions as bytes of UTF-8 filled up with zeros: normalisation and tokens are the model's. Triton's own strings cannot
be read with numpy 2.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from trygon.mirror import local_folder
from trygon.models.encoders.choice import EncoderChoice
from trygon.models.folder import ImageTower, folder_of

ENCODER, TEXT_ENCODER = "image_encoder", "text_encoder"
INPUT, TEXT_INPUT, OUTPUT = "image", "text", "vector"
MAX_BATCH = 32
MAX_TEXT_BYTES = 1024

_MAX_QUEUED = 256


def image_encoder(tower: ImageTower, python_path: Sequence[Path], encoder: EncoderChoice) -> pb.ModelConfig:  # pyright: ignore[reportAttributeAccessIssue]
    """The image encoder in the Python backend."""
    config = _image_encoder("python", tower, encoder.identity)
    place = str(local_folder(encoder.place).absolute()) if encoder.place else ""
    _tell_program(config, tower, python_path, place)
    return config


def onnx_image_encoder(tower: ImageTower, encoder: EncoderChoice, tensorrt_cache: str) -> pb.ModelConfig:  # pyright: ignore[reportAttributeAccessIssue]
    """The image encoder in the ONNX Runtime backend, on a GPU where there is one.

    With a folder for its engines, a path on the server's machine, TensorRT runs the graph in fp16, on a GPU only.
    """
    config = _image_encoder("onnxruntime", tower, encoder.identity)
    if tensorrt_cache:
        # Its vectors are others than those of the graph itself.
        _add(config, encoder=encoder.identity.replace("onnx", "onnx-tensorrt", 1))
        (group,) = config.instance_group
        group.kind = pb.ModelInstanceGroup.KIND_GPU  # pyright: ignore[reportAttributeAccessIssue]
        accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
        accelerator.parameters["precision_mode"] = "FP16"
        accelerator.parameters["trt_engine_cache_enable"] = "1"
        # An engine holds the weights, and is found again by the shape of its graph alone: each model has a folder.
        folder = f"trygon-tensorrt-{encoder.identity.rpartition(':')[2][:16]}"
        accelerator.parameters["trt_engine_cache_path"] = os.path.join(tensorrt_cache, folder)
    return config


def text_encoder(tower: ImageTower, python_path: Sequence[Path]) -> pb.ModelConfig:  # pyright: ignore[reportAttributeAccessIssue]
    """The same model's text encoder, which takes what `text_array` makes, in the Python backend."""
    config = _config(TEXT_ENCODER, "python", TEXT_INPUT, [MAX_TEXT_BYTES], tower, "torch")
    _tell_program(config, tower, python_path, encoder_place="")
    return config


def add_warm_up(config: pb.ModelConfig) -> None:  # pyright: ignore[reportAttributeAccessIssue]
    """Have Triton encode the smallest and the largest batch before it says that the encoder is ready."""
    (entry,) = config.input
    for size in (1, config.max_batch_size):
        sample = config.model_warmup.add(name=f"a batch of {size}", batch_size=size, count=1)
        tensor = sample.inputs[entry.name]
        tensor.data_type = entry.data_type
        tensor.dims.extend(entry.dims)
        tensor.zero_data = True


def text_array(texts: Sequence[str]) -> np.ndarray:
    """Texts as the text encoder takes them: (B, MAX_TEXT_BYTES) uint8. What is longer is cut."""
    byte_BL = np.zeros((len(texts), MAX_TEXT_BYTES), np.uint8)
    for row, text in zip(byte_BL, texts, strict=True):
        data = text.encode(errors="replace")[:MAX_TEXT_BYTES]
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return byte_BL


def _image_encoder(backend: str, tower: ImageTower, encoder: str) -> pb.ModelConfig:  # pyright: ignore[reportAttributeAccessIssue]
    return _config(ENCODER, backend, INPUT, [3, tower.side, tower.side], tower, encoder)


def _config(
    name: str, backend: str, input_name: str, dims: Sequence[int], tower: ImageTower, encoder: str
) -> pb.ModelConfig:  # pyright: ignore[reportAttributeAccessIssue]
    config = pb.ModelConfig(name=name, backend=backend, max_batch_size=MAX_BATCH)  # pyright: ignore[reportAttributeAccessIssue]
    config.input.add(name=input_name, data_type=pb.TYPE_UINT8, dims=dims)  # pyright: ignore[reportAttributeAccessIssue]
    config.output.add(name=OUTPUT, data_type=pb.TYPE_FP32, dims=[tower.dim])  # pyright: ignore[reportAttributeAccessIssue]
    config.instance_group.add(count=1)
    # No time limit: Triton leaves out what its client has given up, and how long that waits is the client's to say.
    config.dynamic_batching.default_queue_policy.max_queue_size = _MAX_QUEUED
    _add(config, ref=tower.ref, digest=tower.digest, side=str(tower.side), resize_mode=str(tower.resize_mode))
    _add(config, encoder=encoder)
    return config


def _tell_program(
    config: pb.ModelConfig,  # pyright: ignore[reportAttributeAccessIssue]
    tower: ImageTower,
    python_path: Sequence[Path],
    encoder_place: str,
) -> None:
    """What `triton_encoder.py` reads beside it."""
    folder = folder_of(tower.ref)
    _add(
        config,
        model=str(folder.absolute()) if folder else tower.ref,
        encoder_place=encoder_place,
        python_path=os.pathsep.join(map(str, python_path)),
    )


def _add(config: pb.ModelConfig, **parameters: str) -> None:  # pyright: ignore[reportAttributeAccessIssue]
    for key, value in parameters.items():
        config.parameters[key].string_value = value
