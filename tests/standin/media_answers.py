"""Replies to media requests: verifies links, applies ranges and faults."""

import gzip
import re
import time
from dataclasses import dataclass, replace

from tests.standin.links import VIDEO_HOSTS, MediaAddress, page_of, refusal
from tests.standin.media import Content
from tests.standin.media_shapes import damaged, shape_of
from tests.standin.posts import format_at, media_bytes, post_for
from tests.standin.scenarios import ORDINARY, Case
from tests.standin.switches import Switches
from tests.standin.wire import BEFORE_HEAD, Body, Cut, Delivery, Reply, Request, text_reply, whole

GZIP = ("Content-Encoding", "gzip")
PARTIAL = 206
_RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """A byte range of a file; ``asked`` is whether the request has a Range header."""

    start: int
    length: int
    asked: bool = True


def answer_media(request: Request, address: MediaAddress, switches: Switches) -> Reply:
    """The reply to a request for video, audio or a picture."""
    user = request.query.get("sc", "")
    choose = switches.peek if request.method == "HEAD" else switches.use
    case = choose("media", address.video_id, user, request.egress)
    status = case.scenario.name.removeprefix("media.")
    if status.isdecimal():
        return text_reply(int(status), "the media are not to be had")
    if case.scenario.name == "media.broken" and address.format_id == format_at(case.value):
        return text_reply(404, "no such file any more")
    if reason := _refusal(request, case):
        return text_reply(403, reason)
    content = _content(request, address, case, switches)
    if content and _is_gone(request, content, case):
        return text_reply(404, "no such file any more")
    return _served(request, content, case, switches) if content else text_reply(404, "no such")


def _is_gone(request: Request, content: Content, case: Case) -> bool:
    match case.scenario.name:
        case "media.nosize":
            return content.shape.smaller_side == case.value
        case "media.nocodec":
            return content.shape.codec == f"h{case.value}"
        case "media.nohost":
            return request.host == VIDEO_HOSTS[case.value - 1]
    return False


def _refusal(request: Request, case: Case) -> str | None:
    if case.scenario.name == "media.expired" and page_of(request) <= case.value:
        return "link withdrawn"
    return refusal(request, time.time())


def _content(
    request: Request, address: MediaAddress, case: Case, switches: Switches
) -> Content | None:
    user = request.query.get("sc", "")
    case_of_post = switches.last("post", address.video_id, user, request.egress)
    post = post_for(address.video_id, case=case_of_post)
    size = media_bytes(post, address.format_id)
    if size is None:
        return None
    replaced = case.scenario.name == "media.changed" and switches.uses(case, address.video_id) > 1
    shape = damaged(shape_of(post, address.format_id), case)
    return Content(address.video_id, address.format_id, size, shape, 2 if replaced else 1)


def _served(request: Request, content: Content, case: Case, switches: Switches) -> Reply:
    ignored = case.scenario.name == "media.norange"
    span = _everything(content) if ignored else requested_span(request, content)
    if span is None:
        unsatisfiable = ("Content-Range", f"bytes */{content.size}")
        return text_reply(416, "no such range", unsatisfiable)
    pace = Delivery(bytes_per_second=switches.media_bytes_per_second)
    reply = replace(_file(content, span), delivery=pace)
    return reply if case is ORDINARY else _fault(case, reply, content)


def requested_span(request: Request, content: Content) -> Span | None:
    """The requested range: the whole file without a usable Range or with another validator.

    Returns:
        None when the range is outside of the file.
    """
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    validator = request.headers.get("if-range", content.etag)
    if match is None or validator != content.etag or not (match["first"] or match["last"]):
        return _everything(content)
    if not match["first"]:
        length = min(int(match["last"]), content.size)
        return Span(content.size - length, length) if length else None
    first = int(match["first"])
    last = min(int(match["last"] or content.size), content.size - 1)
    return Span(first, last - first + 1) if first <= last else None


def _everything(content: Content) -> Span:
    return Span(0, content.size, asked=False)


def _file(content: Content, span: Span) -> Reply:
    body = Body(span.length, lambda: content.chunks(span.start, span.length))
    headers = (
        ("Content-Type", content.media_type),
        ("Accept-Ranges", "bytes"),
        ("ETag", content.etag),
        ("Cache-Control", "max-age=2592000"),
    )
    if not span.asked:
        return Reply(200, body, headers)
    where = f"bytes {span.start}-{span.start + span.length - 1}/{content.size}"
    return Reply(206, body, (*headers, ("Content-Range", where)))


def _fault(case: Case, reply: Reply, content: Content) -> Reply:
    if case.scenario.name == "media.unsized":
        cut = Cut(case.param << 10, "close") if case.param else None
        return replace(reply, sized=False, delivery=Delivery(cut=cut))
    if case.scenario.name == "media.gzip":
        sent = gzip.compress(b"".join(reply.body.chunks()), 1)
        return replace(reply, body=whole(sent), headers=(*reply.headers, GZIP))
    if case.scenario.name == "media.cut":
        length = reply.body.length * 9 // 10
        return replace(reply, body=Body(length, lambda: content.chunks(0, length)))
    if case.scenario.name == "media.rest200" and reply.status == PARTIAL:
        return replace(reply, status=200)
    delivery = _deliveries(case, reply.body.length, content).get(case.scenario.name)
    return replace(reply, delivery=delivery) if delivery else reply


def _deliveries(case: Case, length: int, content: Content) -> dict[str, Delivery]:
    sent = (case.param << 10) or length // 2
    replaced = content.version > 1
    return {
        "media.hang": Delivery(cut=Cut(BEFORE_HEAD, "hang")),
        "media.stall": Delivery(cut=Cut(sent, "hang")),
        "media.reset": Delivery(cut=Cut(sent, "reset")),
        "media.truncated": Delivery(cut=Cut(sent, "close")),
        "media.rest200": Delivery(cut=Cut(sent, "reset")),
        "media.changed": Delivery(cut=None if replaced else Cut(sent, "reset")),
        "media.slow": Delivery(bytes_per_second=case.value << 10),
        "media.takes": Delivery(bytes_per_second=max(1, content.size / max(1, case.value))),
    }
