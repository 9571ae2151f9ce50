"""A pytest plugin, `-p tests.database_only`: only the tests that the database may decide."""

from pathlib import Path

DATABASE = {"db", "transactional_db"}
#: Here the database is scenery, but for these. Two thirds of all tests are not even read.
SCENERY = Path(__file__).parent / "gateway"
ON_STAGE = (
    "test_cancel_storm.py",
    "test_exactness.py",
    "test_front_door.py",
    "test_planes.py",
    "test_refusal_times.py",
)


def pytest_ignore_collect(collection_path):
    is_test = collection_path.name.startswith("test_")
    if is_test and collection_path.parent == SCENERY and collection_path.name not in ON_STAGE:
        return True
    return None


def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=[item for item in items if not is_decided(item)])
    items[:] = filter(is_decided, items)


def is_decided(item):
    return item.get_closest_marker("django_db") or DATABASE & set(item.fixturenames)
