"""Names on the evaluation page are text, whatever stands in them."""

from trygon.evaluation.page import render


def test_names_are_escaped() -> None:
    page = render("<script>alert(1)</script>", "a & b", {}, [], {})
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page
