"""What a manifest may not say, and how it is told: each complaint names its line."""

import pytest

from courier_site import manifest
from tests import factories
from tests.courier_site.manifests import KEY_SECRET, WHOLE, complaints, document

pytestmark = pytest.mark.django_db

PROVIDER = "version: 1\nproviders:\n  - name: local\n    kind: echo\n"
MODEL = PROVIDER + "models:\n  - name: tiny\n"
TEAM = "version: 1\nteams:\n  - name: research\n"
KEY = TEAM + "keys:\n  - name: demo\n    team: research\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: 2\n", "line 1: This version of Courier reads manifests of version 1."),
        ("providers: []\n", 'line 1: The manifest needs "version".'),
        (
            PROVIDER + "    kindd: echo\n",
            'line 5: Unknown key "kindd" in a provider; did you mean "kind"?',
        ),
        (PROVIDER + "    kind: echo\n", 'line 5: "kind" is given twice.'),
        (PROVIDER.replace("echo", "ecko"), 'line 4: kind cannot be "ecko"; did you mean "echo"?'),
        (PROVIDER.replace("kind: echo", "enabled: true"), 'line 3: A provider needs "kind".'),
        (PROVIDER.replace("local", "7"), "line 3: name must be text; put it in quotes."),
        (
            PROVIDER.replace("local", '""'),
            "line 3: name must not be empty, nor hold control characters.",
        ),
        (
            PROVIDER.replace("local", r'"a\0b"'),
            "line 3: name must not be empty, nor hold control characters.",
        ),
        (PROVIDER + "    enabled: perhaps\n", "line 5: enabled must be true or false."),
        (PROVIDER + "    timeouts: {connect: soon}\n", "line 5: connect must be a number."),
        (
            PROVIDER + "    timeouts: {conect: 1}\n",
            'line 5: Unknown key "conect" in timeouts; did you mean "connect"?',
        ),
        (PROVIDER + "    timeouts: 3\n", "line 5: Timeouts must be a mapping, such as {name: …}."),
        (
            PROVIDER + "    keys: [first]\n",
            "line 5: An upstream key must be a mapping, such as {name: …}.",
        ),
        (PROVIDER + "    keys: {name: first}\n", "line 5: keys must be a list of entries."),
        (
            PROVIDER + "    keys:\n      - name: first\n",
            "line 6: A new upstream key needs a secret.",
        ),
        (
            PROVIDER + "    keys: [{secret: a, secret_file: b}]\n",
            "line 5: Give either secret or secret_file, not both.",
        ),
        (
            PROVIDER + "    keys: [{secret_file: none}]\n",
            "line 5: The secret file cannot be read: No such file or directory.",
        ),
        (
            PROVIDER + "    keys: [{secret: a}, {secret: b}]\n",
            "line 5: An upstream key like this is given twice.",
        ),
        (
            PROVIDER + "  - name: local\n    kind: echo\n",
            "line 5: A provider like this is given twice.",
        ),
        (
            MODEL + "    strategy: weightd\n",
            'line 7: strategy cannot be "weightd"; did you mean "weighted"?',
        ),
        (MODEL + "    max_attempts: 1.5\n", "line 7: max_attempts must be a whole number."),
        (
            MODEL + "    max_attempts: 99\n",
            "line 7: max_attempts: Ensure this value is less than or equal to 10.",
        ),
        (
            MODEL + "    routes: [{provider: loca, upstream_model: a}]\n",
            'line 7: There is no provider named "loca".',
        ),
        (MODEL + "    prices: [{input: x, output: 1}]\n", "line 7: input must be a number."),
        (MODEL + "    prices: [{input: .inf, output: 1}]\n", "line 7: input must be a number."),
        (
            MODEL + "    prices: [{free: true, route: {provider: a, upstream_model: b}}]\n",
            "line 7: The model has no route to a / b.",
        ),
        (MODEL + "    prices: [{input: 1}]\n", 'line 7: A price needs "output".'),
        (
            MODEL + "    prices: [{from: soon, free: true}]\n",
            "line 7: from must be a date or a time, such as 2026-01-31 or 2026-01-31T12:00:00Z.",
        ),
        (MODEL + "    aliases: [1]\n", "line 7: aliases must be a list of text; use quotes."),
        (MODEL + "    aliases: [tiny]\n", 'line 7: "tiny" is the name of a model already.'),
        (
            MODEL.replace("tiny", '"a b"'),
            "line 6: A model's name has letters, digits and . _ : / @ + - and may end with *.",
        ),
        (
            TEAM + "    limits: {rpx: 1}\n",
            'line 4: Unknown key "rpx" in limits; did you mean "rps"?',
        ),
        (
            TEAM + "    budgets: [{amount: 1, period: yearly}]\n",
            'line 4: period cannot be "yearly". Possible: day, week, month, total.',
        ),
        (
            KEY.replace("team: research", "team: reserch"),
            'line 6: There is no team named "reserch".',
        ),
        (KEY + "    if_unset: drop\n", 'line 7: if_unset cannot be "drop". Possible: keep.'),
        (
            KEY + "    if_unset: keep\n",
            "line 5: There is no such key yet whose secret could be kept.",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(text, expected):
    assert complaints(text) == [expected]


def test_a_missing_variable_is_named_with_its_line():
    text = PROVIDER + "    keys:\n      - secret: ${LOCAL_KEY}\n"

    assert complaints(text) == [
        "line 6: secret refers to the environment variable LOCAL_KEY, which is not set."
    ]


def test_an_empty_variable_counts_as_missing():
    text = PROVIDER + "    keys:\n      - secret: ${LOCAL_KEY}\n"

    assert "which is not set" in complaints(text, {"LOCAL_KEY": ""})[0]


def test_an_address_that_upstreams_may_not_have_is_named_with_its_line(settings):
    settings.COURIER_ALLOW_PRIVATE_UPSTREAMS = []
    text = PROVIDER.replace("echo", "ollama") + "    base_url: http://10.0.0.1/v1\n"

    (complaint,) = complaints(text)

    assert complaint.startswith("line 5: base_url: 10.0.0.1 is a private or reserved address.")


def test_kinds_for_development_are_refused_in_production(settings):
    settings.PRODUCTION = True

    assert complaints(PROVIDER.replace("echo", "chaos")) == [
        'line 4: kind "chaos" is not available in this version.'
    ]


def test_a_short_secret_is_refused_and_not_quoted():
    (complaint,) = complaints(KEY + "    secret: tooshort\n")

    assert complaint.startswith("line 7: A secret of your own needs 32 to 256")
    assert "tooshort" not in complaint


def test_a_secret_that_opens_another_key_is_refused():
    text = KEY + f"    secret: {KEY_SECRET}\n"
    second = f"  - name: second\n    team: research\n    secret: {KEY_SECRET}\n"

    assert complaints(text + second) == ["line 10: This secret already opens another key."]


def test_a_model_named_like_an_alias_is_refused():
    factories.make_model("big", aliases=["tiny"])

    assert complaints(MODEL) == ['line 6: "tiny" is an alias of another model already.']


def test_mistakes_of_one_section_are_named_all_at_once():
    text = "version: 1\nteams:\n  - {nam: a}\n  - {name: b}\n  - {name: 5}\n"

    assert [complaint.split(":")[0] for complaint in complaints(text)] == ["line 3", "line 5"]


def test_broken_yaml_is_named_with_its_line():
    with pytest.raises(manifest.ManifestError, match=r"line 2: This is not valid YAML: "):
        document("version: 1\n  teams: [\n")


def test_a_list_is_not_a_manifest():
    with pytest.raises(manifest.ManifestError, match="a manifest is a mapping"):
        document("- version: 1\n")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(manifest.ManifestError, match=r"none\.yaml cannot be read: No such file"):
        manifest.Document.read(tmp_path / "none.yaml")


def test_the_whole_example_has_no_mistake():
    assert complaints(WHOLE) == []
