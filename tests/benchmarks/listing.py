"""What it takes to list an archive of S3 and to plan a run over it: CPU seconds and memory, by the number of keys.

    python tests/benchmarks/listing.py [--keys 1000000]

A server in a process of its own answers ListObjectsV2, a thousand keys a page, as S3 does; nothing else of S3 is
there. Memory is the peak of the process that lists, after each step, less what it had before the first one.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from trygon.archive.inputs.listing import Archive, Listing, write_listing
from trygon.archive.inputs.media import MediaFile
from trygon.archive.media.reading import digest_now
from trygon.archive.run_folder.parts import Parts
from trygon.archive.run_folder.planning import plan_missing
from trygon.archive.run_folder.presence import sort_media
from trygon.lease import Hold
from trygon.testing.s3 import using

_PAGE, _PER_CAMERA = 1000, 2000
_HEAD = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'


def _key(number: int) -> str:
    return f"season/camera-{number // _PER_CAMERA:05d}/DCIM/100EK113/IMG_{number % _PER_CAMERA:05d}.JPG"


def _contents(number: int) -> str:
    facts = f"<Size>{1_500_000 + number}</Size><ETag>&quot;{number:032x}&quot;</ETag>"
    return f"<Contents><Key>{_key(number)}</Key>{facts}</Contents>"


def _serve(num_keys: int, told: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            first = int(asked.get("continuation-token", ["0"])[0])
            last = 0 if "prefix" in asked else min(first + _PAGE, num_keys)
            body = _HEAD + "".join(map(_contents, range(first, last)))
            more = f"<NextContinuationToken>{last}</NextContinuationToken>" if first < last < num_keys else ""
            body += f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}</ListBucketResult>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_HEAD(self) -> None:
            self.send_response(404 if self.path.strip("/").count("/") else 200)  # the bucket is there
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.send(server.server_port)
    server.serve_forever()


@contextmanager
def _server(num_keys: int) -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(num_keys, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.kill()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _commit(parts: Parts, listing: Listing) -> None:
    """Parts as a run leaves them, with rows of failures: they have all columns that planning reads."""
    for number, batch in enumerate(listing.batches()):
        rows = batch.select(["media_id", "path", "deployment", "bytes", "mark"]).to_pylist()
        parts.commit(number, [row | {"failure": "empty", "detections": []} for row in rows])


def main() -> None:
    """List, plan, and plan again when all is done."""
    parser = argparse.ArgumentParser(description="CPU seconds and memory of listing and planning.")
    parser.add_argument("--keys", type=int, default=1_000_000)
    num_keys = parser.parse_args().keys
    assert MediaFile(_key(0), 1).deployment == "season/camera-00000"
    with _server(num_keys) as address, using(address), tempfile.TemporaryDirectory() as scratch:
        archive, parts = Archive("s3://frames"), Parts(scratch)
        list(zip(archive.files(), range(1), strict=False))  # what the client itself needs is no part of it
        start_mb = _peak_mb()

        def told(step: str, start: float) -> None:
            print(f"{step:<28} {time.process_time() - start:7.1f} CPU s   {_peak_mb() - start_mb:7.0f} MB", flush=True)

        start = time.process_time()
        listing = write_listing(archive, scratch, Hold())
        told(f"list {listing.num_files} keys", start)
        start = time.process_time()
        plan = plan_missing(parts, listing, 64, partial(digest_now, archive))
        assert plan.num_files == num_keys
        told(f"plan {len(plan.sizes)} parts", start)
        _commit(parts, listing)
        start_mb += max(0.0, _peak_mb() - start_mb)
        start = time.process_time()
        assert plan_missing(parts, listing, 64, partial(digest_now, archive)).num_files == 0
        told("plan when all is done", start)
        start = time.process_time()
        assert sort_media(parts, listing)[0].num_rows == num_keys
        told("media of all", start)
        print(f"listing.parquet: {Path(listing.place).stat().st_size / num_keys:.0f} bytes a key")


if __name__ == "__main__":
    main()
