"""The log of requests: one JSON object a line. It holds no picture, no key, and nothing of what was asked."""

import fcntl
import json
import logging
import os
import sys
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

LOGGER = "trygon.serving"

_FILE_BYTES, _NUM_FILES = 50_000_000, 3


class JsonLines(logging.Formatter):
    """Records as JSON: their message, and what was given as `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "message": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class SharedFile(WatchedFileHandler):
    """A file that all replicas append to. Who fills it up renames it; the others see that and go on in the new one."""

    def __init__(self, path: str, most_bytes: int = _FILE_BYTES) -> None:
        super().__init__(path)
        self._most_bytes = most_bytes

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, whole."""
        super().emit(record)
        try:
            if self.stream and os.fstat(self.stream.fileno()).st_size >= self._most_bytes:
                self._put_aside()
        except OSError:
            self.handleError(record)

    def _put_aside(self) -> None:
        """Rename the file, and those before it by one number more, unless another replica has meanwhile."""
        assert self.stream
        fcntl.flock(self.stream, fcntl.LOCK_EX)
        try:
            path = Path(self.baseFilename)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(self.stream.fileno())):
                older = [path.with_name(f"{path.name}.{number}") for number in range(1, _NUM_FILES + 1)]
                for newer, place in reversed(list(zip([path, *older], older, strict=False))):
                    if newer.exists():
                        newer.replace(place)
        finally:
            fcntl.flock(self.stream, fcntl.LOCK_UN)


def set_up(path: str = "") -> logging.Logger:
    """Write to a file, which is followed by a new one at 50 MB, or to standard error."""
    logger = logging.getLogger(LOGGER)
    handler: logging.Handler = SharedFile(path) if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger
