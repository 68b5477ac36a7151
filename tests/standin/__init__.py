"""A local stand-in of TikTok: pages, short links and media, with every failure on demand.

The stand-in is an HTTP CONNECT proxy on loopback that terminates TLS with a certificate of its own
CA and answers for the TikTok host names. It never opens an outgoing connection. A client needs two
settings: the proxy, and the CA file as a trusted root::

    async with Standin(state_dir) as standin:
        standin.proxy_url    # http://127.0.0.1:PORT
        standin.socks_url    # socks5h://127.0.0.1:PORT
        standin.ca_file      # the root to trust
        standin.control_url  # the same switches and counters over HTTP, for other processes
        standin.switches.set("page.503", for_seconds=30)
        standin.counters.requests["page"]

As a process: ``python -m tests.standin --state-dir DIR [--port N] [--control-port N] [--egresses
a,b]`` prints one JSON line ``{"proxy": ..., "ca_file": ..., "control": ..., "egresses": {},
"socks": ...}`` and runs until SIGTERM.

Several egresses: ``Standin(state_dir, egresses=("a", "b"))`` opens one more proxy for each name,
``standin.egress_urls["a"]``. Its requests are counted in ``counters.egresses["a", "page"]``, and a
switch may apply to it alone: ``switches.set("withheld", egress="a")``. The default proxy has the
name ``""``.

The response to a request is decided by a *case*: a scenario of ``scenarios.SCENARIOS``, a number
(``param``, its meaning is in the scenario's row, 0 is the default) and ``times`` (only that many
first requests of the video are affected; 0 is all). The first source that sets a case for a
surface (post, page, media) wins:

1. a switch for that video id: ``switches.set("media.reset", param=64, times=1, video=ID)``
2. a switch for all videos: ``switches.set("page.429")``; of both kinds, one for the egress of the
   request precedes one for all egresses
3. the user name: ``/@sc_<scenario>[_<param>[_<times>]]/video/ID``, e.g. ``@sc_page.503_0_2``
4. the video id: ``video_id("page.503", times=2, serial=1)``, which is 19 digits::

       7 SSS PPPPP TT 00 NNNNNN      scenario code, param, times, a fixed 00, serial

   so ``https://www.tiktok.com/@_/video/7103000000200000001`` is answered 503 twice and then works.
   Any other id (also a real one) is an ordinary video.

Scenarios of the surface ``connect`` precede any URL and are set by switch only.

Accounts have pages and lists of posts, newest first (`accounts.posts_from`): ``/@anna`` has 25, a
name such as ``user_name("profile", param=4000)`` sets the number, and the other scenarios of the
surfaces ``profile`` and ``list`` are set alike or by switch, with the account's name in place of
the video id. Collections are identified by their id: ``video_id("collection", param=70)``.

Posts that need a login (``members``, ``adults``) are complete for requests with the cookie
``sessionid``; ``session_cookies_file(path)`` writes it as a file. Media links carry the number of
their page, so that ``media.expired`` rejects only those of a video's first pages.

Short links are ``vm.tiktok.com/CODE``, ``vt.tiktok.com/CODE`` and ``www.tiktok.com/t/CODE`` with
``short_code(id, kind)``: ``Z``, a letter for the kind (``M`` leads to the video; the others are in
``short_links.KINDS``), and the id in base 36.

Media are deterministic: ``expected_media(id, format_id)`` gives size and sha256 without a server.
"""

from tests.standin.ids import user_name, video_id
from tests.standin.media import ExpectedMedia, expected_images, expected_media
from tests.standin.scenarios import SCENARIOS, Case, Scenario
from tests.standin.server import Standin
from tests.standin.sessions import session_cookies_file
from tests.standin.short_links import short_code

__all__ = [
    "SCENARIOS",
    "Case",
    "ExpectedMedia",
    "Scenario",
    "Standin",
    "expected_images",
    "expected_media",
    "session_cookies_file",
    "short_code",
    "user_name",
    "video_id",
]
