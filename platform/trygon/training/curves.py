"""How training went, from its metrics file: a picture, and what was not as it should be."""

import json
from pathlib import Path

import numpy as np

from trygon.storage import read_bytes

_SHOWN = {"loss": "loss", "logit_scale": "logit scale", "gradient_norm": "gradient norm", "images_per_s": "samples/s"}
_POINTS = 500


def count_stand_ins(metrics: str) -> dict[str, int]:
    """Over all steps: `broken` pictures, which others stood in for, and `cut_captions`."""
    lines = [json.loads(line) for line in read_bytes(metrics).splitlines()]
    return {name: round(sum(line.get(name, 0) for line in lines)) for name in ("broken", "cut_captions")}


def draw_curves(metrics: str, path: Path) -> None:
    """A PNG with a panel for each of the main figures over the steps, averaged to some hundred points."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in read_bytes(metrics).splitlines()]
    size = max(1, len(lines) // _POINTS)
    whole = lines[: len(lines) // size * size]
    figure = Figure(figsize=(10, 6), layout="constrained")
    for panel, (name, title) in zip(figure.subplots(2, 2).flat, _SHOWN.items(), strict=True):
        steps, values = (
            np.reshape([line.get(key, np.nan) for line in whole], (-1, size)).mean(1) for key in ("step", name)
        )
        panel.plot(steps, values, linewidth=1.2)
        panel.set(title=title, xlabel="step")
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
