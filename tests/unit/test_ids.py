"""Where ids stand among others."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trygon.ids import Ids


@given(st.lists(st.integers(-(2**63), 2**63 - 1), unique=True), st.lists(st.integers(0, 9)), st.lists(st.integers()))
def test_each_id_is_found_where_it_stands(known: list[int], places: list[int], others: list[int]) -> None:
    wanted = [known[place] for place in places if place < len(known)] + [it for it in others if abs(it) < 2**63]
    ids = Ids(np.asarray(known, np.int64))
    expected = [known.index(it) if it in known else -1 for it in wanted]
    assert ids.positions(np.asarray(wanted, np.int64)).tolist() == expected
    assert [ids.position(it) for it in wanted] == [None if at < 0 else at for at in expected]
