"""Manifests that must be refused: what they contain, and the code and reason of the refusal."""

from collections.abc import Callable
from typing import NamedTuple

from schemas.errors import ErrorCode

CHANGED, UNSUPPORTED = ErrorCode.PLATFORM_CHANGED, ErrorCode.CONTENT_UNSUPPORTED
DAMAGED = ErrorCode.CONTENT_DAMAGED
HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n"
END = "#EXT-X-ENDLIST\n"
MANY = 1_000_000


class Hostile(NamedTuple):
    """A manifest, or what builds a large one; and the refusal."""

    body: str | bytes | Callable[[], str]
    reason: str
    code: ErrorCode = CHANGED

    def built(self) -> bytes:
        body = self.body if isinstance(self.body, str | bytes) else self.body()
        return body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body


def playlist(*lines: str) -> str:
    return HEAD + "".join(f"{line}\n" for line in lines) + END


def segment(url: str, *before: str) -> str:
    return playlist(*before, "#EXTINF:5,", url)


def key(attributes: str) -> str:
    return segment("a.ts", f"#EXT-X-KEY:{attributes}")


def mpd(inside: str, *, head: str = "", attributes: str = 'type="static"') -> str:
    period = f'<Period duration="PT10S">{inside}</Period>'
    return f'<?xml version="1.0"?>{head}<MPD {attributes}>{period}</MPD>'


def representation(inside: str, *, group: str = "") -> str:
    video = f'<Representation id="v" bandwidth="1">{inside}</Representation>'
    return mpd(f'<AdaptationSet contentType="video">{group}{video}</AdaptationSet>')


def template(attributes: str, inside: str = "") -> str:
    return representation(f"<SegmentTemplate {attributes}>{inside}</SegmentTemplate>")


def timeline(*entries: str) -> str:
    inside = f"<SegmentTimeline>{''.join(entries)}</SegmentTimeline>"
    return template('media="$Number$.m4s" timescale="1"', inside)


OTHER_HOST = "which is not a host of tiktok"
ADDRESS = "which is not a host of the platform"
"""Of hosts that no setting can permit."""

NO_HTTPS = "not of https"

HLS: dict[str, Hostile] = {
    # Addresses
    "another host": Hostile(segment("https://evil.example/a.ts"), OTHER_HOST),
    "another host over http": Hostile(segment("http://evil.example/a.ts"), OTHER_HOST),
    "another host without a scheme": Hostile(segment("//evil.example/a.ts"), OTHER_HOST),
    "a host that ends like one of the platform": Hostile(
        segment("https://eviltiktokcdn.com/a.ts"), OTHER_HOST
    ),
    "a host that begins like one": Hostile(
        segment("https://v16.tiktokcdn.com.evil.example/a.ts"), OTHER_HOST
    ),
    "a user that looks like a host": Hostile(
        segment("https://v16.tiktokcdn.com@evil.example/a.ts"), "not an https URL"
    ),
    "a login": Hostile(segment("https://u:p@v16.tiktokcdn.com/a.ts"), "not an https URL"),
    "another port": Hostile(segment("https://v16.tiktokcdn.com:22/a.ts"), "port 22"),
    "loopback": Hostile(segment("http://127.0.0.1/a.ts"), ADDRESS),
    "loopback in IPv6": Hostile(segment("http://[::1]/a.ts"), ADDRESS),
    "cloud metadata": Hostile(segment("http://169.254.169.254/latest/meta-data/"), ADDRESS),
    "an address as a number": Hostile(segment("http://2130706433/a.ts"), ADDRESS),
    "a file": Hostile(segment("file:///etc/passwd"), NO_HTTPS),
    "a file without slashes": Hostile(segment("file:etc/passwd"), NO_HTTPS),
    "a data URL": Hostile(segment("data:video/mp2t;base64,AAAA"), NO_HTTPS),
    "FFmpeg's concat": Hostile(segment("concat:http://evil.example/|file:///etc/passwd"), NO_HTTPS),
    "FTP": Hostile(segment("ftp://v16.tiktokcdn.com/a.ts"), NO_HTTPS),
    "gopher": Hostile(segment("gopher://v16.tiktokcdn.com/a.ts"), NO_HTTPS),
    "JavaScript": Hostile(segment("javascript:alert(1)"), NO_HTTPS),
    "an invalid IPv6 address": Hostile(segment("https://[::1/a.ts"), "no URL"),
    "an address of 10,000 characters": Hostile(segment("a" * 10_000), "too long"),
    "NUL in a host": Hostile(
        segment("https://v16.tiktokcdn.com\0.evil.example/a"), "not an https URL"
    ),
    "one segment of another host among many": Hostile(
        lambda: playlist(
            *("#EXTINF:5,\na.ts" for _ in range(5_000)), "#EXTINF:5,\nhttps://evil.example/a.ts"
        ),
        OTHER_HOST,
    ),
    # Keys and initialization
    "a key of another host": Hostile(
        key('METHOD=AES-128,URI="https://evil.example/k"'), OTHER_HOST
    ),
    "a key in a file": Hostile(key('METHOD=AES-128,URI="file:///etc/passwd"'), NO_HTTPS),
    "a key in a data URL": Hostile(key('METHOD=AES-128,URI="data:,0123456789abcdef"'), NO_HTTPS),
    "a key without an address": Hostile(key("METHOD=AES-128"), "without an address"),
    "a vector that is too long": Hostile(key(f'METHOD=AES-128,URI="k",IV=0x{"f" * 33}'), "vector"),
    "a vector that is no number": Hostile(key('METHOD=AES-128,URI="k",IV=abc'), "vector"),
    "an unclosed attribute": Hostile(key('METHOD=AES-128,URI="k'), "no valid attributes"),
    "sample encryption": Hostile(key('METHOD=SAMPLE-AES,URI="k"'), "DRM", UNSUPPORTED),
    "sample encryption in counter mode": Hostile(
        key('METHOD=SAMPLE-AES-CTR,URI="k"'), "DRM", UNSUPPORTED
    ),
    "FairPlay": Hostile(
        key('METHOD=AES-128,URI="skd://k",KEYFORMAT="com.apple.streamingkeydelivery"'),
        "DRM",
        UNSUPPORTED,
    ),
    "Widevine": Hostile(
        key('METHOD=AES-128,URI="k",KEYFORMAT="urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"'),
        "DRM",
        UNSUPPORTED,
    ),
    "an unknown method": Hostile(key('METHOD=ROT13,URI="k"'), "DRM", UNSUPPORTED),
    "an initialization section of another host": Hostile(
        segment("a.m4s", '#EXT-X-MAP:URI="https://evil.example/i"'), OTHER_HOST
    ),
    "an initialization section without an address": Hostile(
        segment("a.m4s", '#EXT-X-MAP:BYTERANGE="1@0"'), "without an address"
    ),
    # Numbers
    "a million segments": Hostile(
        lambda: playlist(*("#EXTINF:0.1,\na" for _ in range(MANY // 2))), "more than 30000 segments"
    ),
    "a playlist beyond the bytes": Hostile(
        lambda: playlist(*("#EXTINF:5,\nsegment.ts" for _ in range(MANY))), "bytes"
    ),
    "a thousand discontinuities": Hostile(
        lambda: playlist(*("#EXT-X-DISCONTINUITY\n#EXTINF:5,\na" for _ in range(1_000))),
        "discontinuities",
    ),
    "a duration without an end": Hostile(playlist("#EXTINF:inf,", "a"), "valid duration"),
    "a duration that is no number": Hostile(playlist("#EXTINF:nan,", "a"), "valid duration"),
    "a negative duration": Hostile(playlist("#EXTINF:-5,", "a"), "valid duration"),
    "a huge duration": Hostile(playlist(f"#EXTINF:{'9' * 400},", "a"), "valid duration"),
    "a duration of years": Hostile(
        playlist(*("#EXTINF:170000,\na" for _ in range(2))), "the limit is 172800"
    ),
    "a duration in other digits": Hostile(playlist("#EXTINF:\u0665,", "a"), "valid duration"),
    "no duration": Hostile(playlist("a.ts"), "no duration"),
    "a huge sequence number": Hostile(
        segment("a", f"#EXT-X-MEDIA-SEQUENCE:{'9' * 5_000}"), "sequence number"
    ),
    "a negative sequence number": Hostile(segment("a", "#EXT-X-MEDIA-SEQUENCE:-1"), "sequence"),
    "a huge byte range": Hostile(segment("a", f"#EXT-X-BYTERANGE:1@{'9' * 16}"), "byte range"),
    "an empty byte range": Hostile(segment("a", "#EXT-X-BYTERANGE:0@0"), "byte range"),
    "a negative byte range": Hostile(segment("a", "#EXT-X-BYTERANGE:-5@0"), "byte range"),
    "a byte range that continues nothing": Hostile(segment("a", "#EXT-X-BYTERANGE:5"), "range"),
    # Structure
    "nothing": Hostile("", "empty file", ErrorCode.NETWORK_SERVER),
    "no playlist": Hostile("hello", "#EXTM3U"),
    "NUL": Hostile(bytes(1_000), "#EXTM3U"),
    "UTF-16": Hostile(segment("a").encode("utf-16"), "#EXTM3U"),
    "a page": Hostile("<!DOCTYPE html><html></html>", "#EXTM3U"),
    "a playlist without segments": Hostile(playlist(), "no segment"),
    "a live playlist": Hostile(HEAD + "#EXTINF:5,\na.ts\n", "live", UNSUPPORTED),
    "a live event": Hostile(
        HEAD + "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXTINF:5,\na.ts\n", "live", UNSUPPORTED
    ),
    "a playlist of itself": Hostile(
        playlist("#EXT-X-STREAM-INF:BANDWIDTH=1", "media.m3u8"), "lists playlists"
    ),
    "key frames only": Hostile(segment("a", "#EXT-X-I-FRAMES-ONLY"), "key frames"),
    "a delta update": Hostile(segment("a", "#EXT-X-SKIP:SKIPPED-SEGMENTS=3"), "changed since"),
    "variables": Hostile(segment("{$h}/a", '#EXT-X-DEFINE:NAME="h",VALUE="x"'), "variables"),
    "a gap": Hostile(segment("a", "#EXT-X-GAP"), "missing", DAMAGED),
}

BOMB = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
DASH: dict[str, Hostile] = {
    "nothing but text": Hostile("hello", "no XML"),
    "another document": Hostile("<html/>", "no DASH manifest"),
    "an XML bomb": Hostile(
        mpd("&l9;", head=f'<!DOCTYPE MPD [<!ENTITY l0 "lol">{BOMB}]>'), "document type"
    ),
    "an external entity": Hostile(
        mpd("&x;", head='<!DOCTYPE MPD [<!ENTITY x SYSTEM "file:///etc/passwd">]>'), "document type"
    ),
    "an external document type": Hostile(
        mpd("", head='<!DOCTYPE MPD SYSTEM "https://evil.example/x.dtd">'), "document type"
    ),
    "deep nesting": Hostile(lambda: mpd("<a>" * 100_000), "nests"),
    "a million elements": Hostile(lambda: mpd("<a/>" * MANY), "too many elements"),
    "a long text": Hostile(
        lambda: representation(f"<BaseURL>{'a' * 100_000}</BaseURL>"), "text that is too long"
    ),
    "an encoding that does not exist": Hostile(
        '<?xml version="1.0" encoding="no-such"?><MPD/>', "no XML"
    ),
    "a live manifest": Hostile(mpd("", attributes='type="dynamic"'), "live", UNSUPPORTED),
    "no period": Hostile("<MPD/>", "no period"),
    "a period of another file": Hostile(
        '<MPD xmlns:x="http://www.w3.org/1999/xlink"><Period x:href="https://evil.example/"/></MPD>',
        "in another file",
    ),
    "another representation": Hostile(
        representation("").replace('id="v"', 'id="w"'), "no representation"
    ),
    "content protection": Hostile(
        representation("", group='<ContentProtection schemeIdUri="urn:mpeg:dash:mp4protection"/>'),
        "DRM",
        UNSUPPORTED,
    ),
    "content protection of the representation": Hostile(
        representation("<ContentProtection/>"), "DRM", UNSUPPORTED
    ),
    "a base address of another host": Hostile(
        representation("<BaseURL>https://evil.example/</BaseURL>"), OTHER_HOST
    ),
    "a base address of a file": Hostile(
        representation("<BaseURL>file:///etc/</BaseURL>"), NO_HTTPS
    ),
    "a template of another host": Hostile(
        template('media="//evil.example/$Number$" duration="1"'), OTHER_HOST
    ),
    "an initialization of another host": Hostile(
        template('media="$Number$" initialization="https://evil.example/i" duration="1"'),
        OTHER_HOST,
    ),
    "a million numbered segments": Hostile(
        template('media="$Number$" duration="1" timescale="100000"'), "more than 30000 segments"
    ),
    "an endless timeline": Hostile(timeline(f'<S t="0" d="1" r="{MANY}"/>'), "more than 30000"),
    "many short timelines": Hostile(
        timeline(*('<S d="1" r="2000"/>' for _ in range(100))), "more than 30000"
    ),
    "a repetition up to a huge time": Hostile(
        timeline('<S t="0" d="1" r="-1"/>', f'<S t="{10**18}" d="1"/>'), "more than 30000"
    ),
    "a duration of zero": Hostile(timeline('<S t="0" d="0"/>'), "is 0"),
    "a timescale of zero": Hostile(template('media="$Number$" duration="1" timescale="0"'), "is 0"),
    "a huge number": Hostile(template(f'media="$Number$" duration="{"9" * 5_000}"'), "number"),
    "a period of years": Hostile(
        template('media="$Number$" duration="1"').replace("PT10S", "P9999D"), "the limit is 172800"
    ),
    "a duration that is none": Hostile(
        template('media="$Number$" duration="1"').replace("PT10S", "forever"), "duration"
    ),
    "a template that pads far": Hostile(
        template('media="$Number%099d$" duration="1"'), "pads a number"
    ),
    "a time in an initialization": Hostile(
        template('media="$Number$" initialization="$Time$" duration="1"'), "no value"
    ),
    "a byte range backwards": Hostile(
        representation('<SegmentList duration="1"><SegmentURL mediaRange="9-1"/></SegmentList>'),
        "byte range",
    ),
}
