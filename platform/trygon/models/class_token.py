"""The last block of an image transformer, computed for the class token alone where nothing else of it is read."""

from typing import Any

from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor


class ClassTokenBlock(ResidualAttentionBlock):
    """A block of the same weights that gives the class token (B, 1, W) of its tokens (B, T, W).

    The others are there to be looked at: they need no query, no projection and no MLP, five sixths of a block.
    """

    def forward(
        self, q_x: Tensor, k_x: Tensor | None = None, v_x: Tensor | None = None, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Ready for the transformer's loop over its blocks, which gives no keys, values or mask."""
        token_BTW = self.ln_1(q_x)
        x_B1W = q_x[:, :1] + self.ls_1(self.attention(token_BTW[:, :1], token_BTW, token_BTW))
        return x_B1W + self.ls_2(self.mlp(self.ln_2(x_B1W)))


def end_in_class_token(visual: Any) -> None:
    """Have an image tower's last block compute what is read of it, where that is the class token: its vectors and the
    names of its weights stay the same. Other towers stay as they are."""
    if not isinstance(visual, VisionTransformer) or visual.output_tokens:
        return
    last = visual.transformer.resblocks[-1]
    if visual.attn_pool is None and visual.pool_type == "tok" and type(last) is ResidualAttentionBlock:
        last.__class__ = ClassTokenBlock  # as FSDP2 does it: hooks, copies and weights are those of the block
