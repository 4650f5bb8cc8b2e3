"""`trygon review` and `trygon search` as people use them: a real server, a real browser, the keyboard."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from trygon.archive.run_folder.reviews import ReviewLog, read_reviews
from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.sessions import bind
from trygon.lease import Hold
from trygon.models.folder import describe
from trygon.review.columns import Columns
from trygon.review.desk import Desk
from trygon.review.taxa import TaxonSearch
from trygon.storage import write_json
from trygon.testing.browser import browser
from trygon.testing.commands import command, told
from trygon.testing.runs import TREE, write_tiny_run
from trygon.testing.tiny import write_tiny_model

pytestmark = pytest.mark.slow

_PATIENCE_S = 90
"""A browser's first page takes long on a machine that does much else; this only ends what hangs."""
_POLL_S = 0.1


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return write_tiny_run(tmp_path, 12)


@contextmanager
def _reviewing(run: Run) -> Iterator[str]:
    """The address of a review of the run; it ends as with Ctrl-C, in good order."""
    words = command("review", str(run.folder), "--no-open", "--by", "Ana")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        for line in process.stdout:
            if line.startswith("http://127.0.0.1:"):
                yield line.strip()
                break
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "")
        assert "trygon export" in out
    finally:
        process.kill()
        process.communicate()


class _Page:
    """What a person sees and does."""

    def __init__(self, chrome: webdriver.Chrome) -> None:
        self.chrome = chrome

    def text(self, name: str) -> str:
        return self.chrome.find_element(By.ID, name).text

    def press(self, *keys: str) -> None:
        # To whatever has the focus by then: the page draws its elements anew while a person types.
        ActionChains(self.chrome).send_keys(*keys).perform()

    def until(self, name: str, pattern: str) -> None:
        """Wait for a text; a page that does not come to show it fails with what it shows."""
        try:
            WebDriverWait(self.chrome, _PATIENCE_S, _POLL_S).until(lambda _: re.search(pattern, self.text(name)))
        except Exception as error:
            raise AssertionError(f"{name}: {self.text(name)!r}, {self.text('message')!r}") from error


def test_events_are_named_with_the_keyboard(run: Run, chrome: webdriver.Chrome) -> None:
    page = _Page(chrome)
    with _reviewing(run) as address:
        chrome.get(address)
        page.until("progress-text", "0 of 10")
        assert "token" not in chrome.current_url
        page.until("where", "a · 2024-05-31 12:00:00 · 3 frames")
        assert "red fox" in page.text("labels")
        assert len(chrome.find_elements(By.CSS_SELECTOR, "#boxes .box")) == 1
        loaded = "return [...document.images].every(image => image.complete && image.naturalWidth > 0)"
        WebDriverWait(chrome, _PATIENCE_S, _POLL_S).until(lambda chrome: chrome.execute_script(loaded))
        page.press(Keys.ENTER)
        page.until("progress-text", "1 of 10")
        page.until("where", "12:10:03")
        page.press("/")
        page.press("wol")
        page.until("found", "wolf")
        page.press(Keys.ENTER)
        page.until("progress-text", "2 of 10")
        page.until("where", "12:20:06")
        page.press("+", "h")
        page.until("progress-text", "3 of 10")
        page.press("z")
        page.until("progress-text", "2 of 10")
        page.until("where", "12:20:06")
        page.press("s")
        page.until("where", "12:30:10")
        page.press("b")
        page.until("progress-text", "3 of 10")
        page.until("where", "no date")
        _choose_one_box_and_more_like_it(page)
        wrong = [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]
        assert not wrong
    rows = {row["scientific"] or row["type"]: row for row in Run.open(run.folder).observations.to_pylist()
            if row["reviewed_by"] == "Ana"}  # fmt: skip
    assert set(rows) == {"Vulpes vulpes", "Canis lupus", "Lynx lynx", "blank"}
    assert rows["Canis lupus"]["family"] == "Canidae"


def test_undo_that_is_pressed_too_early_forgets_nothing(run: Run, chrome: webdriver.Chrome) -> None:
    page = _Page(chrome)
    with _reviewing(run) as address:
        chrome.get(address)
        page.until("where", "12:00:00")
        page.press(Keys.ENTER)
        page.until("where", "12:10:03")
        chrome.execute_script("waiting = true; undo(); waiting = false")  # as while a word is on its way
        page.press("z")
        page.until("where", "12:00:00")
        page.until("progress-text", "0 of 10")


def test_frames_that_come_late_do_not_take_the_place_of_the_next_event(run: Run, chrome: webdriver.Chrome) -> None:
    page = _Page(chrome)
    with _reviewing(run) as address:
        chrome.get(address)
        page.until("where", "12:00:00")
        late = "const answered = leaf(0); next().then(() => answered).then(() => arguments[0]())"
        chrome.execute_async_script(late)
        assert "12:10:03" in page.text("where")


def _choose_one_box_and_more_like_it(page: _Page) -> None:
    """A box alone becomes a lynx, by the keyboard; then those of other events that look like it do."""
    box = page.chrome.find_element(By.CSS_SELECTOR, "#boxes .box")
    page.chrome.execute_script("arguments[0].focus()", box)
    page.press(" ")
    page.until("scope", "the 1 chosen only")
    assert page.chrome.switch_to.active_element.get_attribute("aria-checked") == "true"
    page.press("/")
    page.press("eurasian")
    page.until("found", "Eurasian lynx")
    page.press(Keys.ENTER)
    page.until("labels", "Eurasian lynx[\\s\\S]*by Ana")
    page.press("m")
    page.until("alike-text", "the most alike first")
    page.chrome.find_element(By.CSS_SELECTOR, "#alike-grid input").click()
    page.until("alike-apply", "Name the 1 chosen: Eurasian lynx")
    page.chrome.find_element(By.ID, "alike-apply").click()
    WebDriverWait(page.chrome, _PATIENCE_S, _POLL_S).until(
        lambda _: not page.chrome.find_element(By.ID, "alike-dialog").is_displayed()
    )


def test_two_browsers_do_not_speak_past_each_other(run: Run, chrome: webdriver.Chrome, tmp_path: Path) -> None:
    with _reviewing(run) as address, browser(tmp_path / "second") as other:
        pages = [_Page(chrome), _Page(other)]
        for page in pages:
            page.chrome.get(address)
            page.until("where", "12:00:00")
        pages[0].press(Keys.ENTER)
        pages[0].until("progress-text", "1 of 10")
        pages[1].press("b")
        pages[1].until("message", "somebody else reviewed this event")
        assert "by Ana" in pages[1].text("labels")
        refused = told("review", str(run.folder), "--no-open")
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "is being written by another process" in refused.stderr
    assert set(Run.open(run.folder).observations["reviewed_by"].to_pylist()) == {"Ana", None}


def test_what_was_said_becomes_examples_and_is_exported_and_searched(run: Run, tmp_path: Path) -> None:
    folder, out = str(run.folder), tmp_path / "examples"
    empty = told("review", folder, "--examples", str(out))
    assert (empty.returncode, empty.stderr.count("\n")) == (2, 1)
    assert "nobody named an animal" in empty.stderr
    desk = Desk(Columns.of(run), read_reviews(folder).to_pylist(), TaxonSearch(TREE), ReviewLog(folder, Hold()))
    event = desk.event(run.events["event_id"][0].as_py())
    desk.confirm(int(event["id"]), "Ana", event["version"])
    written = told("review", folder, "--examples", str(out))
    assert "2 pictures of 1 taxa" in written.stdout, written.stderr
    exported = told("export", folder, "--out", str(tmp_path / "dp"))
    assert exported.returncode == 0, exported.stderr
    assert "human,Ana" in (tmp_path / "dp/observations.csv").read_text()
    some_id = event["frames"][0]["observations"][0]["id"]
    found = told("search", folder, "--observation", some_id, "--num", "3")
    assert found.stdout.splitlines()[1].split()[0] == "1.000", found.stderr
    assert some_id in found.stdout
    for name, expected in (("found.csv", "cosine,observation_id"), ("found.html", "data:image/jpeg")):
        result = told("search", folder, "--observation", some_id, "--out", str(tmp_path / name))
        assert result.returncode == 0, result.stderr
        assert expected in (tmp_path / name).read_text()


def test_run_is_searched_by_text_and_picture_with_its_own_model_alone(run: Run, tmp_path: Path) -> None:
    model = str(write_tiny_model(tmp_path / "model"))
    bind(run.folder, {"model": describe(model).digest})
    write_json(tmp_path / "run/config.json", run.config | {"model": model})
    frame = next(path for path in sorted((tmp_path / "archive").rglob("*.JPG")) if path.stat().st_size)
    for query in (["--text", "a photo of a fox"], ["--like", str(frame)]):
        found = told("search", str(run.folder), *query, "--num", "4", "--taxon", "roe deer")
        assert found.returncode == 0, found.stderr
        assert [line.split()[1:3] for line in found.stdout.splitlines()[1:]] == [["roe", "deer"]] * 4
    write_tiny_model(tmp_path / "model", seed=1)
    refused = told("search", str(run.folder), "--text", "a fox")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "is not the model any more" in refused.stderr
    refused = told("search", str(run.folder), "--like", str(tmp_path / "none.jpg"))
    assert "none.jpg cannot be read" in refused.stderr
