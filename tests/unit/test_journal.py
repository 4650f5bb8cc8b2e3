"""The log of requests in a file that several replicas write to."""

import json
import logging
from pathlib import Path
from threading import Thread

from trygon_serving.journal import JsonLines, SharedFile


def _write(path: Path, replica: int, num_lines: int, most_bytes: int) -> None:
    handler = SharedFile(str(path), most_bytes)
    handler.setFormatter(JsonLines())
    for number in range(num_lines):
        record = logging.LogRecord("", logging.INFO, "", 0, "request", None, None)
        record.fields = {"replica": replica, "number": number}
        handler.handle(record)
    handler.close()


def test_replicas_lose_no_line_where_one_of_them_has_the_file_followed_by_a_new_one(tmp_path: Path) -> None:
    path, num_lines = tmp_path / "log.jsonl", 200
    line_bytes = 100
    writers = [Thread(target=_write, args=(path, it, num_lines, num_lines * line_bytes)) for it in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    files = sorted(tmp_path.iterdir())
    assert {it.name for it in files} >= {"log.jsonl", "log.jsonl.1", "log.jsonl.2"}
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    wanted = {(replica, number) for replica in range(3) for number in range(num_lines)}
    assert {(it["replica"], it["number"]) for it in lines} == wanted
    assert len(lines) == len(wanted)


def test_the_oldest_file_goes(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    _write(path, 0, 20, most_bytes=1)
    assert sorted(it.name for it in tmp_path.iterdir()) == [f"log.jsonl.{number}" for number in (1, 2, 3)]
    assert [json.loads((tmp_path / f"log.jsonl.{it}").read_text())["number"] for it in (1, 2, 3)] == [19, 18, 17]
