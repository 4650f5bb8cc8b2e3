"""The pictures of the web page that docs/serve.md shows: on a desk's screen, and on a phone's.

    python tests/benchmarks/page_pictures.py http://127.0.0.1:8000 PHOTO docs/images

The address is that of a `trygon serve` with a gallery; PHOTO is one that may be shown, and is named with its author
beside the picture. Writes serve.jpg and serve-phone.jpg: the whole page, as high as it is.
"""

import argparse
import base64
import io
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from trygon.testing.browser import browser

_SIZES = {"serve.jpg": (1165, 900, False), "serve-phone.jpg": (390, 844, True)}
"""Width and height of each screen, and whether it is a phone's."""
_QUALITY = 70


def take(chrome: webdriver.Chrome, address: str, photo: Path, size: tuple[int, int, bool]) -> Image.Image:
    """The page with the answer to a photo and its examples."""
    width, height, is_phone = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chrome.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": is_phone})
    chrome.get(address)
    wait = WebDriverWait(chrome, 60, 0.1)
    wait.until(lambda _: chrome.find_elements(By.CSS_SELECTOR, "#labels option"))
    chrome.find_element(By.ID, "file").send_keys(str(photo.absolute()))
    wait.until(lambda _: chrome.find_elements(By.CSS_SELECTOR, ".verdict"))
    loaded = "return [...document.querySelectorAll('#examples img')].filter(it => it.complete).length"
    wait.until(lambda _: chrome.execute_script(loaded))
    chrome.execute_async_script("setTimeout(arguments[0], 1000)")  # the bars grow
    shot = chrome.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
    return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("photo", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as chrome:
        for name, size in _SIZES.items():
            picture = take(chrome, options.address, options.photo, size)
            picture.save(options.out / name, quality=_QUALITY, optimize=True)
            print(f"{options.out / name}: {picture.size}, {(options.out / name).stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
