"""yt-dlp's browser-impersonating request handler (curl_cffi) with limits and the SSRF guard."""

from collections.abc import Iterator
from typing import Any

from curl_cffi import Curl
from curl_cffi.const import CurlECode, CurlOpt
from curl_cffi.requests import Response, Session
from curl_cffi.requests.exceptions import RequestException
from yt_dlp.networking._curlcffi import CurlCFFIRH
from yt_dlp.networking.exceptions import TransportError

from agents.engine.curl_guard import CurlGuard
from agents.engine.request_bounds import Bounds, Deadline, PageTooLargeError
from agents.network.guard import AddressRefusedError

_SCHEMES = b"http,https"


class GuardedCurlRH(CurlCFFIRH):
    """`CurlCFFIRH` without streaming: connections are reused, and timeouts are total times."""

    def __init__(self, *, bounds: Bounds, deadline: Deadline, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._bounds = bounds
        self._deadline = deadline
        self._guard = CurlGuard(bounds.permits)

    def _create_instance(self, cookiejar: Any = None) -> Any:
        return _BufferedSession(self._guard, self._bounds, cookiejar)

    def _calculate_timeout(self, request: Any) -> float:
        timeout = min(super()._calculate_timeout(request), self._bounds.request_seconds)
        return self._deadline.allow(timeout)

    def _send(self, request: Any) -> Any:
        self._guard.refused = False
        try:
            return super()._send(request)
        except TransportError as error:
            raise self._specific_error(error) from error.cause

    def _specific_error(self, error: Any) -> Any:
        if self._guard.refused:
            return TransportError(cause=AddressRefusedError())
        if getattr(error.cause, "code", None) == CurlECode.FILESIZE_EXCEEDED:
            return PageTooLargeError(cause=error.cause)
        return error

    def close(self) -> None:
        self._clear_instances()


class _BufferedSession:
    """Adapter of curl_cffi's session for yt-dlp that reads every response whole.

    A streamed response would use a copy of the handle, and so a new connection each time, and its
    timeout would limit idle time instead of total time.
    """

    def __init__(self, guard: CurlGuard, bounds: Bounds, cookies: Any) -> None:
        self._session: Session[Response] = Session(
            cookies=cookies, trust_env=False, curl_options=_options(bounds)
        )
        self._guard = guard

    @property
    def curl(self) -> Curl:
        """The handle; yt-dlp sets its proxy."""
        curl: Curl = self._session.curl
        return curl

    def close(self) -> None:
        self._session.close()

    def request(
        self, *, timeout: tuple[float, float], stream: bool, **options: Any
    ) -> "_BufferedResponse":
        """Send a request; `timeout[0]` is its total time, and `stream` is ignored.

        Raises:
            RequestException: libcurl's failure.
        """
        del stream
        # curl_cffi resets the options of the handle after each request.
        self._guard.attach(self.curl)
        try:
            return _BufferedResponse(self._session.request(**options, timeout=timeout[0]))
        except RequestException as error:
            partial = _BufferedResponse(error.response, error) if error.response else None
            error.response = partial
            if partial is not None and error.code == CurlECode.PARTIAL_FILE:
                return partial
            raise


class _BufferedResponse:
    """A response in memory, with the interface of the streamed one that yt-dlp reads.

    Args:
        response: complete, or truncated by the failure.
        failure: raised after the last byte, as a stream would raise it.
    """

    def __init__(self, response: Response, failure: RequestException | None = None) -> None:
        self._failure = failure
        self.content = response.content
        self.headers = response.headers
        self.url = response.url
        self.status_code = response.status_code
        self.reason = response.reason

    def iter_content(self) -> Iterator[bytes]:
        yield self.content
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Do nothing: the connection is in the pool again already."""


def _options(bounds: Bounds) -> dict[Any, Any]:
    # curl_cffi applies these last, so they override the environment and yt-dlp's options.
    return {
        CurlOpt.CAINFO: str(bounds.ca_file),
        CurlOpt.PROXY_CAINFO: str(bounds.ca_file),
        CurlOpt.MAXFILESIZE_LARGE: bounds.page_bytes_max,
        CurlOpt.PROTOCOLS_STR: _SCHEMES,
        CurlOpt.REDIR_PROTOCOLS_STR: _SCHEMES,
    }
