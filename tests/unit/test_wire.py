"""The wire format: answers, problems, and bodies of all kinds read within a limit."""

import asyncio
import base64
import encodings
import json
from typing import Any

import numpy as np
import pytest
from fastapi import Request

from trygon.labelling.bank import LabelBank
from trygon.labelling.classification import Classifier
from trygon.limits import Limits
from trygon.taxonomy.captions import TextType
from trygon.taxonomy.taxon import Taxon
from trygon.taxonomy.tree import TaxonTree
from trygon_serving.answers import LabelChoice
from trygon_serving.body import Body, read_body
from trygon_serving.problem import Problem
from trygon_serving.products import Products
from trygon_serving.wire import MAX_NAMES, Answer, LabelsCard, Name, Options

LIMITS = Limits(body_bytes=100_000, images=3, body_s=0.2)


@pytest.fixture
def bank() -> LabelBank:
    vulpes = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Vulpes")
    taxa = [Taxon((*vulpes, "vulpes"), "Red Fox"), Taxon((*vulpes, "lagopus"), "Arctic Fox")]
    taxa.append(Taxon(("Fungi", "", "", "", "", "Amanita", "muscaria")))
    return LabelBank(TaxonTree.from_taxa(taxa), np.eye(3, dtype=np.float32), 1.0, "starter", "ab" * 32, TextType.SCI)


def _answer(bank: LabelBank, probabilities: list[float], **options: Any) -> Answer:
    """With vectors of which the softmax gives these probabilities."""
    choice = LabelChoice(Products(Classifier(bank)), LabelsCard(name="all", digest="", num_taxa=3, text_type="sci"))
    return asyncio.run(choice.answers(np.log([probabilities]), Options(**options)))[0]


def test_answer_is_cut_where_trust_ends(bank: LabelBank) -> None:
    answer = _answer(bank, [0.45, 0.4, 0.15], floor=0.5)
    assert answer.taxon
    assert (answer.taxon.rank, answer.taxon.scientific) == ("genus", "Vulpes")
    assert answer.taxon.probability == pytest.approx(0.85)
    assert answer.lineage["species"].name == "Vulpes lagopus"  # first of the two in the tree's order
    assert answer.lineage["species"].probability == pytest.approx(0.45)
    assert [name.common for name in answer.top[:2]] == ["Arctic Fox", "Red Fox"]


def test_answer_of_a_rank_goes_no_deeper(bank: LabelBank) -> None:
    answer = _answer(bank, [0.45, 0.4, 0.15], floor=0.5, rank="family")
    assert answer.taxon
    assert (answer.taxon.rank, answer.taxon.scientific) == ("family", "Canidae")
    assert list(answer.lineage) == ["kingdom", "phylum", "class", "order", "family"]
    assert [(it.scientific, round(it.probability, 2)) for it in answer.top] == [("Canidae", 0.85)]  # Fungi has none


def test_ranks_without_a_name_are_left_out(bank: LabelBank) -> None:
    answer = _answer(bank, [0.05, 0.05, 0.9], floor=0.5)
    assert list(answer.lineage) == ["kingdom", "genus", "species"]
    assert answer.taxon
    assert answer.taxon.scientific == "Amanita muscaria"


def test_no_trust_at_all_is_null(bank: LabelBank) -> None:
    assert _answer(bank, [0.3, 0.3, 0.4], floor=0.9).taxon is None


def test_problem_document() -> None:
    problem = Problem(503, "Busy", retry_after_s=2)
    assert json.loads(problem.body) == {"type": "about:blank", "title": "Busy", "status": 503}
    assert problem.headers == {"Retry-After": "2"}


def _read(content_type: str, *chunks: bytes, length: int | None = None, pause_s: float = 0) -> Body:
    headers = [(b"content-type", content_type.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, object]:
        await asyncio.sleep(pause_s)
        return messages.pop(0)

    request, taken = Request({"type": "http", "method": "POST", "headers": headers}, receive), []
    body = asyncio.run(read_body(request, LIMITS, taken.append))
    assert sum(taken) == sum(map(len, chunks))
    return body


def _part(field: str, data: bytes, file: bool = True) -> bytes:
    name = f'--b\r\nContent-Disposition: form-data; name="{field}"'
    more = '; filename="a.jpg"\r\nContent-Type: image/jpeg' if file else ""
    return f"{name}{more}\r\n\r\n".encode() + data + b"\r\n"


FORM, END = "multipart/form-data; boundary=b", b"--b--\r\n"


def test_all_forms_give_the_same_bytes() -> None:
    data = bytes(range(256)) * 9
    form = _part("image", data) + END
    coded = json.dumps({"images": [base64.b64encode(data).decode()]}).encode()
    for content_type, body in (("image/jpeg", data), (FORM, form), ("application/json", coded)):
        assert _read(content_type, body[:99], body[99:]).images == [data]


def test_options_of_a_form_and_of_json() -> None:
    options = [_part(name, value, file=False) for name, value in [("k", b"3"), ("names", b"a\n\nb"), ("names", b"c")]]
    form = _read(FORM, b"".join([*options, _part("image", b"x"), _part("image", b"y"), END]))
    assert form == Body([b"x", b"y"], {"k": "3", "names": ["a", "b", "c"]})
    coded = _read("application/json", b'{"images": ["eA=="], "k": 3}')
    assert coded == Body([b"x"], {"k": 3}, typed=True)


def test_of_more_names_than_a_request_may_have_a_form_gives_no_more_than_one_field_over() -> None:
    """Which are refused by their number, as in JSON: a form of four megabytes would be millions of strings."""
    line_by_line = _part("names", b"a\n" * 2000, file=False)
    form = _read(FORM, b"".join([*[line_by_line] * 20, _part("image", b"x"), END]))
    assert MAX_NAMES < len(form.options["names"]) <= MAX_NAMES + 2000
    exactly = _read(
        FORM, b"".join([*[_part("names", b"a\nb", file=False)] * (MAX_NAMES // 2), _part("image", b"x"), END])
    )
    assert len(exactly.options["names"]) == MAX_NAMES


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "undefined", "idna", "no-such-one"])
def test_the_charset_that_a_form_claims_is_nobodys_to_look_up(charset: str) -> None:
    parts = [_part("names", "Füchse".encode(), file=False), _part("image", b"x"), END]
    form = _read(f'multipart/form-data; charset={charset}; boundary="b"', b"".join(parts))
    assert form == Body([b"x"], {"names": ["Füchse"]})
    assert not any("no_such_one" in name for name in vars(encodings)["_cache"])


@pytest.mark.parametrize("boundary", [b'b c;d"e', b"b\\c", b"'()+_,-./:=?"])
def test_a_boundary_may_be_of_any_letters(boundary: bytes) -> None:
    quoted = boundary.replace(b"\\", b"\\\\").replace(b'"', b'\\"').decode()
    form = (_part("image", b"x") + END).replace(b"--b", b"--" + boundary)
    assert _read(f'multipart/form-data; boundary="{quoted}"', form).images == [b"x"]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/html", b"<p>", 415),
        ("", b"", 415),
        ("multipart/form-data", b"--b--", 422),
        ("multipart/form-data; boundary=", b"--b--", 422),
        (FORM, _part("file", b"x") + END, 422),
        (FORM, b"nothing like a form", 422),
        (FORM, _part("k", b"x" * 5000, file=False) + END, 422),
        (FORM, _part("image", b"x") * 4 + END, 413),
        (FORM, _part("k", b"1", file=False) * 1100 + END, 422),
        ("application/json", b'{"images": ["eA==", "eA==", "eA==", "eA=="]}', 413),
        ("application/json", b'{"images": "eA=="}', 422),
        ("application/json", b'{"images": [1]}', 422),
        ("application/json", b"\xff", 422),
        ("application/json", b"[]", 422),
    ],
)
def test_other_bodies_are_problems(content_type: str, body: bytes, status: int) -> None:
    with pytest.raises(Problem) as caught:
        _read(content_type, body)
    assert caught.value.status == status


@pytest.mark.parametrize("content_type", ["image/jpeg", FORM, "application/json"])
def test_large_bodies_are_refused_declared_or_not(content_type: str) -> None:
    chunk = _part("image", bytes(LIMITS.body_bytes // 2)).removesuffix(b"\r\n")
    with pytest.raises(Problem) as caught:
        _read(content_type, chunk, bytes(LIMITS.body_bytes // 2), b"x" * 500)
    assert caught.value.status == 413
    with pytest.raises(Problem) as caught:
        _read(content_type, b"", length=LIMITS.body_bytes + 1)
    assert caught.value.status == 413


def test_a_body_that_comes_too_slowly_is_not_waited_for() -> None:
    with pytest.raises(Problem) as caught:
        _read("image/jpeg", *[b"x"] * 50, pause_s=0.02)
    assert caught.value.status == 408


def test_what_a_person_is_told_first_is_the_best_own_name_or_the_taxon_or_the_best_guess() -> None:
    fox, tent = (Name(rank=None, scientific=it, common="", probability=0.6) for it in ("Vulpes vulpes", ""))
    own = tent.model_copy(update={"asked": "a tent"})
    assert Answer(taxon=fox, top=[own, fox]).shown == own
    assert Answer(taxon=fox, top=[tent]).shown == fox
    assert Answer(top=[fox]).shown == fox
    assert Answer().shown is None
