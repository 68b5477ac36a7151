import pytest

from schemas.path_template import parse_template

VALID = [
    "{platform}/{id}/{id}.{format}.{ext}",
    "{author}/{date:%Y}/{date:%Y-%m-%d} {title:.80} [{platform} {id}].{format}.{ext}",
    "{platform}/{author}/{title} [{id}].{format}.{ext}",
    "{title} ({platform} {id}) {format}.{ext}",
    "clips/{id} {title}.{platform}.{format}.{ext}",
    "{{{platform}}} {id}.{format}.{ext}",
    "{author:.200}/{title:.200} [{platform} {id}].{format}.{ext}",
    "{platform}/{id}/{format}.{ext}",
]

INVALID = [
    ("", "is empty"),
    ("clips", "{platform} and {id} and {format} and {ext} must be part of it"),
    ("{title}.{ext}", "{platform} and {id} and {format} must be part of it"),
    ("{id}.{format}.{ext}", "{platform} must be part of it"),
    ("{uploader}/{id}.{format}.{ext}", "{uploader} is no field; the fields are platform, id"),
    ("{}/{id}.{format}.{ext}", "{} is no field"),
    ("{title.__class__}/{id}.{format}.{ext}", "{title.__class__} is no field"),
    ("{title!r}/{id}.{format}.{ext}", "{title} has a conversion, !r"),
    ("{title", "expected '}'"),
    ("}{title}", "Single '}'"),
    ("/{platform} {id}.{format}.{ext}", "is empty"),
    ("{platform}//{id}.{format}.{ext}", "is empty"),
    ("{platform} {id}.{format}.{ext}/", "is empty"),
    ("../{platform} {id}.{format}.{ext}", "begin or end with a dot"),
    (".hidden/{platform} {id}.{format}.{ext}", "begin or end with a dot"),
    ("clips /{platform} {id}.{format}.{ext}", "begin or end with a dot"),
    ("a\\b/{platform} {id}.{format}.{ext}", "characters that file names cannot have"),
    ("a\n/{platform} {id}.{format}.{ext}", "characters that file names cannot have"),
    ("a:b/{platform} {id}.{format}.{ext}", "characters that file names cannot have"),
    ("#{title}/{platform} {id}.{format}.{ext}", "characters that file names cannot have"),
    ("{platform} {id}.{ext}.{format}", "must end with .{ext}"),
    ("{platform} {id}.{format}{ext}", "must be separated from its neighbours"),
    ("{platform} {id}.{format} {ext}", "must end with .{ext}"),
    ("{ext}/{platform} {id}.{format}.{ext}", "only there"),
    ("{platform} {id}.{format}.{ext}.bak", "must end with .{ext}"),
    ("{platform}_{id}.{format}.{ext}", "{platform} must be separated"),
    ("{platform}{id}.{format}.{ext}", "{platform} must be separated"),
    ("{date}-{id} {platform}.{format}.{ext}", "{id} must be separated"),
    ("{title}{id} {platform}.{format}.{ext}", "{id} must be separated"),
    ("{author} {id} {title} {platform}.{format}.{ext}", "{id} must not stand between two texts"),
    ("{id:.8} {platform}.{format}.{ext}", "would shorten what identifies a file"),
    ("{title:80} {platform} {id}.{format}.{ext}", "must be a number of bytes"),
    ("{title:.0} {platform} {id}.{format}.{ext}", "must be a number of bytes"),
    ("{title:.999} {platform} {id}.{format}.{ext}", "must be a number of bytes"),
    ("{date:%Y/%m} {platform} {id}.{format}.{ext}", "must consist of %Y"),
    ("{date:%c} {platform} {id}.{format}.{ext}", "must consist of %Y"),
    ("{date:%H:%M} {platform} {id}.{format}.{ext}", "must consist of %Y"),
    (f"{'x' * 250} {{platform}}/{{id}}.{{format}}.{{ext}}", "longer than 255 bytes"),
    ("{title:.255}/" * 4 + "{platform} {id}.{format}.{ext}", "longer than 900 bytes"),
]


@pytest.mark.parametrize("text", VALID)
def test_template_that_identifies_each_file_is_valid(text: str) -> None:
    assert parse_template(text).text == text


@pytest.mark.parametrize(("text", "message"), INVALID)
def test_other_template_is_refused_with_its_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        parse_template(text)
    assert message in str(caught.value)
