"""A pytest plugin, `-p tests.database_only`: only the tests that the database may decide."""

DATABASE = {"db", "transactional_db"}
#: Here the database is scenery, but for these.
SCENERY = "tests/gateway/"
ON_STAGE = (
    "test_cancel_storm.py",
    "test_exactness.py",
    "test_front_door.py",
    "test_planes.py",
    "test_refusal_times.py",
)


def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=[item for item in items if not is_decided(item)])
    items[:] = filter(is_decided, items)


def is_decided(item):
    if item.nodeid.startswith(SCENERY) and item.path.name not in ON_STAGE:
        return False
    return item.get_closest_marker("django_db") or DATABASE & set(item.fixturenames)
