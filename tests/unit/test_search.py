"""Search in vectors and in a run: what is found is what comparing all would find, and filters hold."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.run import Run
from trygon.archive.run_folder.search import Filters, RunSearch, open_index, rows_of_hits
from trygon.disk import only_writer
from trygon.errors import UserError
from trygon.labelling import search
from trygon.labelling.search import VectorIndex
from trygon.storage import copy_file, join, list_files, write_json
from trygon.testing.runs import DIM, write_tiny_run
from trygon.testing.s3 import s3_server, using
from trygon_jobs.search import SearchConfig, main


def _vectors(num: int, dim: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre_CD = rng.normal(size=(40, dim))
    vector_ND = centre_CD[rng.integers(0, 40, num)] + 0.5 * rng.normal(size=(num, dim))
    return (vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)).astype(np.float16)


def _index(folder: Path, vector_ND: np.ndarray, batch: int = 700) -> VectorIndex:
    ids = 10 * np.arange(len(vector_ND), dtype=np.int64) + 3

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(ids), batch):
            yield ids[start : start + batch], vector_ND[start : start + batch]

    VectorIndex.build(folder, batches, vector_ND.shape[1], len(ids))
    return VectorIndex.load(folder)


@pytest.fixture(params=["all", "cells"])
def index(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[VectorIndex, np.ndarray]:
    if request.param == "cells":
        monkeypatch.setattr(search, "_ONE_BY_ONE", 100)
    vector_ND = _vectors(3000, 32)
    return _index(tmp_path, vector_ND), vector_ND.astype(np.float32)


def test_nearest_are_those_that_comparing_all_finds(index: tuple[VectorIndex, np.ndarray]) -> None:
    found, vector_ND = index
    shares = []
    for row in range(0, 3000, 150):
        best = set(np.argsort(-(vector_ND @ vector_ND[row]))[:10].tolist())
        hits = found.nearest(vector_ND[row], 10)
        assert hits[0][0] == row
        assert all(a[1] >= b[1] for a, b in pairwise(hits))
        shares.append(len(best & {hit for hit, _ in hits}) / 10)
    assert np.mean(shares) > 0.9
    assert found.row(10 * 77 + 3) == 77
    assert found.row(5) is None
    assert found.vector(77) @ vector_ND[77] > 0.99


def test_what_is_not_allowed_is_not_found_and_rare_ones_are(index: tuple[VectorIndex, np.ndarray]) -> None:
    found, vector_ND = index
    allowed_N = np.zeros(3000, bool)
    allowed_N[[5, 2000, 2999]] = True
    assert sorted(row for row, _ in found.nearest(vector_ND[0], 10, allowed_N)) == [5, 2000, 2999]
    assert found.nearest(vector_ND[0], 10, np.zeros(3000, bool)) == []
    with pytest.raises(UserError, match="8 dimensions, the run's vectors have 32"):
        found.nearest(np.ones(8), 1)


@settings(max_examples=15)
@given(st.integers(1, 60), st.integers(1, 7), st.integers(0, 100))
def test_few_vectors_are_found_exactly(
    tmp_path_factory: pytest.TempPathFactory, num: int, batch: int, seed: int
) -> None:
    vector_ND = _vectors(num, 6, seed)
    found = _index(tmp_path_factory.mktemp("index"), vector_ND, batch)
    score_N = vector_ND.astype(np.float32) @ vector_ND[0].astype(np.float32)
    hits = found.nearest(vector_ND[0], num)
    assert sorted(row for row, _ in hits) == list(range(num))
    assert np.allclose([score for _, score in hits], np.sort(score_N)[::-1], atol=1e-4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_tiny_run(tmp_path_factory.mktemp("run"), 12)


def test_observations_of_the_same_animal_come_first(run: Run) -> None:
    found = RunSearch(run, run.observations)
    foxes = [row for row in run.observations.to_pylist() if row["scientific"] == "Vulpes vulpes"]
    for some_id in (foxes[0]["observation_id"], foxes[0]["detection_id"]):
        hits = found.nearest(found.vector_of(some_id), len(foxes), found.allowed(Filters(taxa=("Animalia",))))
        rows = rows_of_hits(run, hits)
        assert rows[0]["observation_id"] == foxes[0]["observation_id"] == hits[0].observation_id
        assert {row["scientific"] for row in rows} == {"Vulpes vulpes"}
        assert rows[0]["cosine"] == pytest.approx(1, abs=1e-3)
    with pytest.raises(UserError, match="no observation of that id"):
        found.vector_of(5)


@pytest.mark.parametrize(
    ("filters", "names", "cameras"),
    [
        (Filters(taxa=("roe deer",)), {"Capreolus capreolus"}, {"a", "b"}),
        (Filters(taxa=("CANIDAE",), deployments=("b",)), {"Vulpes vulpes"}, {"b"}),
        (Filters(deployments=("a",)), {"Capreolus capreolus", "Vulpes vulpes"}, {"a"}),
        (Filters(before=datetime(2024, 5, 31, 12, 1)), {"Vulpes vulpes", None}, {"a", "b"}),
        (Filters(after=datetime(2024, 5, 31, 12, 25)), {"Capreolus capreolus"}, {"a", "b"}),
        (Filters(after=datetime(2024, 6, 1)), set(), set()),
    ],
)
def test_filters_hold(run: Run, filters: Filters, names: set[str | None], cameras: set[str]) -> None:
    found = RunSearch(run, run.observations)
    rows = rows_of_hits(run, found.nearest(np.ones(DIM), 100, found.allowed(filters)))
    assert {row["scientific"] for row in rows} == names
    assert {row["deployment"] for row in rows} == cameras


def test_time_with_an_offset_is_moved_to_the_cameras_clocks(run: Run, tmp_path: Path) -> None:
    """Which stand at +02:00 here; the first animals were taken at noon."""
    folder, out = tmp_path / "run", tmp_path / "found.csv"
    shutil.copytree(run.folder, folder)
    write_json(folder / "config.json", run.config | {"time_zone": "+02:00"})
    some_id = run.observations["detection_id"].drop_null()[0].as_py()
    for before, found in (("2024-05-31T12:01+02:00", True), ("2024-05-31T12:01+03:00", False)):
        config = {"run": str(folder), "observation": some_id, "before": before, "out": out}
        main(SearchConfig.model_validate(config))
        assert (len(out.read_text().splitlines()) > 1) == found


@pytest.mark.parametrize(
    ("filters", "message"),
    [(Filters(taxa=("Felis",)), "--taxon Felis: no obs"), (Filters(deployments=("z",)), "--deployment z: the run")],
)
def test_a_name_that_the_run_does_not_have_is_told(run: Run, filters: Filters, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RunSearch(run, run.observations).allowed(filters)


def test_index_is_made_once_and_again_when_the_vectors_change(tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path)
    made: list[int] = []
    num = len(open_index(run, lambda done, total: made.append(done)))
    open_index(run, lambda done, total: made.append(done))
    assert made == [num]
    with only_writer(tmp_path / "run/search"):  # reading needs no writer's place
        assert len(open_index(run)) == num
    parts = Parts(run.folder)
    (table,) = parts.detections()
    row = table.to_pylist()[0] | {"detection_id": 4711}
    media = {"media_id": row["media_id"], "path": "x.jpg", "deployment": "a"}
    parts.commit(1, [media | {"detections": [row, row | {"detection_id": 4712, "vector": None}]}])
    assert len(open_index(run, lambda done, total: made.append(done))) == num + 1
    assert open_index(run).row(4711) is not None
    assert all("/run/" in file for file in list_files(tmp_path / "run/search"))


def test_index_that_another_process_makes_is_waited_for(tmp_path: Path) -> None:
    """As where several replicas of the online classifier start with a run that has none."""
    run, made = write_tiny_run(tmp_path), list[int]()
    with ThreadPoolExecutor(1) as pool:
        with only_writer(tmp_path / "run/search"):
            second = pool.submit(open_index, run, lambda done, total: made.append(done))
            time.sleep(0.5)
            assert not second.done()
        assert len(second.result(30)) == sum(made)


def test_a_run_without_vectors_is_told(tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path)
    Parts(run.folder).commit(0, [row | {"detections": []} for row in run.media.to_pylist()])
    with pytest.raises(UserError, match="no vectors to search in"):
        open_index(run)


def test_a_run_on_s3_is_searched_and_its_index_kept_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRYGON_CACHE", str(tmp_path / "cache"))
    folder = Path(write_tiny_run(tmp_path).folder)
    with s3_server("field") as server, using(server):
        for path in (path for path in folder.rglob("*") if path.is_file()):
            copy_file(path, join("s3://field/run", path.relative_to(folder).as_posix()))
        run = Run.open("s3://field/run")
        made: list[int] = []
        for _ in range(2):
            found = RunSearch(run, run.observations, lambda done, total: made.append(done))
            some_id = next(row["observation_id"] for row in run.observations.to_pylist() if row["detection_id"])
            hits = found.nearest(found.vector_of(some_id), 3, found.allowed(Filters()))
            assert hits[0].observation_id == some_id
        assert len(made) == 1
        assert "s3://field/run/search/index.json" in list_files("s3://field/run/search")
