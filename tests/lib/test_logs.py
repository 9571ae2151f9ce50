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
