"""A person at the page of a server, in a real browser: what is seen, and what is done."""

from collections.abc import Callable
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

_PATIENCE_S = 90
"""A browser's first page takes long on a machine that does much else; this only ends what hangs."""


class Page:
    """The page at an address, as it was just opened."""

    def __init__(self, chrome: webdriver.Chrome, address: str, is_locked: bool = False) -> None:
        self.chrome = chrome
        chrome.get(address)
        self.until(lambda: is_locked or Select(self.one("#labels")).options)

    def one(self, selector: str) -> WebElement:
        return self.chrome.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        # In one step: the page is drawn anew while it is looked at.
        script = "return [...document.querySelectorAll(arguments[0])].map(it => it.innerText)"
        return self.chrome.execute_script(script, selector)

    def until(self, holds: Callable[[], object]) -> None:
        WebDriverWait(self.chrome, _PATIENCE_S, 0.1).until(lambda _: holds())

    def show(self, file: Path) -> None:
        before = self.chrome.execute_script("return asked")
        self.one("#file").send_keys(str(file))
        self.until(lambda: self.chrome.execute_script("return asked") > before)
        self.answered()

    def answered(self) -> None:
        self.until(
            lambda: (
                self.texts(".verdict, .problem") and "busy" not in (self.one("#answer").get_attribute("class") or "")
            )
        )

    @property
    def alternatives(self) -> list[str]:
        return self.texts(".top .name")

    @property
    def errors(self) -> list[str]:
        return [it["message"] for it in self.chrome.get_log("browser") if it["level"] == "SEVERE"]  # pyright: ignore[reportAttributeAccessIssue]
