"""pybioclip behind FastAPI, as people wrap it: `python pybioclip_app.py MODEL_FOLDER PORT`. Loopback, one process."""

import io
import os
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import uvicorn
from bioclip import CustomLabelsClassifier
from fastapi import FastAPI, UploadFile
from PIL import Image

_NAMES = ["lion", "oak", "monarch butterfly", "red fox", "raven"]
"""Few: it multiplies with dense vectors of all names, and makes eighty captions of each when it starts."""


def make_app(model: str) -> FastAPI:
    """One endpoint; FastAPI runs it in its threads, as it is no coroutine."""
    classifier = CustomLabelsClassifier(_NAMES, model_str=f"local-dir:{model}")
    app = FastAPI()

    @app.post("/predict")
    def predict(image: UploadFile) -> Any:
        picture = Image.open(io.BytesIO(image.file.read())).convert("RGB")
        return classifier.predict([picture], k=5)

    return app


if __name__ == "__main__":
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):  # it draws a bar for each picture
        uvicorn.run(make_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
