"""Alerts bill-service that a LiteLLM team is running out of budget, before a call is refused.

The LiteLLM proxy loads it:

    litellm_settings:
      callbacks: ["bill_service_callback.handler"]

It is this one file beside LiteLLM's config.yaml, with its settings in LiteLLM's environment. The
documentation is docs/connecting-litellm.md.

The alert. It has the shape of LiteLLM's own alert and is signed as Standard Webhooks. `threshold_crossed` is
sent when the balance falls to the threshold, `budget_crossed` when nothing is left or LiteLLM refuses a call
because of the budget. The `spend` in the alert is the mark that was passed (the budget less the threshold, or
the budget), not the current spend, and no key is in it. So every worker process sends the same bytes about
one crossing. A refusal while money may be left, which a reservation has used up, is an alert of its own.

How often. For the callback a crossing is a team, an event and a budget. Its `webhook-id` is a digest of the
body and of the current period of BILL_SERVICE_RENOTIFY_SECONDS. bill-service accepts an id once, for ever,
and refuses it with another body: within a period all copies and retries are one delivery. When a card was
declined and the team is still short, the first call of the next period alerts again. A raised budget makes
another crossing, which is reported at once.

What it costs LiteLLM. A hook only adds numbers and starts a task on the running event loop; only the task
uses the network. No error leaves a hook. Wrong settings disable the callback with one error in the log.

The spend. LiteLLM gives the callback a snapshot of the team's spend from its caches, which may be a minute
old or older (measured with 1.100.5: it stayed the same over ten calls, while the counter that enforces the
budget rose). The callback therefore adds up the cost of each call, see `RunningSpend`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import email.utils
import hashlib
import hmac
import json
import logging
import math
import os
import random
import time
from collections import OrderedDict
from typing import Any, Mapping, NamedTuple
from urllib.parse import urlsplit

import httpx

try:
    from litellm.integrations.custom_logger import CustomLogger
except ImportError:

    class CustomLogger:
        """In place of LiteLLM's class, whose hooks do nothing: the tests run without LiteLLM."""


# A child of LiteLLM's own logger, so that its lines are shown, formatted and redacted like LiteLLM's.
log = logging.getLogger("LiteLLM Proxy.bill_service_callback")

PATH = "/webhooks/litellm/limit-exceeded"

# The same as in bill-service, where shorter secrets are refused.
MIN_SECRET_LENGTH = 8

DEFAULT_ALERT_BELOW_USD = 1.0
MAX_ALERT_BELOW_USD = 1e6
DEFAULT_RENOTIFY_S = 900
# bill-service tries a declined card again at every repeated alert, up to the organization's
# max_daily_recharges.
MIN_RENOTIFY_S = 60
MAX_RENOTIFY_S = 86_400

# bill-service answers in far less than a second, because it only stores the alert.
ATTEMPT_LIMIT_S = 10.0
# With the pauses about three minutes. After that the team's next call sends the alert again.
MAX_ATTEMPTS = 10
FIRST_PAUSE_S = 1.0
LAST_PAUSE_S = 60.0
# A longer Retry-After is reduced to this.
MAX_RETRY_AFTER_S = 300.0
RETRIED_STATUSES = frozenset({408, 429})

# Deliveries at once. One more alert is dropped, and its team's next call sends it.
MAX_PENDING = 100
# Teams and crossings in memory, a few hundred bytes each. The least recent is removed first.
MAX_REMEMBERED = 10_000

# A sum of ours is replaced after one to two of these, in favour of LiteLLM's value. It is longer than
# LiteLLM's snapshots are old: 60 s of cache, and up to 60 s until spend is written to its database.
SPEND_GENERATION_S = 300.0


class Settings(NamedTuple):
    """The settings from the environment, validated."""

    url: str
    #: The key of the signature.
    key: bytes
    alert_below_usd: float
    #: A share of the team's max_budget, 0 to 1.
    alert_below_share: float
    renotify_s: int

    def __repr__(self) -> str:
        return f"Settings(url={self.url!r}, key=…)"

    def threshold(self, max_budget: float) -> float:
        """The balance in US dollars at or below which an alert is sent: the larger of the two settings."""
        return max(self.alert_below_usd, self.alert_below_share * max_budget)


def read_settings(env: Mapping[str, str]) -> Settings:
    """Reads the BILL_SERVICE_* variables. An empty variable counts as not set.

    Raises ValueError that names every variable that is missing or wrong, and never a secret's value.
    """
    problems: list[str] = []

    def number(name: str, default: float, low: float, high: float) -> float:
        text = env.get(name, "").strip()
        try:
            value = float(text) if text else default
        except ValueError:
            value = math.nan
        if low <= value <= high:
            return value
        problems.append(f"{name} has to be a number from {low:g} to {high:.10g}, not {text!r}")
        return default

    url = env.get("BILL_SERVICE_URL", "").strip().rstrip("/")
    problem = _url_problem(url)
    if problem:
        problems.append(f"BILL_SERVICE_URL {problem}")
    key = b""
    try:
        key = _signing_key(env.get("BILL_SERVICE_WEBHOOK_SECRET", "").strip())
    except ValueError as error:
        problems.append(f"BILL_SERVICE_WEBHOOK_SECRET {error}")
    settings = Settings(
        url=url + PATH,
        key=key,
        alert_below_usd=number("BILL_SERVICE_ALERT_BELOW_USD", DEFAULT_ALERT_BELOW_USD, 0, MAX_ALERT_BELOW_USD),
        alert_below_share=number("BILL_SERVICE_ALERT_BELOW_SHARE", 0, 0, 1),
        renotify_s=int(number("BILL_SERVICE_RENOTIFY_SECONDS", DEFAULT_RENOTIFY_S, MIN_RENOTIFY_S, MAX_RENOTIFY_S)),
    )
    if problems:
        raise ValueError("; ".join(problems))
    return settings


def _url_problem(url: str) -> str | None:
    if not url:
        return "is missing: the address of bill-service, such as https://bill.example.com"
    try:
        parts = urlsplit(url)
        parts.port  # raises for an invalid port
    except ValueError:
        return "is not an address"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "has to begin with http:// or https:// and name a host"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "must not have credentials or a query: the alert is signed instead"
    if parts.path.endswith(PATH):
        return f"has to be the address of bill-service without {PATH}"
    return None


def _signing_key(secret: str) -> bytes:
    """The key of a secret: base64 after `whsec_` (Standard Webhooks), else its UTF-8 bytes."""
    if not secret:
        raise ValueError("is missing: one of bill-service's WEBHOOK_HMAC_SECRETS")
    if "," in secret:
        raise ValueError("has a comma, which separates secrets in bill-service's WEBHOOK_HMAC_SECRETS: set one of them")
    if len(secret) < MIN_SECRET_LENGTH:
        raise ValueError(f"is shorter than {MIN_SECRET_LENGTH} characters")
    if not secret.startswith("whsec_"):
        return secret.encode()
    text = secret[len("whsec_") :]
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < MIN_SECRET_LENGTH or base64.b64encode(key).decode() != text:
        raise ValueError(f"begins with whsec_ but is not base64 of at least {MIN_SECRET_LENGTH} bytes after it")
    return key


class RunningSpend:
    """A lower bound of a team's spend in US dollars, from LiteLLM's snapshots and the costs seen here.

    LiteLLM takes the snapshot before the call whose cost comes with it. So the larger of the snapshot and the
    sum, plus that cost, was really spent. Only what other worker processes have spent since the snapshot is
    missing.

    The sum never falls, but LiteLLM's value falls when somebody resets a team's spend. Therefore two sums are
    kept, started one generation apart. The older one counts, and the younger one replaces it when it covers a
    whole generation.
    """

    def __init__(self, now: float) -> None:
        self._older = self._younger = 0.0
        self._turned_at = now

    def add(self, reported: float, cost: float, now: float) -> float:
        """Returns the spend after a call, in US dollars. `now` is seconds of any monotonic clock."""
        if now - self._turned_at > SPEND_GENERATION_S:
            self._older, self._younger, self._turned_at = self._younger, 0.0, now
        self._older = max(self._older, reported) + cost
        self._younger = max(self._younger, reported) + cost
        return self._older


class Alert(NamedTuple):
    """The alert of one crossing: the same bytes in every process, at any time."""

    event: str
    team_id: str
    max_budget: float
    body: bytes

    @classmethod
    def budget_crossed(cls, team_id: str, team_alias: str | None, max_budget: float) -> Alert:
        message = f"Team Budget: Budget Crossed\n Total Budget:`{max_budget}`"
        return cls._of("budget_crossed", team_id, team_alias, max_budget, max_budget, message)

    @classmethod
    def call_refused(cls, team_id: str, team_alias: str | None, max_budget: float) -> Alert:
        """A call was refused, and it is not known that the budget is spent: a reservation may have used it up.

        It has LiteLLM's event and figures of a refused call, by which bill-service decides. Its bytes are not
        those of a crossing, which may still come and must not be taken for a copy of this one.
        """
        message = f"Team Budget: Call Refused\n Total Budget:`{max_budget}`"
        return cls._of("budget_crossed", team_id, team_alias, max_budget, max_budget, message)

    @classmethod
    def threshold_crossed(cls, team_id: str, team_alias: str | None, max_budget: float, threshold: float) -> Alert:
        message = f"Team Budget: Threshold Crossed\n Total Budget:`{max_budget}`\n Left at most:`{threshold}`"
        # Rounded to micro-dollars, the unit of bill-service.
        mark = round(max(0.0, max_budget - threshold), 6)
        return cls._of("threshold_crossed", team_id, team_alias, max_budget, mark, message)

    @classmethod
    def _of(cls, event: str, team_id: str, team_alias: str | None, max_budget: float, mark: float, message: str) -> Alert:
        fields = {
            "spend": mark,
            "max_budget": max_budget,
            "soft_budget": None,
            "token": None,
            "customer_id": None,
            "user_id": None,
            "team_id": team_id,
            "team_alias": team_alias,
            "organization_id": None,
            "user_email": None,
            "key_alias": None,
            "projected_exceeded_date": None,
            "projected_spend": None,
            "event_group": "team",
            "alert_emails": None,
            "max_budget_alert_emails": None,
            "event": event,
            "event_message": message,
        }
        return cls(event, team_id, max_budget, json.dumps(fields, separators=(",", ":")).encode())

    def webhook_id(self, period: int) -> str:
        """The permanent idempotency key. It is a digest of the body, so one id never has two bodies."""
        return "alert_" + hashlib.sha256(f"{period}.".encode() + self.body).hexdigest()[:40]


class Recent(OrderedDict):
    """A dictionary that keeps the MAX_REMEMBERED keys that were set last."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > MAX_REMEMBERED:
            self.popitem(last=False)


class BillServiceCallback(CustomLogger):
    """The hooks that LiteLLM calls, and the deliveries that they start."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        #: Alerts that were dropped because MAX_PENDING deliveries were running.
        self.dropped = 0
        #: Hooks that ended with an error.
        self.failed = 0
        self._settings = settings
        #: By LiteLLM team.
        self._spends: dict[str, RunningSpend] = Recent()
        #: Bodies of the alerts that were sent or are being sent, and when that started.
        self._sent: dict[bytes, float] = Recent()
        #: Referenced here, because an event loop keeps only weak references to its tasks.
        self._pending: set[asyncio.Task[None]] = set()
        # Reads the certificates of the authorities, which takes tens of milliseconds: once, before there are
        # calls to delay.
        self._tls = httpx.create_ssl_context()

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """LiteLLM's hook after a successful call: alerts when the balance has fallen to a mark."""
        try:
            self._after_call(kwargs)
        except Exception:
            self._log_hook_error("a call")

    async def async_post_call_failure_hook(
        self, request_data: Any, original_exception: Any, user_api_key_dict: Any, traceback_str: Any = None
    ) -> None:
        """LiteLLM's hook after a failed call: alerts when the team's budget refused it."""
        try:
            if type(original_exception).__name__ == "BudgetExceededError":
                self._after_refusal(original_exception, user_api_key_dict)
        except Exception:
            self._log_hook_error("a refused call")

    def _after_call(self, kwargs: Mapping[str, Any]) -> None:
        team = _team_of_call(kwargs)
        if team is None or team.max_budget is None:
            return
        team_id, team_alias, max_budget, reported = team
        spend = self._count(team_id, reported, _cost_of_call(kwargs))
        threshold = self._settings.threshold(max_budget)
        if spend >= max_budget:
            self._send(Alert.budget_crossed(team_id, team_alias, max_budget))
        elif max_budget - spend <= threshold:
            self._send(Alert.threshold_crossed(team_id, team_alias, max_budget, threshold))

    def _count(self, team_id: str, reported: float, cost: float) -> float:
        """Returns what the team has spent at least, in US dollars, with the cost of the call that has ended."""
        now = time.monotonic()
        running = self._spends.get(team_id) or RunningSpend(now)
        self._spends[team_id] = running
        return running.add(reported, cost, now)

    def _after_refusal(self, error: Any, key: Any) -> None:
        # The error has the budget that was enforced. The key's copy of it may be a minute old.
        max_budget = _dollars(getattr(error, "max_budget", None))
        team_id = _text(getattr(key, "team_id", None))
        if team_id is None or max_budget is None:
            return
        # Budgets of keys, users, members and others refuse calls too. Older LiteLLM versions do not say whose
        # budget it was.
        entity = getattr(error, "entity_type", None)
        is_teams = entity == "team" or (entity is None and max_budget == _dollars(getattr(key, "team_max_budget", None)))
        if not is_teams:
            return
        # LiteLLM refuses alike what is over the budget and what a reservation does not fit into. What is known
        # to be spent tells them apart: a call that was refused has cost nothing.
        team_alias = _text(getattr(key, "team_alias", None))
        spend = self._count(team_id, _dollars(getattr(key, "team_spend", None)) or 0.0, 0.0)
        alert = Alert.budget_crossed if spend >= max_budget else Alert.call_refused
        self._send(alert(team_id, team_alias, max_budget))

    def _send(self, alert: Alert) -> None:
        """Starts the delivery, unless the alert was sent in the last period or MAX_PENDING deliveries run."""
        now = time.monotonic()
        if now - self._sent.get(alert.body, -math.inf) < self._settings.renotify_s:
            return
        loop = asyncio.get_running_loop()
        # A task of a closed event loop never ends, so it must not count.
        self._pending = {task for task in self._pending if not task.get_loop().is_closed()}
        if len(self._pending) >= MAX_PENDING:
            self._drop(alert)
            return
        self._sent[alert.body] = now
        task = loop.create_task(self._deliver(alert, alert.webhook_id(int(time.time()) // self._settings.renotify_s)))
        self._pending.add(task)
        task.add_done_callback(lambda ended: self._pending.discard(ended))

    def _drop(self, alert: Alert) -> None:
        self.dropped += 1
        if _is_logged(self.dropped):
            log.error(
                "bill-service callback: %s of team %r dropped, because %d deliveries are running; dropped so far: %d",
                alert.event,
                alert.team_id,
                MAX_PENDING,
                self.dropped,
            )

    def _log_hook_error(self, what: str) -> None:
        """Logs the exception that a hook is handling, at the 1st, 2nd, 4th, 8th … time."""
        self.failed += 1
        if _is_logged(self.failed):
            log.exception("bill-service callback: %s could not be processed; so far: %d", what, self.failed)

    async def _deliver(self, alert: Alert, webhook_id: str) -> None:
        settled = False
        try:
            settled = await self._post(alert, webhook_id)
        except Exception:
            log.exception("bill-service callback: %s of team %r not delivered", alert.event, alert.team_id)
            settled = True  # the same error would come at every call of the team
        finally:
            # Also when the event loop ends: the team's next call, in this process or another, sends the alert
            # again.
            if not settled:
                self._sent.pop(alert.body, None)

    async def _post(self, alert: Alert, webhook_id: str) -> bool:
        """Posts until bill-service accepts or refuses the alert. Returns False after MAX_ATTEMPTS."""
        about = f"{alert.event} of team {alert.team_id!r} at {alert.max_budget}"
        url = self._settings.url
        # One client for each alert: alerts are few, and a client belongs to the event loop that used it
        # first.
        async with httpx.AsyncClient(verify=self._tls, timeout=ATTEMPT_LIMIT_S) as client:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                retry_after = 0.0
                try:
                    headers = _signed(self._settings.key, webhook_id, alert.body)
                    # httpx limits each read, not the whole request.
                    answer = await asyncio.wait_for(client.post(url, content=alert.body, headers=headers), ATTEMPT_LIMIT_S)
                except (httpx.RequestError, asyncio.TimeoutError) as error:
                    problem = type(error).__name__
                else:
                    if answer.is_success:
                        log.info("bill-service callback: %s delivered, %s: %.200r", about, webhook_id, answer.text)
                        return True
                    problem = f"HTTP {answer.status_code}"
                    if answer.status_code < 500 and answer.status_code not in RETRIED_STATUSES:
                        log.error("bill-service callback: %s refused with %s: %.300r", about, problem, answer.text)
                        return True
                    retry_after = _retry_after(answer.headers.get("retry-after"))
                if attempt == 1:
                    log.warning("bill-service callback: %s not delivered yet (%s), trying again", about, problem)
                if attempt < MAX_ATTEMPTS:
                    await asyncio.sleep(max(_pause(attempt), retry_after))
        log.error("bill-service callback: %s not delivered in %d attempts, last %s", about, MAX_ATTEMPTS, problem)
        return False


def _signed(key: bytes, webhook_id: str, body: bytes) -> dict[str, str]:
    """Headers of https://www.standardwebhooks.com: the id of the alert, the time of the attempt."""
    timestamp = str(int(time.time()))
    digest = hmac.new(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "user-agent": "bill-service-callback",
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def _is_logged(count: int) -> bool:
    """True at 1, 2, 4, 8, …: an error at every call must not fill the log."""
    return count & (count - 1) == 0


def _pause(attempt: int) -> float:
    """Seconds before the next attempt: doubled up to LAST_PAUSE_S, with jitter to spread the workers."""
    return min(LAST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)


def _retry_after(value: str | None) -> float:
    """Seconds of a Retry-After header, a number or a date; 0 when it is missing or cannot be read."""
    try:
        seconds = float(value or 0)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value or "").timestamp() - time.time()
        except (TypeError, ValueError):
            return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S) if math.isfinite(seconds) else 0.0


class Team(NamedTuple):
    """The team of a call, as LiteLLM shows it with the call."""

    team_id: str
    team_alias: str | None
    #: In US dollars; None: unlimited, or not known.
    max_budget: float | None
    #: What LiteLLM's snapshot says was spent before the call, in US dollars.
    spend: float


def _team_of_call(kwargs: Mapping[str, Any]) -> Team | None:
    """The team of a call that was answered, or None without one.

    LiteLLM shows it in `litellm_params.metadata`; on routes whose `metadata` is the client's own in
    `litellm_params.litellm_metadata`; and in `standard_logging_object.metadata`. The first place that names a
    team decides which one it is, and a later place fills in what is missing there, if it names the same team.
    LiteLLM removes `user_api_key_*` from what a client sends.
    """
    params = _mapping(kwargs.get("litellm_params"))
    logged = _mapping(kwargs.get("standard_logging_object"))
    team_id = team_alias = max_budget = spend = None
    for place in (params.get("metadata"), params.get("litellm_metadata"), logged.get("metadata")):
        fields = _mapping(place)
        named = _text(fields.get("user_api_key_team_id"))
        if named is None or (team_id is not None and named != team_id):
            continue
        team_id = named
        if team_alias is None:
            team_alias = _text(fields.get("user_api_key_team_alias"))
        if max_budget is None:
            max_budget = _dollars(fields.get("user_api_key_team_max_budget"))
        if spend is None:
            spend = _dollars(fields.get("user_api_key_team_spend"))
        if max_budget is not None and spend is not None:
            break
    return None if team_id is None else Team(team_id, team_alias, max_budget, spend or 0.0)


def _cost_of_call(kwargs: Mapping[str, Any]) -> float:
    """What a call has cost in US dollars: the first of LiteLLM's two places with an amount, else 0."""
    cost = _dollars(kwargs.get("response_cost"))
    if cost is None:
        cost = _dollars(_mapping(kwargs.get("standard_logging_object")).get("response_cost"))
    return cost or 0.0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _dollars(value: Any) -> float | None:
    """The amount as a float; None when it is not a finite number of at least 0, which no budget is in LiteLLM."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        amount = float(value)
    except OverflowError:
        return None
    return amount if math.isfinite(amount) and amount >= 0 else None


def load(env: Mapping[str, str]) -> CustomLogger:
    """Returns the callback for an environment. Wrong settings give one that does nothing."""
    try:
        settings = read_settings(env)
    except ValueError as error:
        log.error("bill-service callback is disabled, LiteLLM works without it: %s", error)
        return CustomLogger()
    share = f" or {100 * settings.alert_below_share:g} % of its budget" if settings.alert_below_share else ""
    log.info("bill-service callback: alerts %s when a team has %g USD%s left", settings.url, settings.alert_below_usd, share)
    return BillServiceCallback(settings)


handler = load(os.environ)
