"""Links as users paste them: the text, and its target or the reason of its rejection.

`ID` is the post of every row that leads to one, `CODE` the code of every short link: tests of the
whole pipeline substitute those of the stand-in.
"""

from typing import NamedTuple

ID = "7608826249200356630"
CODE = "ZMabc123"
USER_ID = "6820838815978423302"
WWW = "https://www.tiktok.com"
POST = f"{WWW}/@user/video/{ID}"
SHORT = f"https://vm.tiktok.com/{CODE}/"

_POST = f"tiktok:{ID}"
_USER = "tiktok:profile/user"
_VM = f"short:{SHORT}"
_VT = f"short:https://vt.tiktok.com/{CODE}/"
_T = f"short:{WWW}/t/{CODE}/"
_INVALID = "request.invalid"
_UNSUPPORTED = "content.unsupported"

LITE = "This post is shared via TikTok Lite. Download TikTok Lite to enjoy more posts:"


class Row(NamedTuple):
    """A pasted text and its expected result.

    Attributes:
        text: what is pasted.
        expected: key of the post or listing, ``short:`` and the URL that is requested, or the code
            of the rejection.
        reason: a part of the rejection's reason.
    """

    text: str
    expected: str
    reason: str = ""

    @property
    def is_accepted(self) -> bool:
        return not self.reason


def _rows(expected: str, *texts: str) -> tuple[Row, ...]:
    return tuple(Row(text, expected) for text in texts)


_ADDRESSES = _rows(
    _POST,
    POST,
    f"{POST}/",
    f"http://www.tiktok.com/@user/video/{ID}",
    f"HTTPS://WWW.TIKTOK.COM/@user/video/{ID}",
    f"https://tiktok.com/@user/video/{ID}",
    f"www.tiktok.com/@user/video/{ID}",
    f"https://m.tiktok.com/@user/video/{ID}",
    f"https://us.tiktok.com/@user/video/{ID}",
    f"https://lite.tiktok.com/@user/video/{ID}",
    f"{WWW}/@user/photo/{ID}",
    f"{WWW}/@user/story/{ID}",
    f"{WWW}/@/video/{ID}",
    f"{WWW}/video/{ID}",
    f"{WWW}/embed/v2/{ID}?lang=en-US",
    f"{WWW}/player/v1/{ID}?autoplay=1",
    f"https://m.tiktok.com/v/{ID}.html?u_code=abc&share_item_id=1",
    f"https://www.tiktokv.com/share/video/{ID}/",
    f"https://t.tiktok.com/i18n/share/video/{ID}/?_d=x&share_item_id={ID}",
    f"{WWW}/i18n/share/video/{ID}/",
    f"https://t.tiktok.com/i18n/share/photo/{ID}/",
    f"https://m.tiktok.com/h5/share/video/{ID}.html",
    f"https://m.tiktok.com/h5/share/item/{ID}.html?u_code=1",
    f"{WWW}/share/item/{ID}",
)
_ESCAPED = _rows(
    _POST,
    f"{WWW}/%40user/video/{ID}?utm_source=chatgpt.com",
    f"{WWW}/%40user/photo/{ID}",
    f"{WWW}/%40us%65r/video/{ID}",
    f"{WWW}/@user%2Ename/video/{ID}",
    f"{WWW}/%40user/%76ideo/{ID}",
    f"{WWW}/en/%40user/video/{ID}",
    f"{POST}%3Fis_from_webapp%3D1%26sender_device%3Dpc",
    f"{POST}%26lang%3Den",
    f"{POST}%20",
    f"{POST}/%20%20?lang=en",
    f"{POST}%E2%80%8B",
    f"{POST}%c2%a0",
    f"{POST}&is_from_webapp=1",
    f"{POST}&lang=en&q=a%20b",
    f"{POST}/&lang=en",
    f"{POST}&amp;lang=en",
    f"{POST}&",
    f"{POST}?&lang=en",
    f"{WWW}/embed/{ID}&lang=en",
    f"https://m.tiktok.com/v/{ID}.html&u_code=x",
)
_LANGUAGES = _rows(
    _POST,
    f"{WWW}/en/@user/video/{ID}",
    f"{WWW}/pt-BR/@user/video/{ID}",
    f"{WWW}/zh-Hant/@user/video/{ID}?lang=zh-Hant-TW",
    f"{WWW}/fil-PH/@user/photo/{ID}",
    f"https://m.tiktok.com/de_DE/@user/video/{ID}",
    f"{WWW}/ja-JP/video/{ID}",
    f"{WWW}/en/share/video/{ID}",
    f"{WWW}/es/embed/v2/{ID}",
    f"{WWW}/fr/foryou?item_id={ID}",
)
_QUERIES = _rows(
    _POST,
    f"{WWW}/foryou?is_copy_url=1&item_id={ID}",
    f"{WWW}/foryou/?is_copy_url=1&is_from_webapp=v1&item_id={ID}&lang=en#/@user/video/{ID}",
    f"{WWW}/trending?shareId={ID}",
    f"{WWW}/explore?item_id={ID}",
    f"{WWW}/?share_item_id={ID}&_r=1",
    f"{WWW}?share_item_id={ID}",
    f"https://tiktok.com/?_r=1&amp;share_item_id={ID}",
    f"{WWW}/?item_id={ID}&share_item_id={ID}",
    f"{WWW}/foryou&item_id={ID}",
    f"{WWW}/@user/video/is_copy_url=1&is_from_webapp=v1&item_id={ID}",
    f"{WWW}/@user/video/?is_copy_url=1&item_id={ID}",
    f"{WWW}/@user/video/item_id={ID}",
)
_SURROUNDINGS = _rows(
    _POST,
    f"{POST}\n",
    f"\n\n{POST}",
    f"\t{POST}\r\n",
    f"\ufeff{POST}",
    f"\ufeff \u200b{POST}",
    f"{POST}\u200b",
    f"{POST}\u00a0",
    f"\u3000{POST}\u3000",
    f"\u200e{POST}\u200e",
    f"\u200f{POST}",
    f"\u2068{POST}\u2069",
    f"\u202a{POST}\u202c",
    f"{POST}\u2028",
    f"\u2060{POST}\u00ad",
    f"<{POST}>",
    f'"{POST}"',
    f"'{POST}'",
    f"`{POST}`",
    f"({POST})",
    f"\u201c{POST}\u201d",
    f"\u300c{POST}\u300d",
    f"**{POST}**",
    f"*{POST}*",
    f"_{POST}_",
    f"~~{POST}~~",
    f"||{POST}||",
    f"[a video]({POST})",
    f"[{POST}]({POST})",
    f'[a video](<{POST}> "its title")',
    f"<{POST}|a video>",
    f'<a href="{POST}">a video</a>',
    f'{{"url": "{POST}"}}',
    f"- {POST}",
    f"1. {POST}",
    f"> {POST}",
    f"{POST},",
    f"{POST}.",
    f"{POST};",
    f"{POST})",
    f"{POST}!",
)
_TEXTS = _rows(
    _POST,
    f"see {POST}",
    f"{POST} seen at noon",
    f"Link: {POST}",
    f"my link:{POST}",
    f"Look at this.{POST}",
    f"{POST}\nhttps://127.0.0.1/",
    f"{POST} {POST}",
    f"{POST}\r\nHost: 127.0.0.1",
    f"{POST}#__youtubedl_smuggle=%7B%7D\n",
    f"{POST}\x85",
    f"Get the app: https://apps.apple.com/app/id835599320 {POST}",
    f"By {WWW}/@somebody: {POST}",
    f"https://www.dailymotion.com/video/x7tgad0\n{POST}",
    f"https://www.tiktok.com@evil.example/ {POST}",
    f"tiktok.com/@user/video/{ID} is the one",
    f"look (m.tiktok.com/v/{ID}.html)",
    f"\u6765\u770b\u770b{POST}\u5feb\u70b9\u5f00",
    f"\u898b\u3066\uff1a{POST}\u3002",
    f"{POST}\U0001f602\U0001f602",
    f"{POST}\u200bSent from my phone",
)
_SHARE_SHEETS = _rows(
    _VM,
    f"{SHORT} {LITE} {WWW}/tiktoklite",
    f"Check out user's video! #TikTok {SHORT} \n{LITE}  {WWW}/tiktoklite",
    f"{SHORT}\u200b{LITE} {WWW}/tiktoklite",
    f"\u00a1Mira el video de user! #TikTok > {SHORT}",
    f"Schau dir das Video von user an! #TikTok >{SHORT}",
    f"D\u00e9couvre la vid\u00e9o de user !\u00a0{SHORT}",
    f"Confira o v\u00eddeo de user! #TikTok\u2028{SHORT}",
    f"\u0421\u043c\u043e\u0442\u0440\u0438 \u0432\u0438\u0434\u0435\u043e user! {SHORT}",
    f"user\u3055\u3093\u306e\u52d5\u753b\u3092\u30c1\u30a7\u30c3\u30af\uff01{SHORT}",
    f"\u770b\u770buser\u7684\u5f71\u7247\uff01#TikTok{chr(0x3000)}{SHORT}",
    f"\u770b\u770b {SHORT}\u590d\u5236\u6b64\u94fe\u63a5",
    f"user\ub2d8\uc758 \ub3d9\uc601\uc0c1\uc744 \ud655\uc778\ud558\uc138\uc694: {SHORT}",
    f"\u200f\u0634\u0627\u0647\u062f \u0641\u064a\u062f\u064a\u0648 user \u2066{SHORT}\u2069",
    f"\u05e6\u05e4\u05d5 \u05d1\u05e1\u05e8\u05d8\u05d5\u05df! \u200f{SHORT}\u200f",
    f"\u0e14\u0e39\u0e27\u0e34\u0e14\u0e35\u0e42\u0e2d {SHORT}",
    f"\u0935\u0940\u0921\u093f\u092f\u094b \u0926\u0947\u0916\u0947\u0902 {SHORT}",
    f"Xem video c\u1ee7a user! {SHORT}.",
    f"Lihat video user! {SHORT} Unduh di https://play.google.com/store/apps/details?id=x",
    f"Link in bio {WWW}/@user and here {SHORT}",
    f"[\u6296\u97f3]({SHORT})",
    f"{SHORT}?utm_source=x, too",
    f"{SHORT}&_r=1",
    f"http://vm.tiktok.com/{CODE}",
    f"vm.tiktok.com/{CODE}",
)
_SHORT_LINKS = (
    *_rows(
        _VT,
        f"https://vt.tiktok.com/{CODE}/",
        f"vt.tiktok.com/{CODE}\n",
        f"<https://vt.tiktok.com/{CODE}>",
    ),
    *_rows(
        _T,
        f"{WWW}/t/{CODE}/",
        f"tiktok.com/t/{CODE}",
        f"{WWW}/en/t/{CODE}",
        f"{WWW}/t/{CODE}&lang=en",
    ),
    *_rows(
        f"short:{WWW}/share/user/{USER_ID}/",
        f"{WWW}/share/user/{USER_ID}",
        f"https://tiktok.com/share/user/{USER_ID}/?sec_user_id=x",
        f"{WWW}/pt/share/user/{USER_ID}",
    ),
    *_rows(
        f"short:https://m.tiktok.com/h5/share/usr/{USER_ID}.html",
        f"https://m.tiktok.com/h5/share/usr/{USER_ID}.html",
        f"https://m.tiktok.com/h5/share/usr/{USER_ID}.html?_d=x&language=en",
        f"my account: https://m.tiktok.com/h5/share/usr/{USER_ID}.html!",
    ),
    Row(
        f"https://t.tiktok.com/i18n/share/user/{USER_ID}/",
        f"short:https://t.tiktok.com/i18n/share/user/{USER_ID}/",
    ),
    Row("https://mi.ne/x", "short:https://mi.ne/x"),
    Row("Two in one: https://mi.ne/x\nhttps://example.com/", "short:https://mi.ne/x"),
)
_LISTINGS = (
    *_rows(
        _USER,
        f"{WWW}/@user",
        f"{WWW}/%40user",
        f"{WWW}/%40user/?lang=en",
        f"{WWW}/@user&lang=en",
        f"{WWW}/@user%3Flang=en",
        f"{WWW}/en/@user",
        f"{WWW}/pt-BR/%40user/",
        f"{WWW}/@user.",
        f"{WWW}/@user\n",
        "\ufeffwww.tiktok.com/@user\u200b",
        f"<{WWW}/@user>",
        f"Follow me: {WWW}/@user!",
        f"Follow me on TikTok\uff1a{WWW}/@user\u3001\u3088\u308d\u3057\u304f",
        f"https://example.com/ {WWW}/@user https://example.org/",
    ),
    *_rows(
        f"tiktok:collection/{ID}",
        f"{WWW}/@user/collection/cats-{ID}",
        f"{WWW}/en/%40user/collection/cats-{ID}&lang=en",
        f"My list: {WWW}/@user/collection/cats-%26-dogs-{ID}.",
    ),
)
_OTHER_PLATFORMS = (
    *_rows(
        "streamable:moo",
        "https://streamable.com/moo",
        "\ufeffhttps://streamable.com/moo\r\n",
        "<https://streamable.com/moo>",
        "[clip](https://streamable.com/moo)",
        "Look! https://streamable.com/moo. Nice",
        "\u898b\u3066https://streamable.com/moo\u898b\u3066",
        "see streamable.com/moo",
    ),
    Row("https://mine.example/a", "mine:a-a51b0bd0b44fa3e6b5f3"),
    Row("watch (https://mine.example/a), please", "mine:a-a51b0bd0b44fa3e6b5f3"),
    Row("\u200bhttps://mine.example/a\u00a0", "mine:a-a51b0bd0b44fa3e6b5f3"),
)


def _rejected(code: str, reason: str, *texts: str) -> tuple[Row, ...]:
    return tuple(Row(text, code, reason) for text in texts)


_OTHER_HOSTS = (
    *_rejected(
        _INVALID,
        "user name or password",
        f"https://www.tiktok.com@evil.example/@user/video/{ID}",
        f"look: https://www.tiktok.com:443@evil.example/@user/video/{ID} !",
        f"<https://evil.example@www.tiktok.com/@user/video/{ID}>",
    ),
    *_rejected(
        _UNSUPPORTED,
        "no platform has the host",
        f"https://www.tiktok.com.evil.example/@user/video/{ID}",
        f"https://eviltiktok.com/@user/video/{ID}",
        f"https://www.xn--tiktk-5ve.com/@user/video/{ID}",
        f"https://www.tik\ttok.com/@user/video/{ID}",
        f"https://evil.tiktok.com/@user/video/{ID}",
        f"see https://www-tiktok.com/@user/video/{ID} now",
        f"see https://example.com/?url={POST} now",
        f"see https://example.com/#{POST} now",
        f"https://www.tiktok.co/@user/video/{ID}\u200b",
        "https://www.dailymotion.com/video/x7tgad0",
    ),
    *_rejected(
        _INVALID,
        "backslash",
        f"https://evil.example\\@www.tiktok.com/@user/video/{ID}",
        f"look https://www.tiktok.com\\.evil.example/@user/video/{ID} here",
    ),
    *_rejected(
        _INVALID,
        "percent-encoded",
        f"https://www.tiktok.com%2F.evil.example/@user/video/{ID}",
        f"https://www%2Etiktok.com/@user/video/{ID}",
        f"look https://evil.example%2Fwww.tiktok.com/@user/video/{ID} here",
    ),
    *_rejected(
        _INVALID,
        "beyond ASCII",
        f"https://www.tikt\u043ek.com/@user/video/{ID}",
        f"https://www\u3002tiktok\u3002com/@user/video/{ID}",
        f"see https://www.tiktok.com\uff0fevil.example/@user/video/{ID} now",
        f"see https://www.tiktok.com\u3002evil.example/@user/video/{ID} now",
        f"see https://www.tiktok.com\u7684/@user/video/{ID} now",
    ),
    *_rejected(
        _INVALID,
        "invisible or control",
        f"https://www.tiktok\u200b.com/@user/video/{ID}",
        f"https://www.tiktok.com\u200b.evil.example/@user/video/{ID}",
        f"{WWW}/@user/video/760882\u200b6249200356630",
        f"{WWW}/@user/\u200bvideo/{ID}",
        f"{POST}\x00.jpg",
        f"{POST}\x7f",
    ),
    *_rejected(_INVALID, "not a public name", f"https://evil.\ttiktok.com/@user/video/{ID}"),
    *_rejected(_INVALID, "a port", f"https://www.tiktok.com:8443/@user/video/{ID}"),
    *_rejected(
        _INVALID,
        "an IP address",
        f"https://127.0.0.1/@user/video/{ID}",
        f"<http://[::1]/@user/video/{ID}>",
    ),
    *_rejected(
        _INVALID,
        "a second link",
        f"{POST}{POST}",
        f"{SHORT}{POST}",
        f"https://web.archive.org/web/2020/{POST}",
        f"see https://web.archive.org/web/2020/{POST} now",
    ),
    *_rejected(
        _INVALID,
        "scheme",
        f"web.archive.org/web/2020/{POST}",
        f"view-source:{POST}",
        f"javascript:{POST}",
        f"ftp://www.tiktok.com/@user/video/{ID}",
        f"//www.tiktok.com/@user/video/{ID}",
        f"htps://www.tiktok.com/@user/video/{ID}",
        f"https%3A%2F%2Fwww.tiktok.com%2F%40user%2Fvideo%2F{ID}",
        "hello",
        f"evil.example/?u={POST}",
        f"xhttps://www.tiktok.com/@user/video/{ID}",
    ),
    *_rejected(
        _INVALID,
        "a text without a link",
        "hello world",
        "Check out user's video! #TikTok",
        f"see evil.example/{POST} now",
        f"see www.tiktok.com.evil.example/@user/video/{ID} now",
        f"see not.tiktok.com/@user/video/{ID} now",
        f"see \u0435tiktok.com/@user/video/{ID} now",
        f"https:\\\\www.tiktok.com /@user/video/{ID}",
        f"the id is {ID}",
    ),
    *_rejected(_INVALID, "does not start with https://", f"@user/video/{ID}", "@user", "#cats"),
    *_rejected(_INVALID, "starts with a dash", f"--exec={POST}", f"-{POST}"),
    *_rejected(_INVALID, "empty", "", " ", "\ufeff\n", "\u200b"),
)
_OTHER_PAGES = (
    *_rejected(
        _UNSUPPORTED,
        "not a page of a post",
        f"{WWW}//@user/video/{ID}",
        f"{WWW}/..{POST.removeprefix(WWW)}",
        f"{WWW}/%2e%2e/@user/video/{ID}",
        f"{POST}/comments",
        f"{POST};jsessionid=1",
        f"{WWW}/@user/video/7e18",
        f"{POST}%20{ID}",
        f"{POST}%0a",
        f"{WWW}/search?q=cats&item_id={ID}",
        f"https://vm.tiktok.com/en/{CODE}",
        f"{WWW}/@user/video/76088\u2026",
        f"{WWW}/@user/video/76088...",
        f"{WWW}/link/v2?target=https://evil.example/",
        f"{WWW}/english/@user/video/{ID}",
        f"{WWW}/@user/collection/cats&dogs",
    ),
    *_rejected(
        _UNSUPPORTED,
        "live streams",
        f"{WWW}/@user/live",
        f"{WWW}/en/%40user/live&lang=en",
        f"https://t.tiktok.com/i18n/share/live/{ID}/",
    ),
    *_rejected(_UNSUPPORTED, "playlist", f"{WWW}/@user/playlist/cats-{ID}"),
    *_rejected(
        _UNSUPPORTED,
        "music page",
        f"{WWW}/music/song-{ID}",
        f"https://m.tiktok.com/h5/share/music/{ID}.html",
        f"https://t.tiktok.com/i18n/share/music/{ID}/?_d=x",
    ),
    *_rejected(
        _UNSUPPORTED,
        "tag page",
        f"{WWW}/tag/cats",
        f"{WWW}/de/tag/cats&lang=de",
        "https://m.tiktok.com/h5/share/tag/1652484531221509.html",
    ),
    *_rejected(_UNSUPPORTED, "page of an app", f"{LITE} {WWW}/tiktoklite"),
    *_rejected(
        _UNSUPPORTED,
        "names none of them",
        f"{WWW}/foryou",
        f"{WWW}/en/explore?lang=en",
        f"{WWW}/foryou?item_id=abc",
        f"{WWW}/@user/video/",
        f"{WWW}/@user/video/ {ID}",
    ),
    *_rejected(
        _UNSUPPORTED,
        "several posts",
        f"{WWW}/foryou?item_id={ID}&share_item_id=7608826249200356631",
    ),
    *_rejected(
        _UNSUPPORTED,
        "the home page",
        f"{WWW}/",
        f"{WWW} /@user/video/{ID}",
        f"{WWW} evil.example/@user/video/{ID}",
        f"{WWW}\r/@user/video/{ID}",
        f"{WWW}/?lang=en",
        "https://vm.tiktok.com/",
        f"{WWW}\n/@user/video/{ID}",
        f"[{WWW}/](https://evil.example/@user/video/{ID})",
    ),
    *_rejected(
        _INVALID,
        "its id is not a number",
        f"{WWW}/%40user/video/0",
        f"{WWW}/foryou?item_id=18446744073709551616",
        f"{WWW}/share/user/0",
        f"t.tiktok.com/i18n/share/video/0{ID}",
    ),
    *_rejected(
        _INVALID,
        "its user name",
        f"{WWW}/%40user%2Fvideo%2F{ID}",
        f"{WWW}/@%2540user",
        f"{WWW}/@us\u0435r",
        f"{WWW}/@caf\u00e9",
        f"look {WWW}/@caf\u00e9 !",
        f"{WWW}/@user\u2026",
        f"{WWW}/@user...",
        f"{WWW}/@user\uff0fvideo",
    ),
)

LINK_FORMS: tuple[Row, ...] = (
    *_ADDRESSES,
    *_ESCAPED,
    *_LANGUAGES,
    *_QUERIES,
    *_SURROUNDINGS,
    *_TEXTS,
    *_SHARE_SHEETS,
    *_SHORT_LINKS,
    *_LISTINGS,
    *_OTHER_PLATFORMS,
    *_OTHER_HOSTS,
    *_OTHER_PAGES,
)
