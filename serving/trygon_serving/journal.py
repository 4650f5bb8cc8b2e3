"""The log of requests: one JSON object a line. It holds no picture, no key, and nothing of what was asked."""

import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
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


def set_up(path: str = "") -> logging.Logger:
    """Write to a file, which is followed by a new one at 50 MB, or to standard error."""
    logger = logging.getLogger(LOGGER)
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if path:
        handler = RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=_NUM_FILES)
    handler.setFormatter(JsonLines())
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger
