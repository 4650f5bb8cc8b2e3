"""A start for a text tower: a sentence encoder of BERT's family, rebuilt as the text transformer that open_clip has.

BERT normalises the stream after each addition; open_clip normalises what goes into each branch and leaves the stream
alone. The two agree as far as the spread of a token's stream is the same for all tokens, which nearly holds: what
BERT's normalisation does to each dimension is then one scale and one shift. These are fitted on captions and folded
into the branches. Distillation (`distillation.py`) brings what is left.

The mean over the tokens becomes one more block: its queries and keys are zero, so that open_clip's class token, which
stands last, weighs all tokens alike.

Shapes: B captions, L tokens, N tokens of all captions, D the width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, normalize

from trygon.errors import UserError

_POOL_GAIN = 1000.0
"""Next to it, what the class token carried along counts nothing."""


def load_sentence_model(folder: Path) -> tuple[Any, Any]:
    """The tokenizer and the encoder in a Hugging Face folder. Raises `UserError` where there is none."""
    import transformers

    if not (folder / "config.json").is_file():
        raise UserError(f"the sentence model {folder} does not exist; `trygon sample` brings it")
    transformers.utils.logging.disable_progress_bar()
    encoder = transformers.AutoModel.from_pretrained(folder).eval()
    if encoder.config.model_type != "bert":
        raise UserError(f"the sentence model {folder} is a {encoder.config.model_type}; trygon rebuilds those of BERT")
    return transformers.AutoTokenizer.from_pretrained(folder), encoder


@torch.no_grad()
def start_text_tower(text: Any, encoder: Any, tokenizer: Any, captions: Sequence[str]) -> None:
    """Set an open_clip `TextTransformer` of one layer more than `encoder` to give nearly its mean-pooled vectors, less
    their mean over `captions`, in the first D dimensions."""
    _check(text, encoder)
    tokens = tokenizer(
        list(captions), padding=True, truncation=True, max_length=text.context_length, return_tensors="pt"
    )
    normed = _normed_streams(encoder, tokens)
    special_BL = torch.isin(tokens["input_ids"], torch.tensor([tokenizer.cls_token_id, tokenizer.sep_token_id]))
    # The first and last token carry far larger values than words do and would decide the fit.
    words_BL = tokens["attention_mask"].bool() & ~special_BL

    _start_embeddings(text, encoder.embeddings, tokenizer)
    stream_BLD = text.token_embedding(tokens["input_ids"]) + text.positional_embedding[: words_BL.shape[1]]
    mask_BLL = _key_mask(tokens["attention_mask"], text.heads)
    *blocks, pool = text.transformer.resblocks
    for block, layer in zip(blocks, encoder.encoder.layer, strict=True):
        _start_attention(block, layer.attention, *_fold(block.ln_1, stream_BLD[words_BL], normed.pop(0)[words_BL]))
        stream_BLD = stream_BLD + block.attention(block.ln_1(stream_BLD), attn_mask=mask_BLL)
        _start_mlp(block.mlp, layer, *_fold(block.ln_2, stream_BLD[words_BL], normed.pop(0)[words_BL]))
        stream_BLD = stream_BLD + block.mlp(block.ln_2(stream_BLD))
    _fold(pool.ln_1, stream_BLD[words_BL], normed.pop(0)[words_BL])
    _start_pool(pool)
    _start_output(text)
    text.ln_final.bias.copy_(-text(_without_separator(tokens["input_ids"], tokenizer))[:, : text.width].mean(0))


@torch.inference_mode()
def sentence_vectors(encoder: Any, tokenizer: Any, captions: Sequence[str]) -> Tensor:
    """Mean-pooled unit vectors (B, D)."""
    tokens = tokenizer(list(captions), padding=True, return_tensors="pt")
    hidden_BLD = encoder(**tokens).last_hidden_state
    mask_BL1 = tokens["attention_mask"][..., None]
    return normalize((hidden_BLD * mask_BL1).sum(1) / mask_BL1.sum(1), dim=1)


def _check(text: Any, encoder: Any) -> None:
    config = encoder.config
    wanted = (config.hidden_size, config.num_attention_heads, config.num_hidden_layers + 1, config.vocab_size)
    given = (text.width, text.heads, len(text.transformer.resblocks), text.vocab_size)
    hidden = text.transformer.resblocks[0].mlp.c_fc.out_features
    pools = text.cls_emb is not None and text.attn_mask is None and text.pool_type == "last"
    if wanted != given or hidden != config.intermediate_size or text.output_dim < text.width or not pools:
        raise UserError(
            "the architecture's text_cfg does not fit the sentence model: it needs width {}, heads {}, layers {}, "
            "vocab_size {}, mlp_ratio {:g}, embed_cls, no_causal_mask, pool_type last, and an embed_dim not below "
            "the width".format(*wanted, config.intermediate_size / config.hidden_size)
        )


def _normed_streams(encoder: Any, tokens: Any) -> list[Tensor]:
    """What each of the encoder's normalisations gives on the captions (B, L, D), in order."""
    norms = [encoder.embeddings.LayerNorm]
    for layer in encoder.encoder.layer:
        norms += [layer.attention.output.LayerNorm, layer.output.LayerNorm]
    outputs: list[Tensor] = []
    hooks = [norm.register_forward_hook(lambda _, __, output: outputs.append(output)) for norm in norms]
    encoder(**tokens)
    for hook in hooks:
        hook.remove()
    return outputs


def _start_embeddings(text: Any, embeddings: Any, tokenizer: Any) -> None:
    text.token_embedding.weight.copy_(embeddings.word_embeddings.weight + embeddings.token_type_embeddings.weight[0])
    # open_clip's mask lets one padding token through, where the tokenizer's separator stood: it stands in for that.
    text.token_embedding.weight[tokenizer.pad_token_id] = text.token_embedding.weight[tokenizer.sep_token_id]
    text.positional_embedding.zero_()
    text.positional_embedding[:-1] = embeddings.position_embeddings.weight[: text.context_length]
    text.cls_emb.zero_()


def _key_mask(attention_BL: Tensor, heads: int) -> Tensor:
    mask_BLL = torch.zeros(attention_BL.shape).masked_fill(attention_BL == 0, float("-inf"))[:, None]
    return mask_BLL.expand(-1, attention_BL.shape[1], -1).repeat_interleave(heads, 0)


def _fold(norm: nn.LayerNorm, stream_ND: Tensor, wanted_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a branch's normalisation to the encoder's; the scale and shift that turn the stream itself into it."""
    weight, bias = _affine(layer_norm(stream_ND, stream_ND.shape[-1:]), wanted_ND)
    norm.weight.copy_(weight)
    norm.bias.copy_(bias)
    scale, shift = _affine(stream_ND, wanted_ND)
    # A branch is divided by the scale: one near zero would drown the others.
    return scale.clamp(min=0.05 * float(scale.median())), shift


def _affine(given_ND: Tensor, wanted_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares for each dimension alone: `wanted` is about scale · `given` + shift."""
    given_mean, wanted_mean = given_ND.mean(0), wanted_ND.mean(0)
    deviation_ND = given_ND - given_mean
    scale = (deviation_ND * (wanted_ND - wanted_mean)).sum(0) / deviation_ND.square().sum(0)
    return scale, wanted_mean - scale * given_mean


def _start_attention(block: Any, attention: Any, scale: Tensor, shift: Tensor) -> None:
    inner, output = attention.self, attention.output.dense
    parts = (inner.query, inner.key, inner.value)
    block.attn.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    block.attn.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    block.attn.out_proj.weight.copy_(output.weight / scale[:, None])
    block.attn.out_proj.bias.copy_((output.bias + shift) / scale)


def _start_mlp(mlp: Any, layer: Any, scale: Tensor, shift: Tensor) -> None:
    mlp.c_fc.weight.copy_(layer.intermediate.dense.weight)
    mlp.c_fc.bias.copy_(layer.intermediate.dense.bias)
    mlp.c_proj.weight.copy_(layer.output.dense.weight / scale[:, None])
    mlp.c_proj.bias.copy_((layer.output.dense.bias + shift) / scale)


def _start_pool(block: Any) -> None:
    width = block.attn.embed_dim
    block.attn.in_proj_weight.zero_()
    block.attn.in_proj_bias.zero_()
    block.attn.in_proj_weight[2 * width :] = torch.eye(width)
    block.attn.out_proj.weight.copy_(_POOL_GAIN * torch.eye(width))
    block.attn.out_proj.bias.zero_()
    block.mlp.c_proj.weight.zero_()
    block.mlp.c_proj.bias.zero_()


def _start_output(text: Any) -> None:
    text.ln_final.weight.fill_(1.0)
    text.ln_final.bias.zero_()
    text.text_projection.zero_()
    text.text_projection[:, : text.width] = torch.eye(text.width)


def _without_separator(ids_BL: Tensor, tokenizer: Any) -> Tensor:
    return torch.where(ids_BL == tokenizer.sep_token_id, tokenizer.pad_token_id, ids_BL)
