import csv
import re
import shutil

import httpx
import pytest

from tests import services

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api")

STATEMENT = "/admin/usage/reportdefinition/statement/"
PASSWORD = "a long enough passphrase"
QUESTION = {"model": "first-model", "messages": [{"role": "user", "content": "Hello, Courier."}]}


@pytest.fixture(scope="module")
def courier(launch):
    courier = launch(DJANGO_SUPERUSER_PASSWORD=PASSWORD)
    create = ("createsuperuser", "--noinput", "--username", "root", "--email", "root@example.com")
    courier.manage(*create)
    return courier


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        if services.REQUIRED:
            pytest.fail("chromium is not on this machine.")
        pytest.skip("chromium is not on this machine.")
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox does not start for root, and only our own pages are opened.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, courier):
    """A page that remembers what the browser complains of, as `page.complaints`."""
    context = browser.new_context(base_url=courier.origin, viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda message: complain_of(page, message))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("response", lambda answer: complain_of_status(page, answer))
    yield page
    context.close()


def complain_of(page, message):
    if message.type in {"error", "warning"}:
        page.complaints.append(message.text)


def complain_of_status(page, answer):
    if answer.status >= 400:
        page.complaints.append(f"{answer.status} {answer.url}")


def sign_in(page):
    page.goto("/admin/")
    page.fill("[name=username]", "root")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(re.compile(r"^\w+://[^/]+/admin/$"))


def save(page):
    """Save the form that is open, and come back to the list."""
    page.click("[name=_save]")
    page.wait_for_url(re.compile(r"/admin/\w+/\w+/(#.*)?$"))


def choose(page, field, text):
    """Pick an entry in a field that looks up what one types."""
    page.click(f"[name={field}] + .select2 .select2-selection")
    page.fill(".select2-search__field", text)
    page.click(f".select2-results__option:has-text('{text}')")


def add_provider(page):
    page.goto("/admin/registry/provider/add/")
    page.fill("[name=name]", "built-in")
    page.select_option("[name=kind]", "echo")
    save(page)


def add_model(page):
    page.goto("/admin/registry/servedmodel/add/")
    page.fill("[name=name]", "first-model")
    choose(page, "routes-0-provider", "built-in")
    page.fill("[name=routes-0-upstream_model]", "echo")
    page.click("#tabs-items a:has-text('Prices')")
    page.get_by_text("Add another Price").click()
    page.fill("[name=prices-0-input]", "1000")
    page.fill("[name=prices-0-output]", "2000")
    save(page)


def add_team(page, name):
    page.goto("/admin/accounts/team/add/")
    page.fill("[name=name]", name)
    save(page)


def issue_key(page, name, team):
    """Issue a key; returns the secret, copied from the one page that shows it."""
    page.goto("/admin/accounts/apikey/add/")
    page.fill("[name=name]", name)
    choose(page, "team", team)
    page.click("[name=_save]")
    return page.inner_text("code[id^=secret-]").strip()


def ask(courier, secret):
    """One question with the new key, as soon as the configuration has arrived."""
    headers = {"Authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=courier.url, headers=headers, trust_env=False, timeout=60) as client:

        def answer():
            answered = client.post("/chat/completions", json=QUESTION)
            return answered if answered.status_code == 200 else None

        return services.wait_for(answer, "the model to be served", within_s=60, every_s=0.1).json()


def export(page):
    """The rows of the log as exported."""
    with page.expect_download() as download:
        page.get_by_text("Export CSV").click()
    with open(download.value.path(), newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_an_administrator_gets_from_nothing_to_a_request_in_the_log(page, courier):
    sign_in(page)
    add_provider(page)
    add_model(page)
    add_team(page, "research")
    secret = issue_key(page, "notebook", team="research")
    answer = ask(courier, secret)
    courier.wait_for_records(1)
    page.goto("/admin/usage/usagerecord/")
    listed = page.inner_text("#result_list tbody tr")
    [row] = export(page)

    used = answer["usage"]
    dollars = (used["prompt_tokens"] * 1000 + used["completion_tokens"] * 2000) / 1_000_000
    assert "notebook" in listed
    assert "first-model" in listed
    assert f"{dollars:.4f}".rstrip("0") in listed
    assert int(row["input_tokens"]) == used["prompt_tokens"]
    assert int(row["output_tokens"]) == used["completion_tokens"]
    assert float(row["cost_usd"]) == pytest.approx(dollars)
    assert page.complaints == []


def test_why_and_what_would_happen_are_told(page):
    """With the rows of the test before."""
    sign_in(page)
    page.goto("/admin/usage/usagerecord/")
    page.click("#result_list tbody tr a")
    page.click("a:has-text('Why it went so')")
    why = page.inner_text(".story")
    fits = fits_a_phone(page)
    page.click("a:has-text('What would happen to it now')")
    page.click("button:has-text('See what would happen')")
    foreseen = page.inner_text(".story")

    assert "The key notebook of the team research is good" in why
    assert "the client got it" in why
    assert "built-in" in foreseen
    assert "It would be served" in page.inner_text("[role=status]")
    assert fits
    assert fits_a_phone(page)
    assert page.complaints == []


def fits_a_phone(page):
    """Whether nothing of the page, or of its tables, is out of sight on a narrow screen."""
    page.set_viewport_size({"width": 400, "height": 900})
    fits = page.evaluate(
        "[document.documentElement, ...document.querySelectorAll('.story-scroll')]"
        ".every(each => each.scrollWidth <= each.clientWidth)"
    )
    page.set_viewport_size({"width": 1400, "height": 1000})
    return fits


def test_a_secret_is_shown_once(page):
    sign_in(page)
    add_team(page, "operations")
    secret = issue_key(page, "batch", team="operations")

    page.goto("/admin/accounts/apikey/")
    page.click("#result_list a:has-text('batch')")
    page.wait_for_url("**/change/")

    assert secret.startswith("sk-courier-")
    assert secret not in page.content()
    assert page.complaints == []


def test_a_report_is_defined_looked_at_run_and_downloaded(page, courier):
    sign_in(page)
    add_team(page, "reporting")
    courier.manage("shell", "-c", LOGGED)
    page.goto("/admin/usage/reportdefinition/add/")
    page.fill("[name=name]", "Models of a team")
    page.select_option("[name=first_dimension]", "model")
    page.select_option("[name=period]", "today")
    choose(page, "only_team", "reporting")
    save(page)
    page.click("#result_list a:has-text('Models of a team')")
    page.get_by_text("Preview and run").click()
    page.wait_for_selector("td:has-text('of-the-report')")
    page.get_by_text("Make the CSV file").click()
    page.wait_for_selector("[data-progress]")
    courier.manage("shell", "-c", MADE)
    with page.expect_download() as download:
        page.click("a[href$='/file/']")  # appears when the page has noticed

    with open(download.value.path(), newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["model"], row["requests"], row["cost"]) == ("of-the-report", "1", "0.001234567")
    assert page.complaints == []


LOGGED = """
from datetime import timedelta
from django.utils import timezone
from accounts.models import Team
from tests.usage.ledger import log
from usage import rollups
from usage.models import RollupMark
now = timezone.now()
team = Team.objects.get(name="reporting")
log(now, team_id=team.pk, model_served="of-the-report", cost_nano=1_234_567)
rollups.roll_up()
RollupMark.objects.update(at=now + timedelta(minutes=2))
"""
MADE = """
from usage import export_files
export_files.make(export_files.next_one())
"""


def test_no_page_that_the_navigation_or_a_button_leads_to_throws(page):
    sign_in(page)
    found = page.eval_on_selector_all("a[href^='/admin/']", "all => all.map(a => a.pathname)")
    lists = sorted({link for link in found if re.fullmatch(r"/admin/\w+/\w+/(\w+/)?", link)})

    for address in [*lists, "/admin/registry/price/list/", STATEMENT]:
        page.goto(address)
        if page.locator(f"a[href^='{address}add/']").count():
            page.goto(f"{address}add/")

    assert "/admin/usage/reraterun/" in lists
    assert page.complaints == []
