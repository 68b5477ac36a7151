"""Page of the error codes: message, actions, recovery options, retry policy, breaker."""

from agents.recovery import retry_policy
from agents.recovery.retry_policy import POLICIES, RetryPolicy
from agents.resilience.breaker_rules import CONTENT, FAILURES, SUSPICIOUS
from docs.generate.markdown import code, codes, duration, head, page, source, table
from schemas import error_catalog, errors
from schemas.error_catalog import MESSAGES, REQUEST
from schemas.errors import ErrorCode


def page_of_errors() -> str:
    """Return the page."""
    introduction = (
        f"All error codes (`error_type`) of {source(errors)} with their texts of "
        f"{source(error_catalog)} and their row of {source(retry_policy)}. Codes are stable; new "
        "ones may be added. How failures are processed: [failures and recovery](../recovery.md); "
        "the order of formats: [fallback order](../fallback-order.md). Retries wait with jitter "
        "(`retry.jitter`), other waits are set with `retry.waits_seconds`, and "
        "`retry.total_seconds` bounds all of them. A platform's reason, if there "
        "is one, is appended to the message."
    )
    return page(head("Error codes", introduction), *(_section(each) for each in ErrorCode))


def _section(error: ErrorCode) -> str:
    message = MESSAGES[error]
    facts = {
        "suggested actions": " ".join(message.suggested_actions),
        "recovery options": codes(each.replace(REQUEST, "ID") for each in message.recovery_options),
        **_policy(POLICIES[error]),
        "circuit breaker": _breaker(error),
    }
    rows = [(name, value) for name, value in facts.items() if value]
    return f"## {error}\n\n{message.user_message}\n\n{table(('', ''), rows)}"


def _policy(policy: RetryPolicy) -> dict[str, str]:
    waits = ", ".join(map(duration, policy.waits))
    if policy.outage:
        waits += "; the last wait repeats, and no retry is used up (parked)"
    return {
        "at once": f"{codes(policy.immediate)}, at most {policy.changes} in one step"
        if policy.immediate
        else "",
        "retries after": waits or "no retry",
        "from the second retry on": codes(policy.on_repeat),
        "in the end": "a dead letter too, which an operator can replay"
        if policy.dead_letter
        else "",
    }


def _breaker(error: ErrorCode) -> str:
    if error in SUSPICIOUS:
        return f"a failure; {code('breaker.suspicious_videos')} different videos open it early"
    if error in FAILURES:
        return "a failure"
    return "a success: the platform answered" if error in CONTENT else "not counted"
