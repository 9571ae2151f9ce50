import pytest

from gateway.sessions import session_of


def session(body, header=""):
    return session_of(header, body)


def talk(*texts):
    return {"messages": [{"role": "user", "content": text} for text in texts]}


@pytest.mark.parametrize(
    "mark",
    [
        {"prompt_cache_key": "s"},
        {"session_id": "s"},
        {"user": "s"},
        {"metadata": {"session_id": "s"}},
        {"metadata": {"user_id": "s"}},
    ],
)
def test_a_session_is_what_the_client_names(mark):
    assert session(talk("one") | mark) == session(talk("two") | mark)


def test_the_header_comes_before_the_body():
    assert session({"user": "a"}, header="s") == session({"user": "b"}, header="s")


def test_without_a_name_a_conversation_is_known_by_how_it_begins():
    assert session(talk("one", "two")) == session(talk("one", "two", "three"))


def test_conversations_that_begin_otherwise_are_other_sessions():
    assert session(talk("one", "two")) != session(talk("eins", "two"))


def test_the_system_prompt_is_part_of_the_beginning():
    assert session({"system": "a"} | talk("one")) != session({"system": "b"} | talk("one"))


@pytest.mark.parametrize("odd", [{"user": 7}, {"metadata": "x"}, {"messages": None}])
def test_marks_that_are_none_are_left_alone(odd):
    assert isinstance(session(talk("one") | odd), int)


def test_a_form_has_a_session_only_by_its_header():
    assert session({}) is None
    assert isinstance(session({}, header="s"), int)
