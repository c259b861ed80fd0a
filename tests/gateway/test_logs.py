"""What a line of the log looks like, to machines and people."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from gateway import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _keep_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    yield
    sys.excepthook = hook
    root.handlers[:] = handlers
    root.setLevel(level)


def failure() -> Exception:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        return error


def test_a_machine_gets_one_json_object_per_line() -> None:
    stream = io.StringIO()
    logs.setup("worker 0", stream=stream)
    logging.getLogger("a.b").warning("hello %s\nx", "you", extra={"port": 80}, exc_info=failure())
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert told["time"].endswith("Z")
    assert len(told["time"]) == 24
    assert (told["level"], told["process"], told["logger"]) == ("warning", "worker 0", "a.b")
    assert (told["message"], told["port"], told["error"]) == ("hello you\nx", 80, "ValueError('two\\nlines')")
    assert "in failure" in told["traceback"]


def test_a_person_gets_words_and_no_control_characters() -> None:
    stream = Terminal()
    logs.setup("control", stream=stream)
    logging.getLogger("a").info("model %s", "x\n12:00 ERROR forged\x1b[31m", extra={"reason": "a\rb"})
    line = stream.getvalue()
    assert line.endswith("INFO    control: model x\\x0a12:00 ERROR forged\\x1b[31m reason=a\\x0db\n")
    logging.getLogger("a").error("failed", exc_info=failure())
    assert "ValueError: two" in stream.getvalue()


def test_the_level_is_the_least_that_shows() -> None:
    stream = io.StringIO()
    logs.setup("control", "warning", stream)
    logging.getLogger("a").info("no")
    logging.getLogger("a").warning("yes")
    assert len(stream.getvalue().splitlines()) == 1


def test_what_ends_a_process_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    logs.setup("control", stream=stream)
    error = failure()
    sys.excepthook(type(error), error, error.__traceback__)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["message"] == "ended by an error"
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert len(stream.getvalue().splitlines()) == 1
    assert "KeyboardInterrupt" in capsys.readouterr().err
