"""What is known of a model, and of several routes together."""

from registry.capabilities import Capabilities, together


def test_what_is_known_not_to_be_there_is_lacking():
    assert Capabilities(vision=False, tools=True).lacks == {"vision"}


def test_what_a_route_says_goes_before_what_its_model_says():
    over = Capabilities(vision=True).over(Capabilities(vision=False, tools=False))

    assert over == Capabilities(vision=True, tools=False)
    assert over.lacks == {"tools"}


def test_together_they_can_what_one_can():
    assert together([Capabilities(vision=True), Capabilities(vision=False)]).vision is True


def test_together_they_cannot_what_none_can():
    assert together([Capabilities(vision=False), Capabilities(vision=False)]).vision is False


def test_where_one_cannot_and_of_another_nothing_is_known_nothing_is_known():
    assert together([Capabilities(vision=False), Capabilities()]).vision is None


def test_together_they_take_as_much_as_the_largest():
    both = together([Capabilities(context_window=8000), Capabilities(context_window=128000)])

    assert both.context_window == 128000


def test_only_what_is_known_is_told():
    assert Capabilities(tools=False, output_limit=9).told() == {"tools": False, "output_limit": 9}
