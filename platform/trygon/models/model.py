"""A contrastive image-text model as open_clip loads it, with the two encoders that everything else calls.

Shapes: B images or texts, S the model's side, L tokens, D the width of the shared space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import HFTokenizer
from open_clip.transformer import TextTransformer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import normalize

from trygon.data.images import ResizeMode
from trygon.errors import TrygonError, UserError
from trygon.models.class_token import end_in_class_token
from trygon.models.folder import CONFIG_NAME, WEIGHTS_NAME, ImageTower, check_folder, folder_of
from trygon.storage import digest_file, write_json


@dataclass(frozen=True)
class Model:
    """An open_clip network with its tokenizer and what it expects of an image. `ref` is how it was named."""

    net: nn.Module
    tokenizer: Any
    ref: str
    side: int
    resize_mode: ResizeMode
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    digest: str
    device: torch.device

    @property
    def logit_scale(self) -> float:
        """The factor on cosine similarities before the softmax."""
        return float(self.net.logit_scale.detach().exp())  # pyright: ignore[reportCallIssue]

    @cached_property
    def dim(self) -> int:
        """Width of the shared space."""
        return self.encode_texts([""]).shape[1]

    @torch.inference_mode()
    def encode_images(self, image_BCHW: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """uint8 images (B, 3, S, S) to unit vectors (B, D) float32."""
        batches = np.array_split(image_BCHW, range(batch_size, len(image_BCHW), batch_size))
        vectors = [
            normalize(self.net.encode_image(self.normalise(torch.from_numpy(batch))).float(), dim=-1)  # pyright: ignore[reportCallIssue]
            for batch in batches
            if len(batch)
        ]
        return torch.cat(vectors).cpu().numpy() if vectors else np.zeros((0, self.dim), np.float32)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
        """Texts to unit vectors (B, D) float32. Sorted by length inside, so that padding is short."""
        tokens_BL = self.tokenizer(list(texts))
        order = torch.argsort((tokens_BL != 0).sum(1))
        parts = [
            normalize(encode_text(self.net, tokens_BL[rows].to(self.device)).float(), dim=-1)
            for rows in order.split(batch_size)
        ]
        vector_BD = torch.empty(len(texts), parts[0].shape[1])
        vector_BD[order] = torch.cat(parts).cpu()
        return vector_BD.numpy()

    def normalise(self, image_BCHW: Tensor) -> Tensor:
        """uint8 images to what the network is fed, on its device."""
        return normalise(image_BCHW.to(self.device), self.mean, self.std)


def normalise(image_BCHW: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 images to float, less the mean and by the deviation of each channel; channels last, which CPUs need."""
    mean_CHW, std_CHW = (torch.tensor(values, device=image_BCHW.device).view(3, 1, 1) for values in (mean, std))
    image_BCHW = image_BCHW.float().div_(255).sub_(mean_CHW).div_(std_CHW)
    return image_BCHW.contiguous(memory_format=torch.channels_last)


def encode_text(net: nn.Module, tokens_BL: Tensor, groups: int = 1) -> Tensor:
    """Text features (B, D), computed on as many positions as the longest caption has.

    The output is the same, for less than half the work on taxonomic captions, where nothing can look at the padding
    behind a caption: in a causal text tower that reads the end-of-text position, whose captions go in `groups` of like
    length, and in one whose class token stands last and that masks padding. Other towers get all positions.
    """
    text: Any = getattr(net, "text", None)
    if text is None or not isinstance(text, TextTransformer):
        return net.encode_text(tokens_BL)  # pyright: ignore[reportCallIssue]
    if text.cls_emb is None and text.attn_mask is not None and text.pool_type == "argmax":
        return _encode_causal(text, tokens_BL, groups)
    if text.cls_emb is not None and text.attn_mask is None and text.pool_type == "last":
        # One further position: open_clip's mask is one place off and lets one padding token through.
        length = min(tokens_BL.shape[1], int((tokens_BL != text.pad_id).sum(1).max()) + 1)
        position_LD = text.positional_embedding
        changed = {"positional_embedding": torch.cat([position_LD[:length], position_LD[-1:]])}
        return functional_call(text, changed, (tokens_BL[:, :length],))
    return net.encode_text(tokens_BL)  # pyright: ignore[reportCallIssue]


def _encode_causal(text: Any, tokens_BL: Tensor, groups: int) -> Tensor:
    changed: dict[str, Tensor] = {}
    if groups > 1:
        # A gradient of all tokens' embeddings is dense: it is made once, not for each group. `unique` sorts, so that
        # the end of text stays the greatest.
        used_V, tokens_BL = torch.unique(tokens_BL, return_inverse=True)
        changed["token_embedding.weight"] = text.token_embedding.weight[used_V]
    length_B = tokens_BL.argmax(1).cpu() + 1
    order_B = length_B.argsort()
    parts = []
    for rows in order_B.chunk(groups):
        length = int(length_B[rows].max())
        changed["attn_mask"] = text.attn_mask[:length, :length]
        parts.append(functional_call(text, changed, (tokens_BL[rows, :length],)))
    return torch.cat(parts)[order_B.argsort()]


def load_model(ref: str | Path, device: str | None = None) -> Model:
    """A model folder, on disk or S3, `local-dir:FOLDER` or `hf-hub:OWNER/NAME` to a model ready for use."""
    ref = str(ref)
    folder = folder_of(ref)
    if folder:
        check_folder(folder, ref)
    name = _open_clip_name(folder, ref)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        net = open_clip.create_model(name, device=target, force_custom_text=True)
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"--model {ref} cannot be loaded: {reason}") from error
    digest = digest_file(folder / WEIGHTS_NAME) if folder else ""
    return as_model(net.eval(), tokenizer, ref, digest, target)


def load_described(tower: ImageTower, device: str | None = None) -> Model:
    """The model that was described; `TrygonError` where another one lies in its place by now."""
    model = load_model(tower.ref, device)
    if model.digest != tower.digest:
        raise TrygonError(
            f"--model {tower.ref} was replaced since this run began: vectors of two models are not to be mixed; bring "
            "the former one back and give the same command again, or give another --out"
        )
    return model


def load_tokenizer(ref: str) -> Any:
    """A model's tokenizer: texts to tokens (B, L)."""
    return open_clip.get_tokenizer(_open_clip_name(folder_of(ref), ref))


def _open_clip_name(folder: Path | None, ref: str) -> str:
    return f"local-dir:{folder.absolute()}" if folder else ref


def as_model(net: Any, tokenizer: Any, ref: str, digest: str, device: torch.device) -> Model:
    """A network that open_clip built, with the preprocessing that open_clip wrote on its image tower; without what of
    its last block nothing reads."""
    end_in_class_token(net.visual)
    wanted = net.visual.preprocess_cfg
    size = wanted["size"]
    return Model(
        net=net.to(memory_format=torch.channels_last),
        tokenizer=tokenizer,
        ref=ref,
        side=size if isinstance(size, int) else size[0],
        resize_mode=ResizeMode(wanted.get("resize_mode", "shortest")),
        mean=tuple(wanted["mean"]),
        std=tuple(wanted["std"]),
        digest=digest,
        device=device,
    )


def save_model(folder: Path, net: nn.Module, config: dict[str, Any], tokenizer: Any) -> None:
    """Write a model folder: open_clip's config (`model_cfg`, `preprocess_cfg`), safetensors weights, and a Hugging
    Face tokenizer's files where the model has one."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    if isinstance(tokenizer, HFTokenizer):
        tokenizer.save_pretrained(folder)
    # Without these open_clip builds its other class, whose text tower has other names, or one without a bias.
    added: dict[str, Any] = {"custom_text": hasattr(net, "text")}
    if "logit_bias" in weights:
        added["init_logit_bias"] = weights["logit_bias"].item()
    write_json(folder / CONFIG_NAME, config | {"model_cfg": config["model_cfg"] | added})
