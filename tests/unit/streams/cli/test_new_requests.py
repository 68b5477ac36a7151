import json
from typing import Any

import pytest

from schemas.codec import decode
from schemas.request import Request
from streams.cli.new_requests import NewRequest, RequestMaker
from streams.cli.request_lines import InputError, Line
from streams.topics import REQUEST_BYTES_MAX


def make(*texts: str, **given: Any) -> list[NewRequest]:
    fields = given.pop("fields", {})
    maker = RequestMaker("run", fields, **given)
    made = [
        new
        for number, text in enumerate(texts, 1)
        for new in maker.take(Line(f"line {number}", text))
    ]
    return [*made, *maker.end()]


def bodies(made: list[NewRequest]) -> list[dict[str, Any]]:
    return [json.loads(each.body) for each in made]


def test_urls_are_requests_of_their_own_with_numbered_ids() -> None:
    made = make("https://a/1", "https://a/2", fields={"priority": 9})
    assert bodies(made) == [
        {"priority": 9, "url": "https://a/1", "id": "run-1"},
        {"priority": 9, "url": "https://a/2", "id": "run-2"},
    ]
    assert [(each.id, each.url, each.members) for each in made] == [
        ("run-1", "https://a/1", 0),
        ("run-2", "https://a/2", 0),
    ]


def test_a_request_that_is_alone_has_the_id_itself() -> None:
    assert [each.id for each in make("u", alone=True)] == ["run"]


def test_the_same_lines_give_the_same_requests() -> None:
    lines = ("a", '{"url": "b"}', "c", "d")
    for batch in (None, 2):
        assert make(*lines, batch=batch) == make(*lines, batch=batch)


def test_urls_are_grouped_into_batches() -> None:
    made = make(*"abcde", batch=2, fields={"action": "info"})
    assert [(each.id, each.members, each.url) for each in made] == [
        ("run-1", 2, None),
        ("run-2", 2, None),
        ("run-3", 1, None),
    ]
    assert [each["urls"] for each in bodies(made)] == [["a", "b"], ["c", "d"], ["e"]]
    assert {each["action"] for each in bodies(made)} == {"info"}


def test_a_batch_is_no_larger_than_a_request_may_be() -> None:
    urls = ["https://a/" + "ä" * 1_000] * 1_000
    made = make(*urls, batch=1_000, fields={"attributes": {"k": "v" * 1_000}})
    assert len(made) > 1
    assert all(len(each.body) <= REQUEST_BYTES_MAX for each in made)
    assert [url for each in bodies(made) for url in each["urls"]] == urls


def test_a_line_may_be_a_whole_request() -> None:
    line = {"id": "mine", "urls": ["a", "b"], "options": {"quality": "480p"}, "priority": 1}
    (new,) = make(json.dumps(line), fields={"options": {"quality": "720p", "codec": "h264"}})
    assert json.loads(new.body) == line | {"options": {"quality": "480p", "codec": "h264"}}
    assert (new.id, new.members) == ("mine", 2)


@pytest.mark.parametrize("line", ['{"url": "a"}', '{"url": "a", "id": null}'])
def test_a_whole_request_without_an_id_gets_one(line: str) -> None:
    assert make("x", line)[1].id == "run-2"


def test_whole_requests_are_no_part_of_a_batch() -> None:
    made = make("a", '{"url": "b"}', "c", batch=2)
    assert [each.get("url") or each["urls"] for each in bodies(made)] == ["b", ["a", "c"]]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{", r"line 1: \$: not JSON"),
        ('{"url": 5}', r"line 1: \$\.url: "),
        ('{"url": "a", "quality": "best"}', r"line 1: \$\.quality: unknown field; allowed: "),
        ('{"url": "a", "options": {"quality": "4k"}}', r"line 1: \$\.options\.quality: "),
        ('{"url": "a", "options": 1}', r"line 1: \$\.options: "),
        ('{"url": "a", "id": "a/b"}', r"line 1: \$\.id: "),
        ("u" * REQUEST_BYTES_MAX, "line 1: .* bytes, at most 1000000 are taken"),
    ],
)
def test_a_line_that_is_no_request_is_named_as_the_service_would(line: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make(line)


def test_a_line_that_fails_uses_up_no_number() -> None:
    maker = RequestMaker("run", {})
    with pytest.raises(InputError):
        [*maker.take(Line("line 1", "{"))]
    assert [each.id for each in maker.take(Line("line 1", "a"))] == ["run-1"]


def test_every_body_is_a_request() -> None:
    for new in make("a", '{"url": "b"}', "c", batch=1, fields={"options": {"limit": 3}}):
        assert decode(new.body, Request).options.limit == 3
