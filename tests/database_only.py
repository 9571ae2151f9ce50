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
    return True if is_scenery(collection_path) else None


def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=[item for item in items if not is_decided(item)])
    items[:] = filter(is_decided, items)


def is_scenery(path):
    is_test = path.name.startswith("test_")
    return is_test and path.parent == SCENERY and path.name not in ON_STAGE


def is_decided(item):
    # A file that is named to pytest is read in any case.
    if is_scenery(item.path):
        return False
    return item.get_closest_marker("django_db") or DATABASE & set(item.fixturenames)
