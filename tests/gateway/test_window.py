from gateway.window import Window


def test_what_was_counted_lately_is_summed_up():
    window = Window(10)

    window.add(100.0, 1, 0)
    window.add(104.5, 2, 1)

    assert (window.all, window.some) == (3, 1)


def test_what_is_too_old_is_forgotten():
    window = Window(10)
    window.add(100.0, 3, 2)
    window.add(105.0, 1, 0)

    window.slide(110.5)

    assert (window.all, window.some) == (1, 0)


def test_it_holds_no_more_than_its_seconds():
    window = Window(10)
    for tenth in range(2000):
        window.add(tenth / 10, 1, 0)

    assert window.all == 100
    assert len(window._each) <= 11
