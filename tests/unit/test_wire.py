"""The wire format: answers, problems, and bodies of all kinds read within a limit."""

import asyncio

import numpy as np
import pytest
from fastapi import Request

from trygon.data.images import ResizeMode
from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.models.folder import ImageTower
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon_serving.body import read_image
from trygon_serving.wire import MAX_BODY_BYTES, Classification, Problem, classification

TOWER = ImageTower("starter", "ab" * 32, 224, 3, ResizeMode.SQUASH)


@pytest.fixture
def bank() -> LabelBank:
    vulpes = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Vulpes")
    taxa = [Taxon((*vulpes, "vulpes"), "Red Fox"), Taxon((*vulpes, "lagopus"), "Arctic Fox")]
    taxa.append(Taxon(("Fungi", "", "", "", "", "Amanita", "muscaria")))
    return LabelBank(TaxonTree.from_taxa(taxa), np.eye(3, dtype=np.float16), 100.0, "starter", "ab" * 32, TextType.SCI)


def _answer(bank: LabelBank, probabilities: list[float], floor: float) -> Classification:
    answer = Classifier(bank, floor=floor).answers(np.asarray([probabilities], np.float32))[0]
    return classification(answer, floor, TOWER, bank, {"total": 1.23456})


def test_answer_is_cut_where_trust_ends(bank: LabelBank) -> None:
    answer = _answer(bank, [0.45, 0.4, 0.15], floor=0.5)
    assert answer.taxon
    assert (answer.taxon.rank, answer.taxon.scientific) == ("genus", "Vulpes")
    assert answer.taxon.probability == pytest.approx(0.85)
    assert answer.lineage["species"].name == "Vulpes lagopus"  # first of the two in the tree's order
    assert answer.lineage["species"].probability == pytest.approx(0.45)
    assert [name.common for name in answer.top[:2]] == ["Arctic Fox", "Red Fox"]
    assert answer.timings_ms == {"total": 1.23}


def test_ranks_without_a_name_are_left_out(bank: LabelBank) -> None:
    answer = _answer(bank, [0.05, 0.05, 0.9], floor=0.5)
    assert list(answer.lineage) == ["kingdom", "genus", "species"]
    assert answer.taxon
    assert answer.taxon.scientific == "Amanita muscaria"


def test_no_trust_at_all_is_null(bank: LabelBank) -> None:
    assert _answer(bank, [0.3, 0.3, 0.4], floor=0.9).taxon is None


def test_problem_document() -> None:
    problem = Problem(503, "Busy", retry_after_s=2)
    assert problem.body == {"type": "about:blank", "title": "Busy", "status": 503}
    assert problem.headers == {"Retry-After": "2"}


def _read(content_type: str, *chunks: bytes, length: int | None = None) -> bytes:
    headers = [(b"content-type", content_type.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    return asyncio.run(read_image(Request({"type": "http", "method": "POST", "headers": headers}, receive)))


def _form(field: str, data: bytes) -> bytes:
    head = (
        f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    return head.encode() + data + b"\r\n--b--\r\n"


def test_body_and_form_give_the_same_bytes() -> None:
    data = bytes(range(256)) * 9
    form = _form("image", data)
    assert _read("image/jpeg", data[:99], data[99:]) == data
    assert _read("multipart/form-data; boundary=b", form[:50], form[50:]) == data


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/html", b"<p>", 415),
        ("", b"", 415),
        ("multipart/form-data", b"--b--", 422),
        ("multipart/form-data; boundary=b", _form("file", b"x"), 422),
        ("multipart/form-data; boundary=b", b"nothing like a form", 422),
    ],
)
def test_other_bodies_are_problems(content_type: str, body: bytes, status: int) -> None:
    with pytest.raises(Problem) as caught:
        _read(content_type, body)
    assert caught.value.status == status


@pytest.mark.parametrize("content_type", ["image/jpeg", "multipart/form-data; boundary=b"])
def test_large_bodies_are_refused_declared_or_not(content_type: str) -> None:
    chunk = _form("image", bytes(MAX_BODY_BYTES // 2)).removesuffix(b"\r\n--b--\r\n")
    with pytest.raises(Problem) as caught:
        _read(content_type, chunk, bytes(MAX_BODY_BYTES // 2), b"x" * 500)
    assert caught.value.status == 413
    with pytest.raises(Problem) as caught:
        _read(content_type, b"", length=MAX_BODY_BYTES + 1)
    assert caught.value.status == 413
