"""A pytest plugin, `-p tests.database_only`: only the tests that use the database."""

DATABASE = {"db", "transactional_db"}


def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=[item for item in items if not uses_database(item)])
    items[:] = filter(uses_database, items)


def uses_database(item):
    return item.get_closest_marker("django_db") or DATABASE & set(item.fixturenames)
