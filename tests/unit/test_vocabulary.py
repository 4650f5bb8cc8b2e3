"""What is kept of the names that requests bring: so much and no more, whatever becomes of the requests."""

import numpy as np

from trygon_serving.vocabulary import Vectors


def test_the_least_lately_used_are_forgotten_with_each_that_comes() -> None:
    kept = Vectors(3)
    for number, name in enumerate("abc"):
        kept.put(name, np.full(4, number))
    assert kept.get("a") is not None
    kept.put("d", np.full(4, 3))
    assert [vector_D is not None for vector_D in map(kept.get, "abcd")] == [True, False, True, True]
    for number in range(100):
        kept.put(str(number), np.zeros(4))
        assert sum(kept.get(str(it)) is not None for it in range(100)) == min(number + 1, 3)


def test_a_row_that_is_kept_does_not_keep_its_batch() -> None:
    kept, vector_BD = Vectors(3), np.eye(32, dtype=np.float32)
    kept.put("fox", vector_BD[7])
    vector_D = kept.get("fox")
    assert vector_D is not None
    assert vector_D.tolist() == vector_BD[7].tolist()
    assert vector_D.base is None
