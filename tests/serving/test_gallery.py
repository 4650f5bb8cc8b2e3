"""Reference pictures at the endpoint and on the page: found by likeness, shown with their credit, and with a key."""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys as Key
from selenium.webdriver.support.ui import WebDriverWait
from starlette.testclient import TestClient

from trygon.errors import UserError
from trygon.gallery.gallery import Gallery
from trygon.storage import read_json, write_json
from trygon.testing.galleries import write_tiny_gallery
from trygon.testing.served import SETTINGS, TAXA, Served
from trygon_serving.api import make_api
from trygon_serving.args import AppArgs
from trygon_serving.client import Client
from trygon_serving.keys import add_key
from trygon_serving.service import Service
from trygon_serving.settings import Settings, check

pytestmark = pytest.mark.slow

JPEG = {"Content-Type": "image/jpeg"}
OverHttp = Callable[[AppArgs], AbstractContextManager[str]]


@pytest.fixture(scope="module")
def folder(tiny: Served, photo: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of the taxa but the last, three pictures each; the first of the first is the photo itself."""
    return write_tiny_gallery(tmp_path_factory.mktemp("gallery"), tiny, TAXA[:3], photo)


@pytest.fixture(scope="module")
def with_gallery(args: AppArgs, folder: Path) -> AppArgs:
    return args.model_copy(update={"galleries": {"garden": str(folder)}})


@pytest.fixture(scope="module")
def api(with_gallery: AppArgs) -> Iterator[TestClient]:
    with TestClient(make_api(Service(with_gallery))) as client:
        yield client


def _pictures(api: TestClient, photo: bytes, **options: Any) -> list[dict[str, Any]]:
    body = {"images": [base64.b64encode(photo).decode()], "gallery": "garden", **options}
    reply = api.post("/v1/similar", json=body).raise_for_status().json()
    assert (reply["gallery"], reply["run"], reply["answers"][0]["neighbours"]) == ("garden", None, [])
    return reply["answers"][0]["pictures"]


def test_the_same_picture_is_found_first_with_its_credit(api: TestClient, photo: bytes, tiny: Served) -> None:
    found = _pictures(api, photo, k=20)
    assert len(found) == 9
    cosines = [it["cosine"] for it in found]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[0] == pytest.approx(1, abs=5e-3)
    assert found[0] | {"cosine": 1, "picture": ""} == {
        "cosine": 1, "picture": "", "rank": "species", "scientific": "Vulpes vulpes", "common": "Red Fox",
        "lineage": dict(zip(found[0]["lineage"], TAXA[0].lineage, strict=True)),
        "author": "the author", "license": "CC-BY-4.0", "source_url": "https://example.org/0-0",
    }  # fmt: skip
    assert list(found[0]["lineage"])[-1] == "species"
    (card,) = api.get("/v1/galleries").raise_for_status().json()
    assert card == {
        "name": "garden", "num_pictures": 9, "num_taxa": 3, "model_digest": tiny.model.digest, "encoder": "torch"
    }  # fmt: skip


def test_pictures_of_a_taxon_alone(api: TestClient, photo: bytes) -> None:
    assert {it["scientific"] for it in _pictures(api, photo, k=9, taxon=["Canidae"])} == {
        "Vulpes vulpes", "Canis lupus"
    }  # fmt: skip
    assert {it["common"] for it in _pictures(api, photo, k=2, taxon=["common raven"])} == {"Common Raven"}
    assert _pictures(api, photo, taxon=["Quercus robur"]) == []


def test_a_picture_is_a_small_jpeg_and_nothing_else(api: TestClient, photo: bytes) -> None:
    response = api.get(_pictures(api, photo, k=1)[0]["picture"]).raise_for_status()
    image = Image.open(io.BytesIO(response.content))
    assert (image.format, image.size) == ("JPEG", (320, 192))
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"].startswith("private")
    assert response.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "path",
    [
        "garden/1.jpg", "garden/-1.jpg", "garden/9999999999999999999.jpg", "garden/x.jpg", "garden/%D9%A1.jpg",
        "park/1.jpg", "garden/..%2F..%2Fgallery.json", "garden/%2e%2e%2fpictures.jpg", "..%2f..%2fetc/passwd.jpg",
        "garden/pictures.parquet", "garden/1.jpg%00.jpg", "garden/1%5c..%5c1.jpg", f"garden/{'1' * 5000}.jpg",
    ],
)  # fmt: skip
def test_other_paths_are_nowhere(api: TestClient, path: str) -> None:
    response = api.get(f"/v1/galleries/{path}")
    assert (response.status_code, response.json()["status"]) == (404, 404)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gallery": "park"}, "'park' is not one of garden"),
        ({"gallery": "garden", "run": "season"}, "run and gallery: give one of them"),
        ({"gallery": "garden", "deployment": "a"}, "deployment: a gallery's pictures have no camera or time"),
        ({"gallery": "garden", "after": "2024-05-31"}, "after: a gallery's"),
    ],
)
def test_what_a_gallery_does_not_have_is_said(
    api: TestClient, photo: bytes, options: dict[str, Any], said: str
) -> None:
    response = api.post("/v1/similar", params=options, content=photo, headers=JPEG)
    assert response.status_code == 422
    assert said in response.json()["detail"]


def test_an_answer_comes_with_examples_of_what_it_names(api: TestClient, photo: bytes) -> None:
    """The same as a search for its taxon finds, and none where none are asked for or the gallery has none."""
    for options in ({"floor": 0, "clade": "Canidae"}, {"floor": 1, "clade": "Canidae"}, {"clade": "Plantae"}):
        query = options | {"examples": 2}
        (answer,) = api.post("/v1/classify", params=query, content=photo, headers=JPEG).json()["answers"]
        shown = answer["taxon"] or answer["top"][0]
        search = {"gallery": "garden", "k": 2, "taxon": shown["scientific"]}
        reply = api.post("/v1/similar", params=search, content=photo, headers=JPEG).json()
        assert answer["examples"] == reply["answers"][0]["pictures"]
        assert bool(answer["examples"]) == (options != {"clade": "Plantae"})
    (plain,) = api.post("/v1/classify", content=photo, headers=JPEG).json()["answers"]
    assert plain["examples"] == []
    assert api.post("/v1/classify?examples=17", content=photo, headers=JPEG).status_code == 422


def test_without_a_name_the_run_is_searched_and_where_there_is_none_the_gallery(
    api: TestClient, with_gallery: AppArgs, photo: bytes
) -> None:
    reply = api.post("/v1/similar", content=photo, headers=JPEG).raise_for_status().json()
    assert (reply["run"], reply["gallery"], reply["answers"][0]["pictures"]) == ("season", None, [])
    with TestClient(make_api(Service(with_gallery.model_copy(update={"runs": {}})))) as alone:
        reply = alone.post("/v1/similar", content=photo, headers=JPEG).raise_for_status().json()
    assert (reply["run"], reply["gallery"], len(reply["answers"][0]["pictures"])) == (None, "garden", 5)


def test_a_gallery_of_another_model_is_not_searched(args: AppArgs, tiny: Served, photo: bytes, tmp_path: Path) -> None:
    place = write_tiny_gallery(tmp_path, tiny, TAXA[:1], photo)
    card = read_json(place / "gallery.json")
    write_json(place / "gallery.json", card | {"model": "another"})
    with TestClient(make_api(Service(args.model_copy(update={"galleries": {"old": str(place)}})))) as api:
        response = api.post("/v1/similar?gallery=old", content=photo, headers=JPEG)
    assert response.status_code == 503
    assert response.json()["title"] == "The gallery does not fit the model"
    assert "'old' was made with another model" in response.json()["detail"]


def test_what_cannot_be_searched_is_told_before_anything_starts(tiny: Served, photo: bytes, tmp_path: Path) -> None:
    places = {"model": {"tiny": str(tiny.model_folder)}, "labels": {"all": str(tiny.labels_folder)}}
    settings: dict[str, Any] = SETTINGS | places
    with pytest.raises(UserError, match="is no finished gallery"):
        check(Settings(**settings, galleries={"garden": str(tmp_path)}))
    place = write_tiny_gallery(tmp_path, tiny, TAXA[:1], photo)
    check(Settings(**settings, galleries={"garden": str(place)}))
    write_json(place / "gallery.json", read_json(place / "gallery.json") | {"model": "another"})
    with pytest.raises(UserError, match=r"--gallery .* holds vectors of the model .*, which is not served: make it"):
        check(Settings(**settings, galleries={"garden": str(place)}))


@pytest.fixture(scope="module")
def locked(over_http: OverHttp, with_gallery: AppArgs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The application behind HTTP for those with a key: its address, and a key."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    key = add_key(keys, "tests")
    with over_http(with_gallery.model_copy(update={"keys": str(keys)})) as address:
        yield address, key


def test_pictures_ask_for_the_key_that_everything_asks_for(
    locked: tuple[str, str], photo: bytes, folder: Path
) -> None:
    address, key = locked
    with Client(address, key) as client, Client(address) as stranger:
        assert [it.name for it in client.galleries()] == ["garden"]
        (found,) = client.similar([photo], gallery="garden", k=1).answers[0].pictures
        number = int(Path(found.picture).stem)
        assert client.picture(found.picture) == Gallery(folder).thumbnail(number)
        for path in (found.picture, "/v1/galleries/garden/1.jpg", "/v1/galleries"):
            assert stranger._http.get(path).status_code == 401


def test_examples_stand_below_the_answer_with_author_and_licence(
    chrome: webdriver.Chrome, locked: tuple[str, str], photo: bytes, tmp_path: Path
) -> None:
    """Of the best taxon that the gallery has, and of an alternative when its name is pressed; pictures come with the
    page's key."""
    address, key = locked
    (tmp_path / "fox.jpg").write_bytes(photo)

    def texts(selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map(it => it.innerText)"
        return chrome.execute_script(script, selector)

    def until(holds: Callable[[], object]) -> None:
        WebDriverWait(chrome, 90, 0.1).until(lambda _: holds())

    def press(name: str) -> None:
        (button,) = (it for it in chrome.find_elements(By.CSS_SELECTOR, ".top button") if it.text.startswith(name))
        button.send_keys(Key.ENTER)

    chrome.get(address)
    until(lambda: chrome.find_element(By.ID, "key").is_displayed())
    chrome.find_element(By.ID, "key").send_keys(key, Key.ENTER)
    until(lambda: texts("#labels option"))
    chrome.get_log("browser")  # pyright: ignore[reportAttributeAccessIssue]  # without the key it was refused
    chrome.find_element(By.ID, "clade").send_keys("Canidae", Key.ENTER)
    chrome.find_element(By.ID, "file").send_keys(str(tmp_path / "fox.jpg"))
    until(lambda: texts(".examples figcaption"))
    assert len(texts(".examples figure")) in (3, 4)  # of a species, or of the family
    asked = "return performance.getEntriesByType('resource').filter(it => it.name.includes('/v1/similar')).length"
    assert chrome.execute_script(asked) == 0  # the photo goes out once
    # While the server has no time for them, they can be asked for again.
    chrome.execute_script(
        "hideExamples(); window.realFetch = window.fetch; window.fetch = (path, options) =>"
        " path.startsWith('/v1/similar') ? Promise.resolve(new Response('', {status: 503})) : realFetch(path, options)"
    )
    press("Red Fox")
    until(lambda: texts("#examples p") == ["They cannot be shown now. Try again in a moment."])
    status = chrome.find_element(By.ID, "examples-told")
    assert "Vulpes vulpes: They cannot be shown now" in (status.get_attribute("textContent") or "")
    chrome.execute_script("window.fetch = window.realFetch")
    press("Red Fox")
    until(lambda: len(texts(".examples figcaption")) == 3 and texts("#examples h2") == ["EXAMPLES OF Vulpes vulpes"])
    assert status.get_attribute("textContent") == "Below: 3 examples of Vulpes vulpes."
    assert texts(".examples figcaption")[0] == "Red Fox Vulpes vulpes\nthe author, CC-BY-4.0"
    pictures = chrome.find_elements(By.CSS_SELECTOR, ".examples img")
    until(lambda: all(it.get_property("naturalWidth") == 320 for it in pictures))
    assert [it.get_attribute("alt") for it in pictures] == ["An example: Red Fox, Vulpes vulpes"] * 3
    links = [it.get_attribute("href") for it in chrome.find_elements(By.CSS_SELECTOR, ".examples a")]
    assert links[0] == "https://example.org/0-0"
    chrome.find_element(By.ID, "clade").clear()
    chrome.find_element(By.ID, "clade").send_keys("Plantae", Key.ENTER)
    until(lambda: texts(".top .name") == ["English Oak Quercus robur"])
    press("English Oak")
    until(lambda: texts("#examples p") == ["There are none here."])
    assert chrome.get_log("browser") == []  # pyright: ignore[reportAttributeAccessIssue]


def test_without_a_gallery_there_are_no_examples(
    chrome: webdriver.Chrome, over_http: OverHttp, args: AppArgs, photo: bytes, tmp_path: Path
) -> None:
    (tmp_path / "fox.jpg").write_bytes(photo)
    with over_http(args) as address:
        chrome.get(address)
        wait = WebDriverWait(chrome, 90, 0.1)
        wait.until(lambda _: chrome.find_elements(By.CSS_SELECTOR, "#labels option"))
        chrome.find_element(By.ID, "file").send_keys(str(tmp_path / "fox.jpg"))
        wait.until(lambda _: chrome.find_elements(By.CSS_SELECTOR, ".top .name"))
        assert not chrome.find_elements(By.CSS_SELECTOR, ".top button, .examples")
