"""A real browser without a screen: Debian's Chromium and its driver, installed where they are missing."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver

from trygon.testing.debian import install

_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    "--window-size=1360,900",
]


def install_chromium() -> tuple[str, str]:
    """Where the browser and its driver are. `FileNotFoundError` where they are missing and apt is not there either."""
    install({"chromium": "chromium", "chromedriver": "chromium-driver"})
    found = shutil.which("chromium"), shutil.which("chromedriver")
    assert found[0], "the package brings it"
    assert found[1], "the package brings it"
    return found[0], found[1]


@contextmanager
def browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own. What a page logs as an error is in `get_log("browser")`."""
    chromium, driver = install_chromium()
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()
