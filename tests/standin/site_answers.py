"""Replies that the stand-ins of all other sites share: faults of a page, and JSON."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.standin.posts import Post, post_for
from tests.standin.scenarios import Case
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply, whole

Describe = Callable[[Post, Case], Reply]
"""The reply for a post and the case of its page."""


def answer_page(request: Request, switches: Switches, video_id: str, describe: Describe) -> Reply:
    """The reply to a counted request for the page of a post."""
    case = switches.use("page", video_id, "", request.egress)
    post = post_for(video_id, case=switches.use("post", video_id, "", request.egress))
    reply = _fault(case) or describe(post, case)
    return replace(reply, video_id=video_id, kind="page")


def json_reply(answer: Any, status: int = 200) -> Reply:
    return Reply(
        status, whole(json.dumps(answer).encode()), (("Content-Type", "application/json"),)
    )


def html_reply(text: str, status: int = 200) -> Reply:
    return Reply(status, whole(text.encode()), (("Content-Type", "text/html; charset=utf-8"),))


def _fault(case: Case) -> Reply | None:
    name = case.scenario.name.removeprefix("page.")
    if name == "429after":
        return text_reply(429, "slow down", ("Retry-After", str(case.value)))
    return text_reply(int(name), "it is not to be had") if name.isdecimal() else None
