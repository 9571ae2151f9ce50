"""How many trials: few in every run, all that the promise names under `make soak`."""

import os

SOAKS = os.environ.get("COURIER_SOAK") == "1"


def trials(few, all_of_them):
    """`few` in an ordinary run, `all_of_them` under `make soak`."""
    return all_of_them if SOAKS else few
