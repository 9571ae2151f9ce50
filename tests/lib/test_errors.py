"""The base of all errors that clients see."""

from lib.errors import CourierError


def test_an_error_says_what_it_was_given():
    error = CourierError("The model is unknown.", param="model", retry_after=1.5)

    assert str(error) == error.message == "The model is unknown."
    assert (error.param, error.retry_after) == ("model", 1.5)


def test_an_error_without_a_class_of_its_own_is_the_servers_fault():
    error = CourierError("Something broke.")

    assert (error.status, error.type, error.code) == (500, "server_error", "internal_error")


def test_headers_of_one_error_are_not_those_of_another():
    first, second = CourierError("One."), CourierError("Two.")

    first.headers["retry-after"] = "1"

    assert second.headers == {}
