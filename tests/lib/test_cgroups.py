"""The memory that a control group leaves to a process."""

import pytest

from lib.cgroups import memory_group

V2 = {"memory.current": "700", "memory.stat": "anon 500\ninactive_file 150\nactive_file 50"}
V1 = {
    "memory.usage_in_bytes": "900",
    "memory.stat": "inactive_file 1\ntotal_inactive_file 300\ntotal_rss 500",
}


@pytest.fixture
def groups(tmp_path):
    """Make a group below the root, and say which ones this process is in."""
    memberships = tmp_path / "memberships"

    def member_of(*lines, **files_of):
        for path, files in files_of.items():
            group = tmp_path / path.replace("_", "/")
            group.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (group / name).write_text(f"{content}\n")
        memberships.write_text("\n".join(lines))
        return memory_group(memberships, tmp_path)

    return member_of


def test_f60_version_2_tells_the_limit_and_the_use(groups):
    group = groups("0::/a", a={"memory.max": "1000", **V2})

    assert (group.limit, group.used()) == (1000, 550)


def test_f60_version_1_does_too(groups):
    lines = ("4:memory:/a", "3:cpuset:/", "0::/")
    group = groups(*lines, memory_a={"memory.limit_in_bytes": "1000", **V1})

    assert (group.limit, group.used()) == (1000, 600)


def test_f60_the_tightest_group_above_counts(groups):
    above, own = {"memory.max": "1000", **V2}, {"memory.max": "2000", **V2}

    assert groups("0::/a/b", a=above, a_b=own).limit == 1000


def test_f60_in_a_container_the_group_is_the_root(groups, tmp_path):
    groups("", memory={"memory.limit_in_bytes": "1000", **V1})

    assert groups("4:memory:/docker/0123").limit == 1000


@pytest.mark.parametrize("limit", ["max", "9223372036854771712"])
def test_f60_no_limit_is_none(groups, limit):
    files = {"memory.max": limit, "memory.limit_in_bytes": limit, **V2}

    assert groups("0::/a", "4:memory:/a", a=files, memory_a=files) is None


def test_f60_a_machine_without_control_groups_has_none(tmp_path):
    assert memory_group(tmp_path / "none", tmp_path) is None
