"""What a decision tells, in words: the steps of a request, and what became of each."""

from dataclasses import replace

import pytest

from gateway.story import Call, Facts, Link, Mark, steps_of

KEY, ROUTES = "The API key", "The routes"
BUDGETS, ORDER = "Budgets and the hold", "The order of the routes"
TITLES = [KEY, "Permission", "The request", ROUTES, "Limits", BUDGETS, ORDER]
NOW_US = 1_790_000_000_000_000
LOCAL = [1, 2, 3, "local", "tiny"]
CALL = Call("local", "tiny", "main", "ok", received=True, total_ms=1234, cost_nano=5_000_000)
FAILED = Call("far", "big", "main", "upstream_timeout", received=False, total_ms=1, cost_nano=0)


def tell(told=None, **known):
    """The steps of a request of which that is told, by title."""
    facts = {
        "key": Link("notebook", "accounts.apikey", 1),
        "team": Link("research", "accounts.team", 2),
        "operation": "chat",
        "model_asked": "small",
    }
    steps = steps_of({"v": 1, **(told or {})}, Facts(**facts | known))
    return {step.title: step for step in steps}


def said(title, told=None, **known):
    return " ".join(tell(told, **known)[title].said)


def rows(title, told=None, caption=None, **known):
    """The rows of a step's tables, as texts."""
    tables = [each for each in tell(told, **known)[title].tables if caption in (None, each.caption)]
    return [[getattr(cell, "text", cell) for cell in row] for table in tables for row in table.rows]


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("invalid_api_key", KEY),
        ("identity_unavailable", KEY),
        ("endpoint_not_allowed", "Permission"),
        ("model_not_allowed", "Permission"),
        ("model_not_found", "Permission"),
        ("not_ready", "Permission"),
        ("what no step is known for", "The request"),
        ("unsupported_parameter", ROUTES),
        ("context_length_exceeded", ROUTES),
        ("model_not_priced", ROUTES),
        ("not_certified", ROUTES),
        ("refused_by_policy", ROUTES),
        ("usage_log_unavailable", "Limits"),
        ("rate_limit_exceeded", "Limits"),
        ("limits_unavailable", "Limits"),
        ("insufficient_quota", BUDGETS),
        ("budget_held", BUDGETS),
        ("budget_exceeded", ORDER),
        ("upstream_rate_limited", ORDER),
        ("no_available_target", ORDER),
    ],
)
def test_the_step_that_refused_is_marked_and_later_ones_were_not_asked(code, title):
    steps = tell({"error": {"code": code, "message": "No."}})

    at = TITLES.index(title)
    marks = [steps[each].mark for each in TITLES]
    assert marks == [Mark.PASSED] * at + [Mark.REFUSED] + [Mark.NOT_ASKED] * (6 - at)
    assert steps[title].said[0] == "No."
    assert not any(steps[each].said for each in TITLES[at + 1 :])


@pytest.mark.parametrize("code", ["invalid_api_key", "model_not_found", "unreadable"])
def test_what_a_first_step_would_have_said_is_not_said_where_it_refuses(code):
    steps = tell({"error": {"code": code, "message": "No."}})

    assert [step.said for step in steps.values() if step.mark is Mark.REFUSED] == [["No."]]


def test_a_later_step_that_refuses_says_what_it_found_as_well():
    told = {"policies": ["night"], "error": {"code": "refused_by_policy", "message": "No."}}

    assert said(ROUTES, told).startswith("No. Policies that hold: night.")


@pytest.mark.parametrize(("title", "kind"), [("Limits", "limit"), (BUDGETS, "budget")])
def test_that_there_is_nothing_to_keep_to_is_told_only_where_somebody_has_looked(title, kind):
    assert said(title, {"hold": 0}) == f"There is no {kind} to keep to."
    assert said(title, {"error": {"code": "limits_unavailable", "message": "No."}}) in ("No.", "")
    assert said(title) == ""


def test_who_got_as_far_as_an_order_was_refused_there():
    steps = tell({"targets": [], "error": {"code": "upstream_auth_failed", "message": "No."}})

    assert steps[ORDER].mark is Mark.REFUSED
    assert steps["The request"].mark is Mark.PASSED


def test_an_admitted_request_that_called_nobody_was_refused_by_its_outcome():
    steps = tell(outcome="no_available_target", end_reason="Refused")

    assert steps[ORDER].mark is Mark.REFUSED
    assert steps[ORDER].said[0] == "It was refused: no available target."


@pytest.mark.parametrize(
    "known",
    [
        {"outcome": ""},
        {"outcome": "ok"},
        {"outcome": "interrupted"},
        {"outcome": "upstream_rate_limited", "calls": [FAILED]},
    ],
    ids=["imagined", "answered", "of no step", "called"],
)
def test_no_step_refused_any_other(known):
    steps = tell(end_reason="", **known)

    assert [steps[title].mark for title in TITLES] == [Mark.PASSED] * 7


def test_the_key_and_its_team_are_named_and_linked():
    step = tell()[KEY]

    assert step.said == ["The key notebook of the team research is good."]
    assert [link.text for link in step.links] == ["API key notebook", "Team research"]


def test_what_is_only_a_name_is_no_link():
    step = tell(key="gone")[KEY]

    assert step.said == ["The key gone of the team research is good."]
    assert [link.text for link in step.links] == ["Team research"]


@pytest.mark.parametrize("told", [{"model": "small"}, {"tokens": [1, 0]}])
def test_a_model_that_was_found_may_be_used(told):
    assert said("Permission", told) == "It may use the endpoint chat, and the model small."


def test_of_a_model_that_was_not_found_nothing_is_said():
    assert said("Permission") == "It may use the endpoint chat."


def test_a_model_by_another_name_is_told():
    assert "That is served by the model tiny." in said("Permission", {"model": "tiny"})
    assert "served by" not in said("Permission", {"model": "small"})


def test_models_that_did_not_serve_it_are_told():
    told = {"model": "long", "left": [["small", "context_length_exceeded"]]}

    assert "The model small did not serve it (context length exceeded)" in said("Permission", told)


def test_models_that_were_to_serve_it_and_could_not_are_told():
    told = {"unable": [["large", "refused_by_policy"]]}

    assert "The model large, named to serve it instead, could not (refused by policy)." in said(
        "Permission", told
    )


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (None, "It could be read."),
        ([1, 0], "It has about 1 token of input and names no bound of its output."),
        ([2000, 1500], "It has about 2,000 tokens of input and allows 1,500 of output."),
    ],
)
def test_the_size_of_a_request_is_told(tokens, words):
    assert said("The request", {"tokens": tokens} if tokens else {}) == words


def dropped(reason, for_s=None, policy=""):
    return {"dropped": [[*LOCAL, reason, for_s, policy]]}


@pytest.mark.parametrize(
    "reason",
    ["not_priced", "keeps_no_state", "cannot_serve", "not_pinned", "excluded", "not_certified",
     "too_expensive"],
)  # fmt: skip
def test_what_never_may_serve_it_is_a_matter_of_the_routes(reason):
    ((provider, model, key, why, until, policy),) = rows(ROUTES, dropped(reason, None, "night"))

    assert (provider, model, key, until, policy) == ("local", "tiny", "key 2", "", "night")
    assert why.endswith(f"[{reason}]")
    assert "Every route" not in said(ROUTES, dropped(reason))
    assert rows(ORDER, dropped(reason)) == []


def test_what_may_not_serve_it_now_is_a_matter_of_the_order():
    told = dropped("breaker_open", 12.5)

    assert [row[4] for row in rows(ORDER, told)] == ["for 13s"]
    assert rows(ROUTES, told) == []
    assert "Every route of the model may serve it." in said(ROUTES, told)


@pytest.mark.parametrize(
    ("for_s", "words"),
    [(None, ""), (-3.0, "for 0s"), (0.0, "for 0s"), (0.25, "for 250ms"), (1.0, "for 1s")],
)
def test_until_when_it_is_left_out_is_told(for_s, words):
    assert [row[4] for row in rows(ORDER, dropped("throttled", for_s))] == [words]


def test_policies_and_what_was_left_out_are_told():
    assert said(ROUTES).startswith("No policy holds.")
    told = said(ROUTES, {"policies": ["night", "cheap"], "parameters": ["seed", "images"]})
    assert told.startswith("Policies that hold: night, cheap.")
    assert "Left out of what was sent on: seed, images." in told


def limits(*used, **told):
    counted = [[n, "key:1", "requests", 60, 1000, "", each, 0] for n, each in enumerate(used, 1)]
    return {"at": NOW_US, "limits": counted, **told}


def test_budgets_behind_a_limit_that_refuses_were_not_asked():
    error = {"code": "rate_limit_exceeded", "message": "No."}
    steps = tell(limits(1200, refused_by=0, hold=7, error=error))

    assert (steps["Limits"].mark, steps[BUDGETS].mark) == (Mark.REFUSED, Mark.NOT_ASKED)


def test_a_limit_of_which_nothing_is_used_says_so():
    assert rows("Limits", limits(0))[0][2:4] == ["0 of 1,000", "1,000"]


def test_a_limit_tells_its_counter():
    (row,) = rows("Limits", limits(300))

    assert row[1:] == ["the key", "300 of 1,000", "700", ""]
    assert said("Limits", limits(300)) == ""


def test_a_limit_tells_when_it_is_whole_again():
    newest = NOW_US // 1_000_000 - 10
    told = {"at": NOW_US, "limits": [[1, "team:1", "requests", 60, 9, "", 3, newest]]}

    ((_, whose, _, _, whole),) = rows("Limits", told)

    assert whose == "the team"
    assert whole.startswith("in ")


def test_the_limit_that_refuses_is_named_and_has_nothing_left():
    first, second = rows("Limits", limits(1, 1200, refused_by=1))

    assert "(refuses)" not in first[0]
    assert second[0].endswith("(refuses)")
    assert second[3] == "0"


def test_a_limit_behind_one_that_refuses_was_not_asked():
    assert rows("Limits", limits(-1))[0][2:] == ["not asked", "not asked", ""]


def test_that_redis_was_away_is_told():
    assert "Redis did not answer" in said("Limits", {"degraded": True})
    assert said("Limits", {"hold": 0}) == "There is no limit to keep to."


def budget(spent=2, held=1, *, period="month", rolls=False, hard=True, end=0, **told):
    nano = 10**9
    held, spent = held * nano, spent * nano
    counted = [7, "user:1", period, rolls, hard, 10 * nano, spent, held, end]
    return {"budgets": [counted], "hold": 5_000_000, **told}


def test_a_budget_tells_its_counters():
    (row,) = rows(BUDGETS, budget(end=NOW_US))

    assert row == [
        *("monthly, hard", "the owner", "$10.00", "$2.00", "$1.00", "$7.00", "2026-09-21 14:13"),
    ]
    assert said(BUDGETS, budget()) == "The request holds $0.00500 until it has ended."


@pytest.mark.parametrize(
    ("fields", "name", "end"),
    [
        ({"period": "week", "rolls": True, "hard": False}, "7 days, soft", "rolls"),
        ({"period": "total", "end": 2**53 - 1}, "total, hard", "never"),
    ],
)
def test_a_budget_that_does_not_begin_anew_says_so(fields, name, end):
    ((named, *_, last),) = rows(BUDGETS, budget(**fields))

    assert (named, last) == (name, end)


def test_a_budget_that_was_overrun_has_nothing_left():
    assert rows(BUDGETS, budget(spent=12))[0][5] == "$0.00"


def test_a_budget_of_which_nothing_is_spent_says_so():
    assert rows(BUDGETS, budget(spent=0))[0][3:6] == ["$0.00", "$1.00", "$9.00"]


def test_a_budget_that_was_not_asked_says_so():
    ((*_, spent, held, left, _),) = rows(BUDGETS, budget(spent=-1))

    assert (spent, held, left) == ("not asked", "not asked", "")


def test_what_is_refused_by_a_budget_only_would_hold_something():
    told = budget(refused_by=0, error={"code": "insufficient_quota", "message": "No."})

    assert said(BUDGETS, told) == "No. The request would hold $0.00500 until it has ended."


def test_limits_and_budgets_were_asked_where_policies_refuse_for_a_budget():
    told = budget(error={"code": "refused_by_policy", "message": "No."})
    steps = tell(told)

    assert [steps[title].mark for title in TITLES[3:]] == [
        Mark.REFUSED, Mark.PASSED, Mark.PASSED, Mark.NOT_ASKED,
    ]  # fmt: skip
    assert said("Limits", told) == "There is no limit to keep to."


@pytest.mark.parametrize(("refused_by", "refuses"), [(0, False), (1, True), (None, False)])
def test_the_budget_that_refuses_is_counted_behind_the_limits(refused_by, refuses):
    ((name, *_),) = rows(BUDGETS, limits(1) | budget(refused_by=refused_by))

    assert name.endswith("(refuses)") is refuses


def test_the_order_tells_strategy_session_and_last_resort():
    told = {"strategy": "least_cost", "session": True, "last_resort": True}

    assert said(ORDER, told) == (
        "Strategy: least cost. Requests of one session go together: this one is kept at one "
        "route. Every target is out, so those that may be called at all are tried."
    )
    assert "names no session" in said(ORDER, {"session": False})
    assert said(ORDER) == ""


def test_targets_are_told_in_their_order_with_the_names_of_their_keys():
    told = {"targets": [LOCAL, [4, None, 5, "free", "big"]]}

    assert rows(ORDER, told, key_names={2: "main"}) == [
        ["1", "local", "tiny", "main"],
        ["2", "free", "big", "none needed"],
    ]


def test_calls_are_told_with_what_came_next():
    again = Call("far", "big", "other", "upstream_timeout", received=False, total_ms=1, cost_nano=0)
    found = rows("Upstream calls", calls=[FAILED, again, CALL], outcome="ok")

    assert [row[6] for row in found] == [
        "it may pass: the same again", "the next target", "the client got it",
    ]  # fmt: skip
    assert found[0][3] == "upstream timeout"
    assert found[2][:6] == ["3", "local / tiny", "main", "answered", "1,234 ms", "$0.00500"]


@pytest.mark.parametrize(
    ("outcome", "sent", "told"),
    [
        ("ok", 1, "answered"),
        ("ok", 2, "answered, in 2 calls"),
        ("upstream_timeout", 3, "upstream timeout, in 3 calls"),
    ],
)
def test_a_call_that_was_sent_in_parts_tells_how_many(outcome, sent, told):
    parts = replace(CALL, outcome=outcome, sent=sent)

    assert rows("Upstream calls", calls=[parts], outcome="ok")[0][3] == told


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        (0, []),
        (1, ["1 call failed, and call 2 answered."]),
        (2, ["2 calls failed, and call 3 answered."]),
    ],
)
def test_calls_that_failed_before_one_answered_are_counted(failed, words):
    step = tell(calls=[*[FAILED] * failed, CALL], outcome="ok")["Upstream calls"]

    assert (step.said, step.mark) == (words, Mark.RECOVERED if failed else Mark.PASSED)


@pytest.mark.parametrize(
    ("outcome", "received", "mark", "then"),
    [
        ("ok", True, Mark.RECOVERED, "the client got it"),
        ("ok", False, Mark.FAILED, "nothing else was tried"),
        ("stream_interrupted", True, Mark.FAILED, "the client got what had come"),
        ("upstream_timeout", False, Mark.FAILED, "nothing else was tried"),
    ],
)
def test_calls_have_failed_where_the_client_did_not_get_all_of_the_last(
    outcome, received, mark, then
):
    last = replace(CALL, outcome=outcome, received=received)
    step = tell(calls=[FAILED, last], outcome="x", end_reason="")["Upstream calls"]

    assert (step.mark, step.tables[0].rows[-1][6]) == (mark, then)


def test_who_called_nobody_has_no_such_step():
    assert "Upstream calls" not in tell(outcome="ok")
    assert "The end" not in tell()


LEFT_OUT = ("Provider", "Upstream model", "Key", "Why", "Until", "Policy")
CALLS = ("#", "Provider / model", "Key", "Outcome", "Took", "Cost", "And then")
SPENT = ("Budget", "Whose", "Amount", "Spent", "Held", "Left", "Begins anew (UTC)")


def test_tables_say_what_they_and_their_columns_are():
    left_out = [[*LOCAL, "excluded", None, ""], [*LOCAL, "throttled", None, ""]]
    told = limits(1) | budget() | {"targets": [LOCAL], "dropped": left_out}

    found = [
        (title, table.caption, tuple(table.columns))
        for title, step in tell(told, calls=[CALL]).items()
        for table in step.tables
    ]

    assert found == [
        (ROUTES, "Left out", LEFT_OUT),
        ("Limits", "Each with its counter", ("Limit", "Whose", "Used", "Left", "Whole again")),
        (BUDGETS, "Each with its counters", SPENT),
        (ORDER, "Targets in their order", ("#", "Provider", "Upstream model", "Key")),
        (ORDER, "Left out", LEFT_OUT),
        ("Upstream calls", "Calls in their order", CALLS),
    ]


def test_names_lead_to_their_rows():
    told = limits(1) | budget() | {"targets": [LOCAL]}

    cells = [
        cell
        for step in tell(told).values()
        for cell in [
            *step.links,
            *(each for table in step.tables for row in table.rows for each in row),
        ]
    ]

    assert [(cell.model, cell.pk) for cell in cells if isinstance(cell, Link)] == [
        ("accounts.apikey", 1), ("accounts.team", 2), ("accounts.ratelimit", 1),
        ("accounts.budget", 7), ("registry.provider", 3),
    ]  # fmt: skip


def test_a_table_without_a_row_is_none():
    assert not any(step.tables for step in tell().values())


def test_a_good_end_tells_the_cost():
    step = tell(outcome="ok", cost_nano=5_000_000)["The end"]

    assert (step.mark, step.said) == (
        Mark.PASSED, ["The answer is complete. It costs $0.00500."],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cost_nano", "more"), [(0, []), (5_000_000, ["It costs $0.00500 all the same."])]
)
def test_a_bad_end_tells_its_reason(cost_nano, more):
    known = {"outcome": "client_disconnected", "end_reason": "The client left"}
    step = tell(cost_nano=cost_nano, **known)["The end"]

    assert step.mark is Mark.FAILED
    assert step.said == ["It ended as client disconnected: the client left.", *more]
