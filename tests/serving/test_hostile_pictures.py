"""Files that are no pictures, hide something behind one, or cost more than they should."""

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from starlette.testclient import TestClient

pytestmark = pytest.mark.slow

JPEG = {"Content-Type": "image/jpeg"}


def _png(side: int) -> bytes:
    """A picture that is small as a file and large in memory."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def _many_scans(photo: bytes) -> bytes:
    """A progressive JPEG whose last scan is there two hundred times: each costs a pass over all pixels."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photo)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 200 + data[-2:]


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("run.html", "<script>alert(1)</script>")
    return buffer.getvalue()


def _hostile(photo: bytes) -> dict[str, tuple[bytes, int]]:
    return {
        "decompression bomb": (_png(8000), 413),
        "bomb that Pillow itself refuses": (_png(14_000), 413),
        "bomb of scans": (_many_scans(photo), 422),
        "truncated": (photo[: len(photo) // 2], 422),
        "header alone": (photo[:20], 422),
        "picture behind a page": (b"<html><script>1</script>" + photo, 415),
        "picture behind a document": (b"%PDF-1.7\n" + photo, 415),
        "gif that is a script": (b"GIF89a/*" + b" " * 100 + b"*/=1;alert(1)", 415),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", 415),
        "archive": (_archive(), 415),
        "another format with a picture's magic": (b"\xff\xd8\xff\xe0ftypheic" + bytes(400), 415),
        "nothing": (b"", 422),
        "noise with a picture's magic": (b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40, 422),
        "webp of nothing": (b"RIFF\x04\x00\x00\x00WEBP", 422),
    }


def test_hostile_files_are_refused_with_the_right_status(api: TestClient, photo: bytes) -> None:
    for name, (data, status) in _hostile(photo).items():
        response = api.post("/v1/classify", content=data, headers=JPEG)
        assert response.status_code == status, f"{name}: {response.text}"
        assert response.headers["content-type"] == "application/problem+json"


def test_what_hides_behind_a_picture_is_not_looked_at(api: TestClient, photo: bytes) -> None:
    (plain,) = api.post("/v1/classify", content=photo, headers=JPEG).raise_for_status().json()["answers"]
    reply = api.post("/v1/classify", content=photo + _archive(), headers=JPEG).raise_for_status()
    assert [it["scientific"] for it in reply.json()["answers"][0]["top"]] == [it["scientific"] for it in plain["top"]]
    assert "script" not in reply.text


def test_many_large_pictures_in_one_request_are_refused_and_others_answered(api: TestClient, photo: bytes) -> None:
    """Each is within the limits; together they would keep the decoder for a quarter of a minute."""
    large = [("image", ("large.png", _png(7000), "image/png"))]
    with ThreadPoolExecutor(4) as clients:
        refused = [clients.submit(api.post, "/v1/classify", files=large * 16) for _ in range(3)]  # 48 of 64 places
        answered = clients.submit(api.post, "/v1/classify", content=photo, headers=JPEG).result()
    assert answered.status_code == 200
    for asked in refused:
        response = asked.result()
        assert response.status_code == 413, response.text
        assert "at most 100,000,000: send fewer at once" in response.json()["detail"]
