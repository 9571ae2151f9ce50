"""A first start, and a second."""

import pytest

from accounts import keys
from accounts.models import ApiKey, Membership, RateLimit, Team, User
from courier_site.manifest import ManifestError
from courier_site.preparation import prepare
from registry import catalog
from registry.models import Provider, Revision, Route, ServedModel

pytestmark = pytest.mark.django_db(transaction=True)

MANIFEST = """\
version: 1
providers: [{name: local, kind: echo}]
models: [{name: tiny, routes: [{provider: local, upstream_model: tiny}]}]
teams: [{name: research}]
keys: [{name: notebook, team: research}]
"""


@pytest.fixture(autouse=True)
def _data_directory(settings, tmp_path, monkeypatch):
    settings.DATA_DIR = tmp_path
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def manifest(settings, tmp_path):
    path = tmp_path / "courier.yaml"
    path.write_text(MANIFEST)
    settings.COURIER_MANIFEST = str(path)
    return path


def test_a_first_start_makes_an_administrator_with_a_password_told_once():
    first, second = prepare(), prepare()

    admin = User.objects.get()
    assert admin.is_superuser
    assert admin.check_password(first.new_password)
    assert (second.username, second.new_password) == ("admin", "")


def test_the_administrator_may_be_chosen(settings):
    settings.COURIER_ADMIN_USERNAME, settings.COURIER_ADMIN_PASSWORD = "root", "mine, and long"

    preparation = prepare()

    assert User.objects.get().check_password("mine, and long")
    assert (preparation.username, preparation.new_password) == ("root", "")


def test_an_administrator_that_is_there_is_left_alone(settings):
    User.objects.create_superuser("alice", password="hers, and long")
    settings.COURIER_ADMIN_PASSWORD = "another"

    assert prepare().username == "alice"
    assert User.objects.get().check_password("hers, and long")


def test_the_demonstration_can_be_asked_with_the_key_that_is_told():
    preparation = prepare()

    key = ApiKey.objects.usable().get(digest=keys.digest(preparation.key))
    assert key.team.name == "demo"
    assert preparation.model == "echo"
    assert Route.objects.get(model__name="echo").provider.kind == "echo"


def test_the_demonstration_has_limits():
    prepare()

    limits = RateLimit.objects.values_list("metric", "window_s", "amount").order_by("metric")

    assert list(limits) == [
        ("concurrency", 60, 50),
        ("requests", 60, 600),
        ("tokens", 60, 1_000_000),
    ]


def test_the_administrator_owns_the_demonstrations_team():
    prepare()

    membership = Membership.objects.get()
    assert (membership.user.username, membership.role) == ("admin", "owner")


def test_the_demonstration_belongs_to_people_and_not_to_a_manifest():
    prepare()

    for kind in (Provider, ServedModel, Team, ApiKey):
        assert set(kind.objects.values_list("managed_by", flat=True)) == {""}


def test_a_second_start_changes_nothing_and_tells_the_same_key():
    first = prepare()
    before = Revision.objects.get().number

    second = prepare()

    assert second.key == first.key
    assert Revision.objects.get().number == before


def test_a_demonstration_that_was_deleted_does_not_come_back():
    prepare()
    ApiKey.objects.all().delete()
    ServedModel.objects.all().delete()
    Provider.objects.all().delete()

    preparation = prepare()

    assert not Provider.objects.exists()
    assert preparation.key == ""
    assert "issue one in the admin" in preparation.key_note


def test_a_revoked_key_is_not_told():
    prepare()
    keys.revoke_key(ApiKey.objects.get())

    assert prepare().key == ""


def test_a_production_has_no_chaos(settings):
    settings.PRODUCTION = True

    prepare()

    assert list(Provider.objects.values_list("name", flat=True)) == ["echo"]


def test_the_demonstrations_key_may_be_brought_along(settings):
    settings.COURIER_DEMO_KEY = "sk-demo-of-the-tests-0123456789abcdef"

    assert prepare().key == settings.COURIER_DEMO_KEY


@pytest.mark.parametrize(
    ("variable", "provider", "model"),
    [
        ("OPENAI_API_KEY", "openai", "gpt-4o-mini"),
        ("ANTHROPIC_API_KEY", "anthropic", "claude-haiku-4-5"),
        ("GEMINI_API_KEY", "gemini", "gemini-2.5-flash"),
    ],
)
def test_a_vendors_key_adds_its_provider_and_models(monkeypatch, variable, provider, model):
    monkeypatch.setenv(variable, "sk-vendor-of-a-test")

    prepare()

    route = Route.objects.get(model__name=model)
    assert route.provider.name == provider
    assert route.provider.keys.get().secret == "sk-vendor-of-a-test"
    assert route.model.prices.get().source == catalog.SOURCE


@pytest.mark.usefixtures("manifest")
def test_a_manifest_takes_the_place_of_the_demonstration():
    preparation = prepare()

    assert list(ServedModel.objects.values_list("name", flat=True)) == ["tiny"]
    assert preparation.model == "tiny"
    assert ApiKey.objects.get().digest == keys.digest(preparation.key)


@pytest.mark.usefixtures("manifest")
def test_a_secret_that_a_manifest_had_issued_is_told_once():
    prepare()

    preparation = prepare()

    assert preparation.key == ""
    assert preparation.outcome.changes == []


def test_a_manifest_is_applied_at_every_start(manifest):
    prepare()
    manifest.write_text(MANIFEST.replace("kind: echo", "kind: echo, enabled: false"))

    prepare()

    assert not Provider.objects.get().enabled


def test_a_broken_manifest_leaves_nothing_behind(manifest):
    manifest.write_text(MANIFEST.replace("echo", "ecko"))

    with pytest.raises(ManifestError, match="line 2"):
        prepare()

    assert not User.objects.exists()


def test_a_key_that_may_not_chat_is_not_told(manifest):
    manifest.write_text(
        MANIFEST.replace("team: research}]", "team: research, endpoints: [models]}]")
    )

    assert prepare().key == ""
