"""The job on Quix Streams: librdkafka, state in RocksDB with a changelog.

It commits, and flushes the changelog, once a second; results are published before.
"""

import sys
import tempfile
from typing import Any

from quixstreams import Application, State
from quixstreams.models.serializers import Serializer

from benchmarks.peers.job import (
    CHANGELOG,
    COMMIT_SECONDS,
    HEADERS,
    REQUESTS,
    TOPICS,
    Output,
    process,
)


class KeyState(dict[str, bytes]):
    """Adapts Quix's state of one key to `process`; the dictionary itself stays empty."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self._state = state

    def get(self, key: str, default: Any = None) -> Any:
        return self._state.get_bytes(key, default)

    def __setitem__(self, key: str, value: bytes) -> None:
        self._state.set_bytes(key, value)


class OutputSerializer(Serializer):
    """Writes the value of an output."""

    def __call__(self, value: Output, ctx: Any) -> bytes:  # noqa: ARG002
        return value.value


def run(bootstrap: str, prefix: str) -> None:
    """Process requests until the process is stopped."""
    with tempfile.TemporaryDirectory() as directory:
        app = Application(
            bootstrap,
            consumer_group=prefix,
            auto_offset_reset="earliest",
            commit_interval=COMMIT_SECONDS,
            state_dir=directory,
            auto_create_topics=True,
            loglevel="WARNING",
            producer_extra_config={"acks": "all"},
        )
        serializer = OutputSerializer()
        topics = {
            name: app.topic(f"{prefix}.{name}", value_serializer=serializer, key_serializer="str")
            for name in TOPICS
            if name not in {REQUESTS, CHANGELOG}
        }
        requests = app.topic(f"{prefix}.{REQUESTS}", value_deserializer="bytes")
        frame = app.dataframe(requests)
        # The changelog of the state has the rows of requests.
        frame = frame.apply(
            lambda body, state: [
                output for output in process(body, KeyState(state)) if output.topic != CHANGELOG
            ],
            stateful=True,
        )
        frame = frame.apply(lambda outputs: outputs, expand=True)
        frame = frame.set_headers(lambda *_: HEADERS)
        frame.to_topic(lambda output, *_: topics[output.topic], key=lambda output: output.key)
        app.run()


if __name__ == "__main__":
    run(*sys.argv[1:])
