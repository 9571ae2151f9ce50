import stat
from concurrent.futures import ThreadPoolExecutor

from courier_site.secret_files import read_or_make


def test_a_secret_is_made_once(tmp_path):
    assert read_or_make(tmp_path / "a") == read_or_make(tmp_path / "a")


def test_two_secrets_differ(tmp_path):
    assert read_or_make(tmp_path / "a") != read_or_make(tmp_path / "b")


def test_a_secret_is_long(tmp_path):
    assert len(read_or_make(tmp_path / "a")) == 64


def test_a_secret_begins_as_wished(tmp_path):
    assert read_or_make(tmp_path / "a", "sk-demo-").startswith("sk-demo-")


def test_nobody_else_may_read_a_secret(tmp_path):
    read_or_make(tmp_path / "deep" / "a")

    assert stat.S_IMODE((tmp_path / "deep" / "a").stat().st_mode) == 0o600


def test_a_secret_that_is_there_is_never_replaced(tmp_path):
    (tmp_path / "a").write_text("mine\n")

    assert read_or_make(tmp_path / "a") == "mine"


def test_nothing_else_is_left_behind(tmp_path):
    read_or_make(tmp_path / "a")

    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_all_who_come_at_once_read_the_same(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: read_or_make(tmp_path / "a"), range(64)))

    assert len(secrets) == 1
