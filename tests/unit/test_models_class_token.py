"""An image tower whose last block computes the class token alone, beside open_clip's own, which computes all of it."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from trygon.models.class_token import ClassTokenBlock, end_in_class_token

_SIZES: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "heads": 2, "mlp_ratio": 4.0, "output_dim": 16,
}  # fmt: skip


def _towers(**options: Any) -> tuple[VisionTransformer, VisionTransformer]:
    """The same tower twice: as open_clip has it, and for the class token."""
    torch.manual_seed(0)
    given = VisionTransformer(**_SIZES | options)
    changed = deepcopy(given)
    end_in_class_token(changed)
    return given, changed


def _learned(tower: nn.Module, image_BCHW: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(1)  # patches are dropped by chance
    vector_BD = tower(image_BCHW)
    (vector_BD * torch.linspace(-1, 1, vector_BD.numel()).view_as(vector_BD)).sum().backward()
    return vector_BD, {name: it.grad for name, it in tower.named_parameters() if it.grad is not None}


@pytest.mark.parametrize(
    "options", [{}, {"layers": 1}, {"final_ln_after_pool": True}, {"ls_init_value": 0.1}, {"patch_dropout": 0.5}]
)
@pytest.mark.parametrize("checkpointed", [False, True])
def test_vectors_and_gradients_are_those_of_the_whole_block(options: dict[str, Any], checkpointed: bool) -> None:
    given, changed = _towers(**options)
    assert isinstance(changed.transformer.resblocks[-1], ClassTokenBlock)
    changed.set_grad_checkpointing(checkpointed)
    image_BCHW = torch.randn(3, 3, 32, 32)
    (expected_BD, expected), (vector_BD, gradients) = _learned(given, image_BCHW), _learned(changed, image_BCHW)
    torch.testing.assert_close(vector_BD, expected_BD, atol=1e-6, rtol=1e-5)
    assert list(gradients) == list(expected)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4, msg=name)


def test_weights_have_their_names_and_a_copy_has_its_own() -> None:
    given, changed = _towers()
    assert list(changed.state_dict()) == list(given.state_dict())
    copy, image_BCHW = deepcopy(changed).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before_BD = changed.eval()(image_BCHW)
        for parameter in changed.parameters():
            parameter.zero_()
        torch.testing.assert_close(copy(image_BCHW), before_BD)


@pytest.mark.parametrize(
    "options",
    [
        {"pool_type": "avg"},
        {"attentional_pool": True, "attn_pooler_heads": 2},
        {"output_tokens": True},
        {"qk_norm": True},  # a block of another class
    ],
)
def test_towers_that_read_more_stay_as_they_are(options: dict[str, Any]) -> None:
    given, changed = _towers(**options)
    assert [type(it) for it in changed.modules()] == [type(it) for it in given.modules()]


def test_a_tower_of_another_library_stays_as_it_is() -> None:
    tower = nn.Sequential(ResidualAttentionBlock(32, 2))
    end_in_class_token(tower)
    assert type(tower[0]) is ResidualAttentionBlock
