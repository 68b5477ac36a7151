import click
import pytest

from schemas.errors import ClipmillError, ErrorCode
from streams.broker.broker import BrokerError
from streams.cli.errors import readable_errors
from streams.cluster.connection import ClusterUnavailableError
from streams.cluster.topic_admin import TopicsError
from streams.memory.monitor import MemoryExhaustedError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(TopicsError("missing"), "missing", id="plain"),
        pytest.param(BrokerError("no"), "no", id="broker"),
        pytest.param(
            ExceptionGroup("g", [MemoryExhaustedError("full")]), "full", id="memory exhausted"
        ),
        pytest.param(
            ExceptionGroup("g", [ClusterUnavailableError("away")]), "away", id="in a group"
        ),
        pytest.param(
            ExceptionGroup("g", [ExceptionGroup("h", [TopicsError("deep")])]),
            "deep",
            id="in a nested group",
        ),
        pytest.param(
            ExceptionGroup("g", [ValueError("noise"), TopicsError("cause")]),
            "cause",
            id="with another error",
        ),
        pytest.param(
            ClipmillError(ErrorCode.SYSTEM_CONFIG, "bad"),
            "system.config: bad",
            id="error with a code",
        ),
    ],
)
def test_expected_error_becomes_a_message(error: Exception, text: str) -> None:
    with pytest.raises(click.ClickException) as caught, readable_errors():
        raise error
    assert caught.value.message == text


@pytest.mark.parametrize("error", [ValueError("bug"), ExceptionGroup("g", [ValueError("bug")])])
def test_bugs_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, readable_errors():
        raise error
    assert caught.value is error
