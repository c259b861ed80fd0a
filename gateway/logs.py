"""Structured log lines on stderr: JSON where a machine reads them, words where a person does. Never payloads.

A fact that a machine may want goes in `extra`: `log.info("listening", extra={"address": address})`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from types import TracebackType
from typing import Final, TextIO

LEVELS: Final = ("debug", "info", "warning", "error")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


def setup(process: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Send all loggers of this process to `stream` (stderr), one line per record, JSON unless it is a terminal."""
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Words(process) if stream.isatty() else Json(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    sys.excepthook = _log_uncaught


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends a process is one line too."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger(__name__).critical("ended by an error", exc_info=(kind, error, trace))


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class Json(logging.Formatter):
    """One JSON object per line: time (UTC), level, process, pid, logger, message, the extras, error and traceback."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = repr(record.exc_info[1])
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class Words(logging.Formatter):
    """`12:00:01.250 INFO control: message key=value`. Control characters are escaped; a traceback takes its lines."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        clock = f"{time.strftime('%H:%M:%S', time.localtime(record.created))}.{int(record.msecs):03d}"
        words = [record.getMessage(), *(f"{name}={value}" for name, value in _extra(record).items())]
        line = f"{clock} {record.levelname:<7} {self._process}: " + " ".join(words).translate(_CONTROL)
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + self.formatException(record.exc_info)
        return line
