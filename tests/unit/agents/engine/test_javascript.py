import pytest
from yt_dlp.networking.exceptions import TransportError

from agents.engine import javascript as module
from agents.engine.javascript import PROGRAM_BYTES_MAX, JavaScript, JavaScriptError
from agents.engine.javascript_support import JavaScriptSupport
from agents.engine.request_bounds import Deadline

INSTALLED = JavaScriptSupport(deno="/none/deno", deno_version="2.9.8", solver_version="0.8.0")
MISSING = JavaScriptSupport(problems=("Deno is not installed",))


def javascript(
    monkeypatch: pytest.MonkeyPatch, support: JavaScriptSupport, *, enabled: bool = True
) -> JavaScript:
    monkeypatch.setattr(module, "javascript_support", lambda: support)
    deadline = Deadline()
    deadline.start(10)
    return JavaScript(deadline, enabled=enabled)


@pytest.mark.parametrize(
    ("support", "enabled", "reason"),
    [
        (MISSING, True, "Deno is not installed"),
        (INSTALLED, False, "the setting engine.javascript is off"),
    ],
)
def test_program_is_not_run_without_support(
    monkeypatch: pytest.MonkeyPatch, support: JavaScriptSupport, enabled: bool, reason: str
) -> None:
    runner = javascript(monkeypatch, support, enabled=enabled)
    assert not runner.support.is_available
    with pytest.raises(JavaScriptError, match=reason):
        runner.run("1")


def test_large_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JavaScriptError, match="the maximum is 32 MiB"):
        javascript(monkeypatch, INSTALLED).run("x" * (PROGRAM_BYTES_MAX + 1))


def test_deadline_that_has_passed_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "javascript_support", lambda: INSTALLED)
    with pytest.raises(TransportError):
        JavaScript(Deadline()).run("1")


def test_deno_that_is_gone_is_a_failure_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JavaScriptError, match="/none/deno"):
        javascript(monkeypatch, INSTALLED).run("1")
