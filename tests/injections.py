"""S-11: what would be SQL if anybody put it into a statement, and a watch over all statements."""

import pytest
from django.db.backends.utils import CursorWrapper

#: Stands in each payload, and must never stand in the text of a statement.
MARK = "s11mark"
PAYLOADS = [
    f"{MARK}' OR '1'='1",
    f"{MARK}'; SELECT pg_sleep(5); --",
    f"{MARK}') UNION SELECT digest FROM accounts_apikey --",
    f'{MARK}" OR 1=1; DROP TABLE usage_usagerecord; --',
    f"{MARK}\\'; SELECT pg_sleep(5) /*",
    f"{MARK}%' OR name LIKE '%",
    f"{MARK}` OR SLEEP(5)#",
    f"1 OR {MARK}=1",
    f"1) OR ({MARK}",
    f"{MARK}$$; SELECT 1; $$",
    f"%s {MARK} %(name)s {{0}}",
    f"(SELECT {MARK})",
    f"name; {MARK}",
]


@pytest.fixture
def statements(monkeypatch):
    """The text of every statement of every thread, without its parameters."""
    seen = []
    for name in ("execute", "executemany"):
        original = getattr(CursorWrapper, name)

        def noting(self, sql, *args, _original=original, **options):
            seen.append(str(sql))
            return _original(self, sql, *args, **options)

        monkeypatch.setattr(CursorWrapper, name, noting)
    return seen


def injected(statements):
    """Those into which a payload got."""
    return [sql for sql in statements if MARK in sql.lower()]
