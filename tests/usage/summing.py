"""Roll-ups for tests, whose neighbors hold transactions open in the same cluster."""

from django.db import connection

from tests.services import wait_for
from usage import rollups

LEFT = """
SELECT COUNT(*) FROM (
  SELECT x FROM usage_usagerecord UNION ALL SELECT x FROM usage_usageattempt
  UNION ALL SELECT x FROM usage_usageadjustment
) AS log, usage_rollupmark WHERE x >= upto::text::xid8
"""


def sum_up():
    """Roll up until all that is committed is in the sums. Returns how many hourly rows changed.

    On PostgreSQL the test must be one of `transaction=True`.
    """
    changed = [rollups.roll_up()]
    while connection.vendor == "postgresql" and not is_summed():
        wait_for(lambda: changed.append(rollups.roll_up()) or is_summed(), "the roll-ups")
    return sum(changed)


def is_summed():
    with connection.cursor() as cursor:
        cursor.execute(LEFT)
        return cursor.fetchone() == (0,)
