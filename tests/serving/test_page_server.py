"""What the page at `/` makes of the server behind it: keys, versions and models."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from pages import Page
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from trygon.testing.served import Served
from trygon_serving.args import AppArgs
from trygon_serving.catalogue import VersionSpec
from trygon_serving.keys import add_key

OverHttp = Callable[[AppArgs], AbstractContextManager[str]]

pytestmark = pytest.mark.slow


def test_a_key_is_asked_for_and_taken_with_what_was_copied_along(
    over_http: OverHttp, chrome: webdriver.Chrome, args: AppArgs, photo_file: Path, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.json", "app")
    with over_http(args.model_copy(update={"keys": str(tmp_path / "keys.json")})) as address:
        page = Page(chrome, address, is_locked=True)
        page.until(lambda: chrome.switch_to.active_element.get_attribute("id") == "key")
        page.show(photo_file)
        assert page.texts(".problem") == ["Enter a key: this server asks for one."]
        page.one("#key").send_keys("trygon_no_such", Keys.ENTER)
        page.until(lambda: page.texts(".problem") == ["This key is not known here. Enter another one."])
        page.until(lambda: chrome.switch_to.active_element.get_attribute("id") == "key")
        page.one("#key").clear()
        page.one("#key").send_keys(f"\u200b {key}\ufeff", Keys.ENTER)
        page.until(lambda: page.texts(".verdict") and Select(page.one("#labels")).options)
        assert not page.one("#ask-key").is_displayed()
        # What an earlier page kept is cleaned too.
        chrome.execute_script("sessionStorage.setItem('key', arguments[0])", f"\u200b{key}")
        Page(chrome, address).show(photo_file)
        assert page.texts(".verdict")
        chrome.execute_script("sessionStorage.clear()")
    chrome.get_log("browser")  # pyright: ignore[reportAttributeAccessIssue]  # the refusals are there as errors


def test_a_wrong_key_is_told_before_there_is_a_photo(
    over_http: OverHttp, chrome: webdriver.Chrome, args: AppArgs, tmp_path: Path
) -> None:
    """In the part of the page that a screen reader reads by itself."""
    key = add_key(tmp_path / "keys.json", "app")
    with over_http(args.model_copy(update={"keys": str(tmp_path / "keys.json")})) as address:
        page = Page(chrome, address, is_locked=True)
        page.until(lambda: chrome.switch_to.active_element.get_attribute("id") == "key")
        assert page.texts(".problem") == []  # nothing is wrong yet
        page.one("#key").send_keys(" ", Keys.ENTER)
        page.until(lambda: page.texts("#answer[aria-live] .problem") == ["Enter a key: this server asks for one."])
        page.one("#key").send_keys("trygon_no_such", Keys.ENTER)
        unknown = ["This key is not known here. Enter another one."]
        page.until(lambda: page.texts("#answer[aria-live] .problem") == unknown)
        page.until(lambda: chrome.switch_to.active_element.get_attribute("id") == "key")
        page = Page(chrome, address, is_locked=True)  # it was kept, and is as wrong as before
        page.until(lambda: page.texts("#answer[aria-live] .problem") == unknown)
        page.one("#key").send_keys(key, Keys.ENTER)
        page.until(lambda: Select(page.one("#labels")).options)
        assert page.texts("#answer") == ["The answer appears here."]
        chrome.execute_script("window.fetch = () => Promise.reject(new TypeError()); describe()")
        page.until(lambda: page.texts(".problem") == ["The server does not answer. Is it still running?"])
        chrome.execute_script("sessionStorage.clear()")
    chrome.get_log("browser")  # pyright: ignore[reportAttributeAccessIssue]  # the refusals are there as errors


def test_the_footer_names_the_version_that_most_requests_go_to(
    over_http: OverHttp, chrome: webdriver.Chrome, args: AppArgs, tiny: Served
) -> None:
    assert isinstance(args.models, dict)
    first = args.models["tiny"]["v1"]
    versions = {"v1": first.model_copy(update={"share": 0.1}), "v2": first.model_copy(update={"share": 0.9})}
    with over_http(args.model_copy(update={"models": {"tiny": versions}})) as address:
        page = Page(chrome, address)
        assert page.texts("#served") == [f"Model tiny/v2, {tiny.model.digest[:12]}."]


def test_several_models_can_be_chosen_from(
    over_http: OverHttp, chrome: webdriver.Chrome, args: AppArgs, tiny: Served, photo_file: Path
) -> None:
    """One alone is not shown as a choice; each has its own label sets."""
    assert isinstance(args.models, dict)
    dogs = args.models["tiny"]["v1"].labels["dogs"]
    second = VersionSpec(model=str(tiny.model_folder), labels={"hounds": dogs})
    with over_http(args.model_copy(update={"models": args.models | {"second": {"v1": second}}})) as address:
        page = Page(chrome, address)
        assert page.one("#model").is_displayed()
        page.show(photo_file)
        assert len(page.alternatives) == 4
        Select(page.one("#model")).select_by_value("second")
        page.until(lambda: len(page.alternatives) == 2)
        assert [it.text for it in Select(page.one("#labels")).options] == ["hounds (2 taxa)"]
        Select(page.one("#model")).select_by_value("tiny")
        page.until(lambda: len(page.alternatives) == 4)
