"""A run's detections and vectors in another run folder, to be named anew. Reads no picture, loads no model."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from trygon.archive.detection.detector import Thresholds
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.reviews import FOLDER as REVIEWS
from trygon.archive.run_folder.sessions import BOUND, RUN, THRESHOLDS, makers
from trygon.archive.run_folder.tables import DamagedError, require_whole
from trygon.errors import UserError
from trygon.labelling.bank import LabelBank
from trygon.lease import Hold
from trygon.storage import copy_file, exists, is_remote, join, list_folder, name_of, read_bytes, read_json, write_bytes

_FIXED = ("parts", "vectors")
"""Folders whose files are never changed once they are written: they can be shared."""


def require_labels(run_folder: str | Path, bank: LabelBank) -> None:
    """`UserError` unless the labels were built with the model that made the run's vectors."""
    if bank.model_key != makers(run_folder)["model"]:
        raise UserError(
            f"the labels were built with {bank.model}, and the vectors in {run_folder} were made by another model; "
            "build labels with the model of that run"
        )


def require_thresholds(run_folder: str | Path, thresholds: Thresholds) -> None:
    """`UserError` for a threshold below the one with which the run's boxes were kept: others are not there."""
    kept = read_json(join(run_folder, BOUND))[THRESHOLDS]
    for category, least in thresholds.items():
        if least < kept.get(category, 0):
            raise UserError(
                f"--{category}-threshold {least:g}: {run_folder} kept no {category}'s box below {kept[category]:g}; "
                "give that or more, or label the archive again, without --from"
            )


@contextmanager
def blaming_source(run_folder: str | Path, out: str | Path) -> Iterator[None]:
    """Where a part cannot be read here, tell of the one that it was brought from, if that is damaged: to bring it
    again would not help."""
    try:
        yield
    except DamagedError as error:
        for folder in _FIXED:
            if error.place == join(out, folder, name_of(error.place)):
                require_whole(join(run_folder, folder, name_of(error.place)))
        raise


def carry_over(run_folder: str | Path, out: str | Path, hold: Hold) -> None:
    """Bring what a run found, and what people said of it, into another folder; what is there already stays.

    On one disk files are linked and take no room twice. Reviews, which grow, are copied. Parts that are gone from
    there, as they were damaged and done again, go here too. `UserError` where another run lies in that folder: parts
    of two runs have the same names.
    """
    if not exists(join(out, BOUND)):
        if list_folder(join(out, _FIXED[0])):
            raise UserError(f"--out {out} has parts of a run and does not say of which: give another --out")
    elif read_json(join(out, BOUND)).get(RUN) != read_json(join(run_folder, BOUND)).get(RUN):
        raise UserError(f"--out {out} holds another run than {run_folder}: give another --out, or remove it")
    hold.check()
    write_bytes(join(out, BOUND), read_bytes(join(run_folder, BOUND)))
    here = Parts(out, hold)
    here.clean()
    here.remove(sorted(set(here.numbers()) - set(Parts(run_folder).numbers())))
    for source, target, shared in _files(run_folder, out):
        if not exists(target):
            hold.check()
            _bring(source, target, shared)


def require_all(run_folder: str | Path, media_id: np.ndarray, here: Parts) -> None:
    """`UserError` where parts lack frames of the run, as a damaged one was removed: they would be called blank."""
    num = int((here.finished().find(media_id) < 0).sum())
    if num:
        way_out = "give the `trygon label` command that made it again first"
        raise UserError(f"{run_folder} lacks parts with {num} of its frames: {way_out}")


def _files(run_folder: str | Path, out: str | Path) -> Iterator[tuple[str, str, bool]]:
    # The commit of a part comes after its detections, as it did there.
    for folder in (*_FIXED[::-1], REVIEWS):
        there = {file.name for file in list_folder(join(out, folder))}
        for file in list_folder(join(run_folder, folder)):
            if file.name not in there:
                yield file.place, join(out, folder, name_of(file.place)), folder in _FIXED


def _bring(source: str, target: str, shared: bool) -> None:
    if is_remote(source):
        write_bytes(target, read_bytes(source))
        return
    if shared and not is_remote(target):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
            return
        except OSError:  # another disk, or one that knows no links
            pass
    copy_file(Path(source), target)
