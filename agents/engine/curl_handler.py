"""yt-dlp's handler that looks like a browser, bounded, kept alive and kept out of the house."""

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
    """`CurlCFFIRH` with whole responses, so that connections are kept and times are totals."""

    def __init__(self, *, bounds: Bounds, deadline: Deadline, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._bounds = bounds
        self._deadline = deadline
        self._guard = CurlGuard(bounds.permits)

    def _create_instance(self, cookiejar: Any = None) -> Any:
        return _WholeSession(self._guard, self._bounds, cookiejar)

    def _calculate_timeout(self, request: Any) -> float:
        asked = min(super()._calculate_timeout(request), self._bounds.request_seconds)
        return self._deadline.allow(asked)

    def _send(self, request: Any) -> Any:
        self._guard.refused = False
        try:
            return super()._send(request)
        except TransportError as error:
            raise self._precise(error) from error.cause

    def _precise(self, error: Any) -> Any:
        if self._guard.refused:
            return TransportError(cause=AddressRefusedError())
        if getattr(error.cause, "code", None) == CurlECode.FILESIZE_EXCEEDED:
            return PageTooLargeError(cause=error.cause)
        return error

    def close(self) -> None:
        self._clear_instances()


class _WholeSession:
    """curl_cffi's session, in the shape that yt-dlp uses, reading every response to its end.

    A streamed response gets a copy of the handle and so a new connection each time, and its
    timeout counts silence instead of time.
    """

    def __init__(self, guard: CurlGuard, bounds: Bounds, cookies: Any) -> None:
        self._session: Session[Response] = Session(
            cookies=cookies, trust_env=False, curl_options=_options(bounds)
        )
        self._guard = guard

    @property
    def curl(self) -> Curl:
        """The handle, which yt-dlp sets the proxy of."""
        curl: Curl = self._session.curl
        return curl

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def request(
        self, *, timeout: tuple[float, float], stream: bool, **options: Any
    ) -> "_WholeResponse":
        """Send a request; its time is a total, and `stream` is not heeded.

        Raises:
            RequestException: libcurl's failure.
        """
        del stream
        # libcurl's handle forgets every option after each request.
        self._guard.attach(self.curl)
        try:
            return _WholeResponse(self._session.request(**options, timeout=timeout[0]))
        except RequestException as error:
            partial = _WholeResponse(error.response, error) if error.response else None
            error.response = partial
            if partial is not None and error.code == CurlECode.PARTIAL_FILE:
                return partial
            raise


class _WholeResponse:
    """A response that was read already, in the shape that yt-dlp reads streamed ones.

    Args:
        response: as far as it came.
        failure: why no more came; it is met where it would be met in a stream.
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
        """Do nothing: the connection is free already."""


def _options(bounds: Bounds) -> dict[Any, Any]:
    # Set after all others, so they win over the environment and yt-dlp's own choices.
    return {
        CurlOpt.CAINFO: str(bounds.ca_file),
        CurlOpt.PROXY_CAINFO: str(bounds.ca_file),
        CurlOpt.MAXFILESIZE_LARGE: bounds.page_bytes_max,
        CurlOpt.PROTOCOLS_STR: _SCHEMES,
        CurlOpt.REDIR_PROTOCOLS_STR: _SCHEMES,
    }
