"""An image head that starts from a classifier points to the name of the class that the classifier sees."""

import pytest
import torch
from timm.layers.mlp import Mlp
from torch.nn.functional import normalize

from trygon.errors import UserError
from trygon.models.classifier_start import imagenet_names, name_vectors, start_head


def test_head_points_to_the_name_of_the_best_class() -> None:
    torch.manual_seed(0)
    weight_CF, bias_C, vector_CD = torch.randn(8, 16), torch.zeros(8), torch.eye(8)
    head = Mlp(16, 16, 8)
    start_head(head, weight_CF, bias_C, vector_CD, threshold=1.0)
    feature_BF = 3 * normalize(weight_CF, dim=1)
    assert torch.equal(head(feature_BF).argmax(1), (feature_BF @ weight_CF.T).argmax(1))


def test_head_too_narrow_for_the_classes_says_how_wide() -> None:
    with pytest.raises(UserError, match="embed_dim to 10 or more"):
        start_head(Mlp(16, 16, 8), torch.zeros(20, 16), torch.zeros(20), torch.zeros(20, 8))


def test_names_are_those_of_imagenet() -> None:
    names = imagenet_names()
    assert len(names) == 1000
    assert names[388][0] == "giant panda"
    assert "Ailuropoda melanoleuca" in names[388]


def test_class_vector_is_the_mean_of_its_names() -> None:
    table = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    vector_CD = name_vectors([("a", "b"), ("c",)], lambda texts: table[: len(texts)])
    torch.testing.assert_close(vector_CD.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(vector_CD[0], -vector_CD[1])
