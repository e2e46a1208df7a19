"""Tells bill-service that a LiteLLM team is running out of budget, before it is refused. Loaded by the LiteLLM proxy:

    litellm_settings:
      callbacks: ["bill_service_callback.handler"]

with this one file beside LiteLLM's config.yaml and its settings in LiteLLM's environment; docs/connecting-litellm.md has the rest.

What is said. LiteLLM's own alert, signed as Standard Webhooks: `threshold_crossed` when what is left falls to the threshold,
`budget_crossed` when nothing is left or LiteLLM refuses a request for want of it. The alert names the mark that was passed (its
`spend` is the budget less the threshold, or the budget) rather than the spend of the moment, and nobody's key. So every worker
process says the same about one crossing, byte for byte.

How often. A crossing is a team, an event and a budget. Its `webhook-id` is a digest of the body and of the current period of
BILL_SERVICE_RENOTIFY_SECONDS: within a period all copies and retries are one delivery to bill-service, which takes an id once for ever and
refuses it with another body; and when a card was declined and the team is still short, the next period's first call says so again. A
raised budget is another crossing and is told at once.

What it costs LiteLLM. A hook only adds numbers and starts a task on the running event loop; the network is the task's affair. No error
leaves a hook, and wrong settings disable the callback with one error in the log.

What is spent. LiteLLM hands the callback a snapshot of the team's spend that may be as old as its caches, a minute and longer
(measured with 1.100.5: it stayed the same over ten calls, while the counter that enforces the budget rose), so the cost of each call is
added up here, see `RunningSpend`.
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
        """LiteLLM's, whose hooks do nothing. The tests run without LiteLLM."""


# Below LiteLLM's own logger, so that it is shown, formatted and redacted as LiteLLM's own lines are.
log = logging.getLogger("LiteLLM Proxy.bill_service_callback")

PATH = "/webhooks/litellm/limit-exceeded"

# As in bill-service.
MIN_SECRET_LENGTH = 8

DEFAULT_ALERT_BELOW_USD = 1.0
MAX_ALERT_BELOW_USD = 1e6
DEFAULT_RENOTIFY_S = 900
# A declined card is tried again at every repetition, up to the organization's max_daily_recharges.
MIN_RENOTIFY_S = 60
MAX_RENOTIFY_S = 86_400

# An answer takes bill-service far less than a second: it only stores the alert.
ATTEMPT_LIMIT_S = 10.0
# With the pauses between them about three minutes; after that the team's next call begins again.
MAX_ATTEMPTS = 10
FIRST_PAUSE_S = 1.0
LAST_PAUSE_S = 60.0
# A longer Retry-After is cut to this.
MAX_RETRY_AFTER_S = 300.0
RETRIED_STATUSES = frozenset({408, 429})

# Alerts on their way at once. One more is dropped, and its team's next call offers it again.
MAX_PENDING = 100
# Teams and crossings remembered; the least recent is forgotten first. A few hundred bytes each.
MAX_REMEMBERED = 10_000

# A spend counted here is forgotten after one to two of these, in favour of LiteLLM's. Longer than LiteLLM's snapshots are
# old: 60 s of cache and up to 60 s until spend is written to its database.
SPEND_GENERATION_S = 300.0


class Settings(NamedTuple):
    """What the environment says, checked."""

    url: str
    #: The bytes that sign.
    key: bytes
    alert_below_usd: float
    #: Of the team's max_budget, 0 to 1.
    alert_below_share: float
    renotify_s: int

    def __repr__(self) -> str:
        return f"Settings(url={self.url!r}, key=…)"

    def threshold(self, max_budget: float) -> float:
        """US dollars left at or below which a team is told of: the larger of the two settings."""
        return max(self.alert_below_usd, self.alert_below_share * max_budget)


def read_settings(env: Mapping[str, str]) -> Settings:
    """Reads the BILL_SERVICE_* variables; an empty one is none.

    Raises ValueError naming every variable that is missing or wrong, and never a secret's value.
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
        parts.port  # raises for one that is none
    except ValueError:
        return "is not an address"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "has to begin with http:// or https:// and name a host"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "may hold neither credentials nor a query: the alert is signed instead"
    if parts.path.endswith(PATH):
        return f"is the address of bill-service without {PATH}"
    return None


def _signing_key(secret: str) -> bytes:
    """Base64 after `whsec_`, as Standard Webhooks writes secrets; any other is its UTF-8 bytes. What bill-service accepts, no more."""
    if not secret:
        raise ValueError("is missing: one of bill-service's WEBHOOK_HMAC_SECRETS")
    if "," in secret:
        raise ValueError("holds a comma, which separates secrets in bill-service's WEBHOOK_HMAC_SECRETS: one of them is meant")
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
    """A lower bound of what a team has spent, in US dollars, from the snapshots that LiteLLM reports and the costs seen here.

    A snapshot is taken before the call whose cost comes with it, so the larger of it and the sum so far, plus that cost, was
    really spent. Only what other worker processes have spent since the snapshot is missing.

    The sum never falls by itself, but LiteLLM's figure may: somebody sets a team's spend back. Two sums are kept therefore, begun a
    generation apart; the older counts, and is replaced by the younger when that is old enough to know everything that matters.
    """

    def __init__(self, now: float) -> None:
        self._older = self._younger = 0.0
        self._turned_at = now

    def add(self, reported: float, cost: float, now: float) -> float:
        """The spend after a call. `now` is in seconds of any steady clock."""
        if now - self._turned_at > SPEND_GENERATION_S:
            self._older, self._younger, self._turned_at = self._younger, 0.0, now
        self._older = max(self._older, reported) + cost
        self._younger = max(self._younger, reported) + cost
        return self._older


class Alert(NamedTuple):
    """One crossing, as bill-service is told of it: the same bytes from whichever process, at whatever time."""

    event: str
    team_id: str
    max_budget: float
    body: bytes

    @classmethod
    def budget_crossed(cls, team_id: str, team_alias: str | None, max_budget: float) -> Alert:
        message = f"Team Budget: Budget Crossed\n Total Budget:`{max_budget}`"
        return cls._of("budget_crossed", team_id, team_alias, max_budget, max_budget, message)

    @classmethod
    def threshold_crossed(cls, team_id: str, team_alias: str | None, max_budget: float, threshold: float) -> Alert:
        message = f"Team Budget: Threshold Crossed\n Total Budget:`{max_budget}`\n Left at most:`{threshold}`"
        # In whole micro-dollars, as bill-service counts.
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
        """The permanent idempotency key. A digest of the body: the same id with another body cannot be."""
        return "alert_" + hashlib.sha256(f"{period}.".encode() + self.body).hexdigest()[:40]


class Recent(OrderedDict):
    """A dictionary that forgets what was set least recently, beyond MAX_REMEMBERED."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > MAX_REMEMBERED:
            self.popitem(last=False)


class BillServiceCallback(CustomLogger):
    """The hooks that LiteLLM calls, and the deliveries that they start."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        #: Alerts that found too many others on their way.
        self.dropped = 0
        #: Hooks that ended with an error.
        self.failed = 0
        self._settings = settings
        #: By team.
        self._spends: dict[str, RunningSpend] = Recent()
        #: Bodies of the alerts that bill-service has been told, or is being told, and when that began.
        self._told: dict[bytes, float] = Recent()
        #: Held here, because an event loop holds its tasks weakly.
        self._pending: set[asyncio.Task[None]] = set()
        # Reads the authorities' certificates, which takes tens of milliseconds: once, and before there are calls to slow down.
        self._tls = httpx.create_ssl_context()

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call was answered: what is left, and is that too little?"""
        try:
            self._after_call(kwargs)
        except Exception:
            self._confess("a call")

    async def async_post_call_failure_hook(
        self, request_data: Any, original_exception: Any, user_api_key_dict: Any, traceback_str: Any = None
    ) -> None:
        """A request was refused: for want of the team's budget?"""
        try:
            if type(original_exception).__name__ == "BudgetExceededError":
                self._after_refusal(original_exception, user_api_key_dict)
        except Exception:
            self._confess("a refused request")

    def _after_call(self, kwargs: Mapping[str, Any]) -> None:
        metadata = (kwargs.get("litellm_params") or {}).get("metadata") or {}
        team_id = metadata.get("user_api_key_team_id")
        max_budget = _dollars(metadata.get("user_api_key_team_max_budget"))
        if not team_id or max_budget is None:
            return
        now = time.monotonic()
        running = self._spends.get(team_id) or RunningSpend(now)
        self._spends[team_id] = running
        reported = _dollars(metadata.get("user_api_key_team_spend")) or 0.0
        spend = running.add(reported, _dollars(kwargs.get("response_cost")) or 0.0, now)

        team_alias = metadata.get("user_api_key_team_alias")
        threshold = self._settings.threshold(max_budget)
        if spend >= max_budget:
            self._tell(Alert.budget_crossed(team_id, team_alias, max_budget))
        elif max_budget - spend <= threshold:
            self._tell(Alert.threshold_crossed(team_id, team_alias, max_budget, threshold))

    def _after_refusal(self, error: Any, key: Any) -> None:
        # The error knows the budget that was enforced; the key's copy of it may be a minute old.
        max_budget = _dollars(getattr(error, "max_budget", None))
        team_id = getattr(key, "team_id", None)
        if not team_id or max_budget is None:
            return
        # The budgets of keys, users, members and others refuse as well. Older versions of LiteLLM do not say whose it was.
        entity = getattr(error, "entity_type", None)
        is_teams = entity == "team" or (entity is None and max_budget == _dollars(getattr(key, "team_max_budget", None)))
        if is_teams:
            self._tell(Alert.budget_crossed(team_id, getattr(key, "team_alias", None), max_budget))

    def _tell(self, alert: Alert) -> None:
        """Starts the delivery of an alert, unless it was told less than a period ago or too many are on their way."""
        now = time.monotonic()
        if now - self._told.get(alert.body, -math.inf) < self._settings.renotify_s:
            return
        loop = asyncio.get_running_loop()
        # Tasks of an event loop that was closed never end.
        self._pending = {task for task in self._pending if not task.get_loop().is_closed()}
        if len(self._pending) >= MAX_PENDING:
            self._drop(alert)
            return
        self._told[alert.body] = now
        task = loop.create_task(self._deliver(alert, alert.webhook_id(int(time.time()) // self._settings.renotify_s)))
        self._pending.add(task)
        task.add_done_callback(lambda ended: self._pending.discard(ended))

    def _drop(self, alert: Alert) -> None:
        self.dropped += 1
        if _is_worth_a_line(self.dropped):
            log.error(
                "bill-service callback: %s of team %r dropped, %d alerts are on their way already; dropped so far: %d",
                alert.event,
                alert.team_id,
                MAX_PENDING,
                self.dropped,
            )

    def _confess(self, what: str) -> None:
        """Logs the error of a hook that is being handled."""
        self.failed += 1
        if _is_worth_a_line(self.failed):
            log.exception("bill-service callback: %s could not be looked at; so far: %d", what, self.failed)

    async def _deliver(self, alert: Alert, webhook_id: str) -> None:
        settled = False
        try:
            settled = await self._post(alert, webhook_id)
        except Exception:
            log.exception("bill-service callback: %s of team %r not delivered", alert.event, alert.team_id)
            settled = True  # what is wrong here would be wrong at every call of the team
        finally:
            # Also when the event loop ends: the team's next call, in this process or another, says it again.
            if not settled:
                self._told.pop(alert.body, None)

    async def _post(self, alert: Alert, webhook_id: str) -> bool:
        """Posts until bill-service has answered for good. False after too many attempts."""
        about = f"{alert.event} of team {alert.team_id!r} at {alert.max_budget}"
        url = self._settings.url
        # A client for each alert, as they are few and a client belongs to the event loop that used it first.
        async with httpx.AsyncClient(verify=self._tls, timeout=ATTEMPT_LIMIT_S) as client:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                retry_after = 0.0
                try:
                    headers = _signed(self._settings.key, webhook_id, alert.body)
                    # httpx limits each read, not the whole.
                    answer = await asyncio.wait_for(client.post(url, content=alert.body, headers=headers), ATTEMPT_LIMIT_S)
                except (httpx.RequestError, asyncio.TimeoutError) as error:
                    problem = type(error).__name__
                else:
                    if answer.is_success:
                        log.info("bill-service callback: %s told, %s: %.200r", about, webhook_id, answer.text)
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
    """Headers of Standard Webhooks (https://www.standardwebhooks.com): the time is that of the attempt, the id is the alert's."""
    timestamp = str(int(time.time()))
    digest = hmac.new(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "user-agent": "bill-service-callback",
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def _is_worth_a_line(count: int) -> bool:
    """At 1, 2, 4, 8, …: what happens at every call must not fill the log."""
    return count & (count - 1) == 0


def _pause(attempt: int) -> float:
    """Seconds, doubling from the first to the last, with jitter so that many workers do not come back at once."""
    return min(LAST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)


def _retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for, as a number or as a date; 0 when there is none that can be read."""
    try:
        seconds = float(value or 0)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value or "").timestamp() - time.time()
        except (TypeError, ValueError):
            return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S) if math.isfinite(seconds) else 0.0


def _dollars(value: Any) -> float | None:
    """A finite amount, or None: no budget is no number, and neither is infinity."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def load(env: Mapping[str, str]) -> CustomLogger:
    """The callback for an environment; one that does nothing, and one error in the log, when the environment does not suffice."""
    try:
        settings = read_settings(env)
    except ValueError as error:
        log.error("bill-service callback is disabled, LiteLLM works without it: %s", error)
        return CustomLogger()
    share = f" or {100 * settings.alert_below_share:g} % of its budget" if settings.alert_below_share else ""
    log.info("bill-service callback: tells %s of a team with %g USD%s left", settings.url, settings.alert_below_usd, share)
    return BillServiceCallback(settings)


handler = load(os.environ)
