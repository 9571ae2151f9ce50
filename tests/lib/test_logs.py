"""One line per log event."""

import io
import json
import logging
from logging.config import DictConfigurator

import pytest
import structlog

from lib.logs import logging_config


@pytest.fixture
def logger():
    """A logger with the formatter of production. `logger.lines()` is what it wrote."""
    config = DictConfigurator(logging_config(level="INFO", as_json=True))
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(config.configure_formatter(config.config["formatters"]["line"]))
    logger = logging.getLogger("courier.test")
    logger.addHandler(handler)
    logger.lines = lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    yield logger
    logger.removeHandler(handler)


def test_an_event_is_one_line_of_json(logger):
    logger.warning("spool: %d records\nwaiting", 3)

    (line,) = logger.lines()

    assert line["event"] == "spool: 3 records\nwaiting"
    assert line["level"] == "warning"
    assert line["logger"] == "courier.test"
    assert line["timestamp"].endswith("Z")


def test_an_exception_stays_on_the_line(logger):
    try:
        raise ValueError("odd")
    except ValueError:
        logger.exception("failed")

    (line,) = logger.lines()

    assert "ValueError: odd" in line["exception"]


def test_what_is_bound_to_the_request_is_on_the_line(logger):
    with structlog.contextvars.bound_contextvars(request_id="0192"):
        logger.warning("asked")

    (line,) = logger.lines()

    assert line["request_id"] == "0192"


@pytest.mark.parametrize("name", ["httpx", "aiohttp.access", "uvicorn.access"])
def test_loggers_that_name_every_url_are_quiet(name):
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)


def test_a_logger_that_names_tokens_of_sessions_is_quiet_even_where_all_others_speak():
    loggers = logging_config(level="DEBUG", as_json=True)["loggers"]

    assert loggers["botocore"]["level"] == "WARNING"


FORGED = {
    "a line": "x\n2026-11-25T00:00:00Z [error] forged",
    "a carriage return": "x\rforged",
    "both": "x\r\nforged",
    "colors": "x\x1b[31mred\x1b[0m",
    "a title": "\x1b]0;forged\x07",
    "a short escape": "x\x9b2Jforged",
    "NUL": "x\x00y",
    "backspace": "x\b\b\bforged",
    "delete": "x\x7fy",
    "a next line": "x\x85forged",
    "a line separator": "x\u2028forged",
    "a paragraph": "x\u2029forged",
    "right to left": "x\u202eforged",
    "isolates": "x\u2066y\u2069",
    "nothing to see": "x\u200by\ufeff",
    "JSON": '", "level": "error", "event": "forged',
    "half a pair": "x\ud800y",
    "a lot": "x" * 1_000_000,
}
INVISIBLE = {
    *map(chr, [*range(9), *range(11, 32), *range(127, 160)]),
    *"\u2028\u2029\u202e\u2066\u2069\u200b\ufeff",
}


@pytest.fixture(params=[True, False], ids=["JSON", "text"])
def written(request):
    """Log an event with a value, and see what was written."""

    def write(value):
        config = DictConfigurator(logging_config(level="INFO", as_json=request.param))
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(config.configure_formatter(config.config["formatters"]["line"]))
        # By itself, for half of a surrogate pair in a report ends a worker of xdist.
        logger = logging.Logger("courier.test.forged")
        logger.addHandler(handler)
        try:
            logger.warning("provider %s answered", value)
        finally:
            logger.removeHandler(handler)
        return stream.getvalue()

    return write


@pytest.mark.parametrize("value", FORGED.values(), ids=FORGED)
def test_s36_nobody_writes_a_log_line_of_its_own(written, value):
    line = written(value)

    assert line.count("\n") == 1
    assert not INVISIBLE & set(line)
    assert len(line) < 5000
    if line.startswith("{"):
        told = json.loads(line)
        assert told["level"] == "warning"
        assert told["event"].startswith("provider")


def test_s36_ordinary_words_are_logged_as_they_are(written):
    assert "Zürich – 東京" in written("Zürich – 東京") or "\\u6771" in written("Zürich – 東京")
