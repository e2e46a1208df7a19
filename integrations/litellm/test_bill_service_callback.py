"""Calls the callback like LiteLLM, against an HTTP server that acts like bill-service or a broken network."""

import asyncio
import base64
import contextlib
import functools
import hashlib
import hmac
import importlib.util
import json
import logging
import socket
import struct
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import httpx
import pytest

import bill_service_callback
from bill_service_callback import BillServiceCallback, RunningSpend, Settings, load, read_settings

# So long that every test runs within one period.
AGES = 1_000_000_000
SECRET = "a-secret-of-the-callback"
CUT, TRICKLE = "cut", "trickle"


class Inbox(ThreadingHTTPServer):
    """Stores each post, and answers by a script: a status, (status, headers), CUT or TRICKLE; then 200."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.posts, self.script, self.released = [], [], threading.Event()

    @property
    def ids(self):
        return [post.headers["webhook-id"] for post in self.posts]

    @property
    def events(self):
        return [json.loads(post.body)["event"] for post in self.posts]


class Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posts.append(SimpleNamespace(path=self.path, headers=self.headers, body=body, at=time.monotonic()))
        answer = self.server.script.pop(0) if self.server.script else 200
        if answer == CUT:
            # Close with a reset, like the kernel of a crashed server.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        if answer == TRICKLE:
            # A byte now and then: every read succeeds, and the answer never ends.
            deadline = time.monotonic() + 10
            self.wfile.write(b"HTTP/1.1 200 ")
            while not self.server.released.wait(0.05) and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    self.wfile.write(b"O")
            self.close_connection = True
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        self.send_response(status)
        for name, value in {"content-length": "2", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True, scope="session")
def certificates_read_once():
    """Each callback reads the authorities' certificates, which takes a tenth of a second: here only once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx, "create_ssl_context", functools.cache(httpx.create_ssl_context))
        yield


@pytest.fixture
def inbox(monkeypatch):
    monkeypatch.setattr(bill_service_callback, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(bill_service_callback, "LAST_PAUSE_S", 0.05)
    server = Inbox()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def callback(inbox, below=5.0, share=0.0, renotify_s=AGES):
    url = inbox if isinstance(inbox, str) else inbox.url
    return BillServiceCallback(Settings(url + bill_service_callback.PATH, SECRET.encode(), below, share, renotify_s))


def call(spend, cost=0.0, budget=10.0, team="t1", alias="acme"):
    """What LiteLLM passes to the hook after a call: the team from its caches, and the cost of the call."""
    metadata = {
        "user_api_key_team_id": team,
        "user_api_key_team_alias": alias,
        "user_api_key_team_spend": spend,
        "user_api_key_team_max_budget": budget,
    }
    return {"litellm_params": {"metadata": metadata}, "response_cost": cost}


class BudgetExceededError(Exception):
    """Has the fields of LiteLLM's error."""

    def __init__(self, max_budget, **fields):
        super().__init__("Budget has been exceeded!")
        self.current_cost, self.max_budget = max_budget, max_budget
        self.__dict__.update(fields)


def refusal(budget=10.0, team="t1", entity="team", spend=10.0):
    """What LiteLLM passes to the hook after a refusal; the key has the team's spend from LiteLLM's caches."""
    key = SimpleNamespace(team_id=team, team_alias="acme", team_max_budget=10.0, team_spend=spend)
    return BudgetExceededError(budget, entity_type=entity), key


def run(handler, *occurrences):
    """Runs calls and refusals in this order in a new event loop, until every delivery has ended."""

    async def all_of_them():
        for occurrence in occurrences:
            await report(handler, occurrence)
        await deliveries()

    asyncio.run(all_of_them())


async def report(handler, occurrence):
    if isinstance(occurrence, tuple):
        error, key = occurrence
        assert await handler.async_post_call_failure_hook({}, error, key) is None
    else:
        assert await handler.async_log_success_event(occurrence, None, None, None) is None


async def deliveries():
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


async def until_posted(handler, inbox):
    """Makes one call, and returns as soon as its alert has reached the inbox."""
    await report(handler, call(spend=6))
    while not inbox.posts:
        await asyncio.sleep(0.01)


def is_authentic(post, key=SECRET.encode()):
    signed = f"{post.headers['webhook-id']}.{post.headers['webhook-timestamp']}.".encode() + post.body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return post.headers["webhook-signature"] == expected and abs(time.time() - int(post.headers["webhook-timestamp"])) < 60


# The alert


def test_a_balance_at_the_threshold_sends_an_alert_in_the_shape_of_litellms_own(inbox):
    run(callback(inbox), call(spend=4.9, cost=0.1))
    [post] = inbox.posts
    assert post.path == "/webhooks/litellm/limit-exceeded"
    assert post.headers["content-type"] == "application/json"
    assert is_authentic(post)
    assert json.loads(post.body) == {
        "spend": 5.0,
        "max_budget": 10.0,
        "soft_budget": None,
        "token": None,
        "customer_id": None,
        "user_id": None,
        "team_id": "t1",
        "team_alias": "acme",
        "organization_id": None,
        "user_email": None,
        "key_alias": None,
        "projected_exceeded_date": None,
        "projected_spend": None,
        "event_group": "team",
        "alert_emails": None,
        "max_budget_alert_emails": None,
        "event": "threshold_crossed",
        "event_message": "Team Budget: Threshold Crossed\n Total Budget:`10.0`\n Left at most:`5.0`",
    }


@pytest.mark.parametrize(
    "occurrence",
    [
        call(spend=4.9, cost=0.09),
        call(spend=100, budget=None),
        call(spend=100, team=None),
        call(spend=100, budget=float("inf")),
        refusal(entity="key"),
        refusal(entity="team_member"),
        refusal(entity="organization"),
        refusal(entity=None, budget=3.0),
        refusal(team=None),
        refusal(budget=-1.0),
        call(spend=100, budget=-1.0),
        call(spend=100, budget=True),
        (ValueError("the model is not known"), SimpleNamespace(team_id="t1")),
    ],
)
def test_a_team_with_enough_left_and_other_budgets_send_no_alert(inbox, occurrence):
    run(callback(inbox), occurrence)
    assert inbox.posts == []


def test_the_larger_of_amount_and_share_counts(inbox):
    handler = callback(inbox, below=1.0, share=0.2)
    run(handler, call(spend=7.9), call(spend=79.9, budget=100.0, team="t2"))
    assert inbox.posts == []
    run(handler, call(spend=8.0), call(spend=80.0, budget=100.0, team="t2"))
    assert len(inbox.posts) == 2


def test_a_team_with_nothing_left_and_a_refused_call_are_one_crossing(inbox):
    handler = callback(inbox)
    run(handler, call(spend=9.9, cost=0.1), refusal(), refusal(), call(spend=12))
    assert inbox.events == ["budget_crossed"]
    run(callback(inbox), refusal())
    assert inbox.posts[0].body == inbox.posts[1].body
    assert inbox.ids[0] == inbox.ids[1]


def test_a_reservations_refusal_is_no_crossing_and_hides_none(inbox):
    handler = callback(inbox, below=0.0)
    run(handler, call(spend=9.0, cost=0.4), refusal(spend=9.0), refusal(spend=9.0))
    run(handler, call(spend=9.0, cost=0.6), refusal(spend=9.0), call(spend=9.0, cost=0.1))
    assert [json.loads(post.body)["event_message"].split("\n")[0] for post in inbox.posts] == [
        "Team Budget: Call Refused",
        "Team Budget: Budget Crossed",
    ]
    # What bill-service decides on is the same in both: a refused call on a budget that is used up.
    refused, crossed = ({**json.loads(post.body), "event_message": None} for post in inbox.posts)
    assert refused == crossed
    assert (refused["event"], refused["spend"], refused["max_budget"]) == ("budget_crossed", 10.0, 10.0)
    assert len(set(inbox.ids)) == 2


def test_a_refusal_adds_nothing_to_the_spend(inbox):
    run(callback(inbox, below=1.0), call(spend=8.5, cost=0.1), *[refusal(spend=8.5)] * 20, call(spend=8.5, cost=0.1))
    assert inbox.events == ["budget_crossed"]


def test_with_an_older_litellm_the_amount_shows_whose_budget_refused(inbox):
    run(callback(inbox), refusal(entity=None))
    assert inbox.events == ["budget_crossed"]


def test_a_team_that_falls_from_the_threshold_to_nothing_sends_two_alerts(inbox):
    run(callback(inbox), call(spend=6), call(spend=8), call(spend=10), call(spend=11))
    assert sorted(inbox.events) == ["budget_crossed", "threshold_crossed"]


def test_the_signature_equals_that_of_the_standard_webhooks_library(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1614265330)
    key = read_settings({**ENOUGH, "BILL_SERVICE_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}).key
    headers = bill_service_callback._signed(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')
    # Computed by the npm package standardwebhooks, with which bill-service is tested too.
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


# Where LiteLLM puts it

TEAM = {"user_api_key_team_id": "t1", "user_api_key_team_max_budget": 10.0, "user_api_key_team_spend": 9.5}
CLIENTS_OWN = {"user_id": "u"}


def placed(cost=None, metadata=None, litellm_metadata=None, logged=None):
    """A call whose team and cost are in these places; without one, LiteLLM does not have the place at all."""
    params = {"metadata": metadata, "litellm_metadata": litellm_metadata}
    kwargs = {"litellm_params": {name: place for name, place in params.items() if place is not None}, "response_cost": cost}
    return kwargs if logged is None else {**kwargs, "standard_logging_object": logged}


@pytest.mark.parametrize(
    "occurrence",
    [
        placed(0.6, metadata=TEAM),
        placed(0.6, metadata=CLIENTS_OWN, litellm_metadata=TEAM),
        placed(None, metadata=TEAM, logged={"response_cost": 0.6}),
        placed(None, metadata=CLIENTS_OWN, litellm_metadata=TEAM, logged={"response_cost": 0.6, "metadata": {"user_api_key_team_id": "t1"}}),
        placed(0.6, logged={"metadata": TEAM}),
        placed(0.6, metadata={"user_api_key_team_id": "t1"}, logged={"metadata": TEAM}),
        placed(0.6, metadata={**TEAM, "user_api_key_team_spend": None}, litellm_metadata=TEAM),
        placed(0.6, metadata={**TEAM, "user_api_key_team_id": ["t1"]}, litellm_metadata=TEAM),
        placed(0.6, metadata=7, litellm_metadata=TEAM, logged=7),
        *[placed(nonsense, metadata=TEAM, logged={"response_cost": 0.6}) for nonsense in ("0.5", float("nan"), True, -0.9, 10**400)],
    ],
)
def test_team_and_cost_are_found_in_each_of_their_places(inbox, occurrence):
    handler = callback(inbox, below=1.0)
    run(handler, occurrence)
    assert (inbox.events, handler.failed) == (["budget_crossed"], 0)


def test_the_first_place_that_names_a_team_decides_which_one_it_is(inbox):
    other = {**TEAM, "user_api_key_team_id": "t2", "user_api_key_team_max_budget": 1.0}
    run(callback(inbox, below=1.0), placed(0.6, metadata=TEAM, litellm_metadata=other, logged={"metadata": other}))
    run(callback(inbox, below=1.0), placed(0.6, metadata={"user_api_key_team_id": "t1"}, litellm_metadata=other))
    assert [json.loads(post.body)["team_id"] for post in inbox.posts] == ["t1"]


def test_of_two_costs_the_first_counts_and_only_once(inbox):
    run(callback(inbox, below=1.0), *[placed(0.1, metadata=TEAM, logged={"response_cost": 5.0})] * 2)
    assert inbox.events == ["threshold_crossed"]


def test_a_negative_cost_is_nothing(inbox):
    run(callback(inbox, below=1.0), *[placed(cost, metadata=TEAM) for cost in (0.3, -0.9)])
    assert inbox.events == ["threshold_crossed"]
    inbox.posts.clear()
    run(callback(inbox, below=1.0), *[placed(cost, metadata=TEAM) for cost in (0.3, -0.9, 0.4)])
    assert sorted(inbox.events) == ["budget_crossed", "threshold_crossed"]


@pytest.mark.parametrize("nonsense", ["0.6", float("nan"), float("inf"), True, [0.6], 10**400])
def test_a_cost_that_is_no_amount_is_nothing(inbox, nonsense):
    handler = callback(inbox, below=1.0)
    run(handler, placed(nonsense, metadata=TEAM), placed(nonsense, metadata=TEAM, logged={"response_cost": nonsense}))
    assert (inbox.events, handler.failed) == (["threshold_crossed"], 0)


# The spend


def test_costs_are_added_up_while_litellm_repeats_an_old_spend(inbox):
    handler = callback(inbox, below=1.0)
    run(handler, *[call(spend=0.0, cost=1.5) for _ in range(5)])
    assert inbox.posts == []
    run(handler, call(spend=0.0, cost=1.5))
    assert inbox.events == ["threshold_crossed"]


def test_the_spend_of_other_processes_counts_when_litellm_reports_it(inbox):
    handler = callback(inbox, below=1.0)
    run(handler, call(spend=0.0, cost=2.0), call(spend=8.0, cost=0.5))
    assert inbox.posts == []
    run(handler, call(spend=0.0, cost=0.5))
    assert inbox.events == ["threshold_crossed"]


def test_a_raised_budget_keeps_the_spend(inbox):
    handler = callback(inbox, below=1.0)
    run(handler, call(spend=0.0, cost=9.5), call(spend=9.0, cost=0.1, budget=15.0), call(spend=9.0, cost=4.5, budget=15.0))
    assert sorted(json.loads(post.body)["max_budget"] for post in inbox.posts) == [10.0, 15.0]


def test_a_spend_that_somebody_has_reset_counts_after_two_generations():
    running, generation = RunningSpend(0), bill_service_callback.SPEND_GENERATION_S
    assert running.add(reported=90, cost=1, now=1) == 91
    assert running.add(reported=0, cost=1, now=generation) == 92
    assert running.add(reported=1, cost=1, now=generation + 1) == 93
    assert running.add(reported=2, cost=1, now=2 * generation + 2) == 3
    assert running.add(reported=2, cost=1, now=2 * generation + 3) == 4


# How often


def test_a_crossing_is_sent_once_however_often_it_is_seen(inbox):
    handler = callback(inbox)
    run(handler, *[call(spend=6) for _ in range(50)])
    run(handler, *[call(spend=6) for _ in range(50)])
    assert len(inbox.posts) == 1


def test_two_worker_processes_send_the_same_bytes(inbox):
    run(callback(inbox), call(spend=6.1))
    run(callback(inbox), call(spend=5.2, cost=0.3))
    assert inbox.posts[0].body == inbox.posts[1].body
    assert inbox.ids[0] == inbox.ids[1]


def test_a_raised_budget_makes_another_crossing_that_is_sent_at_once(inbox):
    run(callback(inbox), call(spend=6), call(spend=16, budget=20.0))
    assert len(set(inbox.ids)) == 2


def test_a_crossing_that_lasts_is_sent_again_in_the_next_period(inbox):
    handler = callback(inbox, renotify_s=1)
    run(handler, call(spend=6))
    time.sleep(1.1)
    run(handler, call(spend=6))
    assert inbox.posts[0].body == inbox.posts[1].body
    assert len(set(inbox.ids)) == 2


def test_another_threshold_makes_another_body_and_another_id(inbox):
    run(callback(inbox, below=5.0), call(spend=6))
    run(callback(inbox, below=4.5), call(spend=6))
    assert inbox.posts[0].body != inbox.posts[1].body
    assert len(set(inbox.ids)) == 2


# When bill-service cannot be reached


@pytest.mark.parametrize("fault", [CUT, 500, 502, 503, 408, 429])
def test_after_a_fault_that_ends_the_same_id_and_body_are_delivered(inbox, fault):
    inbox.script = [fault, fault]
    run(callback(inbox), call(spend=6))
    assert len(inbox.posts) == 3
    assert len({(post.headers["webhook-id"], post.body) for post in inbox.posts}) == 1
    assert all(is_authentic(post) for post in inbox.posts)


def test_each_attempt_is_signed_with_its_own_time(inbox):
    inbox.script = [(503, {"retry-after": "1.1"})]
    run(callback(inbox), call(spend=6))
    first, second = [int(post.headers["webhook-timestamp"]) for post in inbox.posts]
    assert second > first
    assert all(is_authentic(post) for post in inbox.posts)


def test_a_retry_after_is_honoured(inbox):
    inbox.script = [(429, {"retry-after": "1"})]
    run(callback(inbox), call(spend=6))
    assert inbox.posts[1].at - inbox.posts[0].at >= 0.9


def test_a_retry_after_may_be_a_date():
    assert 50 < bill_service_callback._retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60


@pytest.mark.parametrize("value, seconds", [(None, 0), ("", 0), ("soon", 0), ("-5", 0), ("nan", 0), ("1e9", 300), ("7", 7)])
def test_an_invalid_retry_after_is_zero_and_a_long_one_is_reduced(value, seconds):
    assert bill_service_callback._retry_after(value) == seconds


@pytest.mark.parametrize("status", [302, 400, 401, 404, 409, 413])
def test_a_refusal_is_final_and_logged_and_not_repeated_at_every_call(inbox, caplog, status):
    inbox.script = [status]
    handler = callback(inbox)
    run(handler, call(spend=6))
    run(handler, call(spend=6), call(spend=7))
    assert len(inbox.posts) == 1
    [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"HTTP {status}" in line.getMessage()


def test_an_alert_is_given_up_after_the_last_attempt_and_the_next_call_sends_it_again(inbox, caplog):
    attempts = bill_service_callback.MAX_ATTEMPTS
    inbox.script = [500] * attempts
    handler = callback(inbox)
    run(handler, call(spend=6))
    assert len(inbox.posts) == attempts
    assert f"not delivered in {attempts} attempts, last HTTP 500" in caplog.text
    run(handler, call(spend=6))
    assert len(inbox.posts) == attempts + 1
    assert len(set(inbox.ids)) == 1


def test_a_refused_connection_is_retried_too(caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bill_service_callback, "FIRST_PAUSE_S", 0.001)
            patch.setattr(bill_service_callback, "LAST_PAUSE_S", 0.001)
            run(callback(url), call(spend=6))
    assert "last ConnectError" in caplog.text


def test_a_server_that_never_answers_delays_no_call_and_its_attempt_ends(inbox, monkeypatch):
    monkeypatch.setattr(bill_service_callback, "ATTEMPT_LIMIT_S", 1.0)
    inbox.script = [TRICKLE]
    handler = callback(inbox)

    async def scenario():
        started = time.monotonic()
        for _ in range(100):
            await report(handler, call(spend=6))
        hooks_took = time.monotonic() - started
        await deliveries()
        return hooks_took

    assert asyncio.run(scenario()) < 0.5
    assert len(inbox.posts) == 2
    assert inbox.posts[1].at - inbox.posts[0].at < 5


def test_pauses_double_up_to_a_limit_and_differ(monkeypatch):
    pauses = [bill_service_callback._pause(attempt) for attempt in range(1, 12)]
    for attempt, pause in enumerate(pauses):
        assert min(60, 2**attempt) / 2 <= pause <= min(60, 2**attempt)
    assert len(set(pauses[6:])) > 1


def test_an_alert_beyond_the_limit_of_deliveries_is_dropped_counted_and_sent_by_a_later_call(inbox, monkeypatch, caplog):
    monkeypatch.setattr(bill_service_callback, "MAX_PENDING", 2)
    handler = callback(inbox)
    teams = [call(spend=6, team=f"t{number}") for number in range(5)]
    run(handler, *teams)
    assert len(inbox.posts) == 2
    assert handler.dropped == 3
    assert "dropped so far: 2" in caplog.text
    run(handler, *teams[:3])
    assert len(set(inbox.ids)) == 3


# Inside LiteLLM


def test_when_an_event_loop_ends_during_a_delivery_the_next_call_sends_the_alert(inbox):
    inbox.script = [TRICKLE]
    handler = callback(inbox)

    asyncio.run(until_posted(handler, inbox))
    run(handler, call(spend=6))
    assert len(inbox.posts) == 2
    assert inbox.ids[0] == inbox.ids[1]


def test_deliveries_of_a_closed_event_loop_do_not_count_against_the_limit(inbox, monkeypatch):
    monkeypatch.setattr(bill_service_callback, "MAX_PENDING", 1)
    inbox.script = [TRICKLE]
    handler = callback(inbox)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(until_posted(handler, inbox))
    loop.close()
    run(handler, call(spend=6, team="t2"))
    assert [json.loads(post.body)["team_id"] for post in inbox.posts] == ["t1", "t2"]


@pytest.mark.parametrize("nonsense", [None, 7, {}, {"litellm_params": None}, {"litellm_params": {"metadata": 7}}, call(spend="x", budget="y")])
def test_no_argument_from_litellm_makes_a_hook_raise(inbox, nonsense):
    run(callback(inbox), nonsense)
    run(callback(inbox), (BudgetExceededError("x"), nonsense), (BudgetExceededError(None, entity_type="team"), None))
    assert inbox.posts == []


def test_an_error_inside_a_hook_is_logged_and_not_raised(inbox, caplog):
    run(callback(inbox), [], call(spend=6))
    assert len(inbox.posts) == 1
    assert "a call could not be processed" in caplog.text


def test_an_error_at_every_call_does_not_fill_the_log(inbox, caplog):
    handler = callback(inbox)
    run(handler, *[None] * 100)
    assert handler.failed == 100
    assert len(caplog.records) == 7


def test_a_line_of_the_log_stays_one_line_for_any_team_id(inbox, caplog):
    inbox.script = [401]
    run(callback(inbox), call(spend=6, team="t1\nERROR: another line"))
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_memory_is_bounded(inbox, monkeypatch):
    monkeypatch.setattr(bill_service_callback, "MAX_REMEMBERED", 3)
    handler = callback(inbox, below=0.5)
    run(handler, *[call(spend=1, team=f"t{number}") for number in range(10)])
    assert list(handler._spends) == ["t7", "t8", "t9"]


def test_it_loads_like_litellm_loads_it_from_beside_its_config(monkeypatch):
    monkeypatch.setenv("BILL_SERVICE_URL", "https://bill.example.com")
    monkeypatch.setenv("BILL_SERVICE_WEBHOOK_SECRET", SECRET)
    # LiteLLM does not enter it in sys.modules.
    spec = importlib.util.spec_from_file_location("not_in_sys_modules", bill_service_callback.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert isinstance(module.handler, module.BillServiceCallback)


# Settings

ENOUGH = {"BILL_SERVICE_URL": "https://bill.example.com", "BILL_SERVICE_WEBHOOK_SECRET": SECRET}


def test_an_address_and_a_secret_are_enough():
    assert read_settings(ENOUGH) == Settings("https://bill.example.com/webhooks/litellm/limit-exceeded", SECRET.encode(), 1.0, 0.0, 900)
    assert read_settings({**ENOUGH, "BILL_SERVICE_URL": "https://example.com/bill/"}).url == (
        "https://example.com/bill/webhooks/litellm/limit-exceeded"
    )


@pytest.mark.parametrize(
    "secret, key",
    [("plain text", b"plain text"), ("whsec_OCBieXRlcyE=", b"8 bytes!"), ("Whsec_OCBieXRlcyE=", b"Whsec_OCBieXRlcyE=")],
)
def test_a_secret_is_base64_after_whsec_and_text_otherwise(inbox, secret, key):
    settings = read_settings({"BILL_SERVICE_URL": inbox.url, "BILL_SERVICE_WEBHOOK_SECRET": secret})
    run(BillServiceCallback(settings), refusal())
    assert is_authentic(inbox.posts[0], key)


@pytest.mark.parametrize(
    "variable, value",
    [
        ("BILL_SERVICE_URL", ""),
        ("BILL_SERVICE_URL", "bill.example.com"),
        ("BILL_SERVICE_URL", "ftp://bill.example.com"),
        ("BILL_SERVICE_URL", "https://"),
        ("BILL_SERVICE_URL", "https://bill.example.com:port"),
        ("BILL_SERVICE_URL", "https://user:password@bill.example.com"),
        ("BILL_SERVICE_URL", "https://bill.example.com?token=x"),
        ("BILL_SERVICE_URL", "https://bill.example.com/webhooks/litellm/limit-exceeded"),
        ("BILL_SERVICE_WEBHOOK_SECRET", ""),
        ("BILL_SERVICE_WEBHOOK_SECRET", "whsec_"),
        ("BILL_SERVICE_WEBHOOK_SECRET", "7 bytes"),
        ("BILL_SERVICE_WEBHOOK_SECRET", "one-secret,another"),
        ("BILL_SERVICE_WEBHOOK_SECRET", "whsec_not base64"),
        ("BILL_SERVICE_WEBHOOK_SECRET", "whsec_OCBieXRlcyE"),  # without its padding
        ("BILL_SERVICE_WEBHOOK_SECRET", "whsec_NyBieXRlcw=="),  # 7 bytes
        ("BILL_SERVICE_ALERT_BELOW_USD", "a lot"),
        ("BILL_SERVICE_ALERT_BELOW_USD", "-1"),
        ("BILL_SERVICE_ALERT_BELOW_USD", "nan"),
        ("BILL_SERVICE_ALERT_BELOW_USD", "inf"),
        ("BILL_SERVICE_ALERT_BELOW_SHARE", "20"),
        ("BILL_SERVICE_RENOTIFY_SECONDS", "5"),
    ],
)
def test_a_wrong_setting_disables_it_with_one_error_that_names_it(caplog, variable, value):
    handler = load({**ENOUGH, variable: value})
    assert not isinstance(handler, BillServiceCallback)
    [line] = caplog.records
    assert line.levelno == logging.ERROR
    assert variable in line.getMessage()


def test_all_wrong_settings_are_reported_at_once(caplog):
    load({"BILL_SERVICE_ALERT_BELOW_USD": "x", "BILL_SERVICE_RENOTIFY_SECONDS": "y"})
    [line] = caplog.records
    assert "BILL_SERVICE_ALERT_BELOW_USD has to be a number from 0 to 1000000, not 'x'" in line.getMessage()
    for name in ("URL", "WEBHOOK_SECRET", "ALERT_BELOW_USD", "RENOTIFY_SECONDS"):
        assert f"BILL_SERVICE_{name}" in line.getMessage()


def test_the_secret_is_in_no_line_of_the_log(inbox, caplog):
    caplog.set_level(logging.DEBUG)
    inbox.script = [CUT, 500, 401]
    handler = load({"BILL_SERVICE_URL": inbox.url, "BILL_SERVICE_WEBHOOK_SECRET": SECRET})
    run(handler, refusal(), None)
    load({"BILL_SERVICE_WEBHOOK_SECRET": f"whsec_{SECRET}!"})
    assert len(caplog.records) > 3
    assert SECRET not in caplog.text
    assert SECRET not in repr(handler._settings)
