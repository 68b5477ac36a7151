"""Publishes requests with librdkafka, and prints their results.

    python librdkafka_client.py HOST:PORT [--codec none|gzip|snappy|lz4|zstd] [--transactional] URL…

Needs `confluent-kafka`. Clients of librdkafka in other languages take the same configuration.
"""

import argparse
import json
import sys
import time
import uuid
from collections.abc import Sequence

from confluent_kafka import Consumer, Message, Producer, TopicPartition

REQUESTS, RESULTS = "clipmill.requests.v1", "clipmill.results.v1"
SECONDS = 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 when all requests are completed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--codec", default="none")
    parser.add_argument("--transactional", action="store_true")
    given = parser.parse_args(arguments)

    # An id of the client's own finds the result, and makes it safe to publish a request again.
    requests = {uuid.uuid4().hex: {"url": url, "action": "info"} for url in given.urls}
    consumer = open_results(given.bootstrap)
    try:
        publish(given.bootstrap, requests, given.codec, transactional=given.transactional)
        return print_results(consumer, set(requests))
    finally:
        consumer.close()


def open_results(bootstrap: str) -> Consumer:
    """Return a consumer that reads results from now on, of all partitions."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            # A client that shares the topic with others reads all of it. librdkafka wants a
            # group's name all the same; partitions that are assigned by hand have no group.
            "group.id": "unused",
            "enable.auto.commit": False,
        }
    )
    partitions = consumer.list_topics(RESULTS, timeout=10).topics[RESULTS].partitions
    places = [TopicPartition(RESULTS, partition) for partition in partitions]
    # The end is asked for before anything is published: no result can be missed.
    for place in places:
        _, place.offset = consumer.get_watermark_offsets(place, timeout=10)
    consumer.assign(places)
    return consumer


def publish(
    bootstrap: str, requests: dict[str, dict[str, str]], codec: str, *, transactional: bool
) -> None:
    """Publish requests; return when all replicas have them."""
    settings = {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,  # implies acks=all; retries make no copies
        "compression.type": codec,
    }
    if transactional:
        settings["transactional.id"] = f"example-{uuid.uuid4().hex}"
    producer = Producer(settings)
    if transactional:
        producer.init_transactions(SECONDS)
        producer.begin_transaction()
    for request_id, fields in requests.items():
        body = json.dumps({"id": request_id, **fields})
        producer.produce(REQUESTS, body.encode(), on_delivery=check)
    if transactional:
        producer.commit_transaction(SECONDS)
    if producer.flush(SECONDS):
        raise TimeoutError("not all requests are acknowledged")


def check(error: object, _message: Message) -> None:
    """Refuse to go on without an acknowledgement."""
    if error is not None:
        raise RuntimeError(f"not acknowledged: {error}")


def print_results(consumer: Consumer, waited: set[str]) -> int:
    """Print one line of JSON for each result."""
    failures, deadline = 0, time.monotonic() + SECONDS
    while waited:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no result for {sorted(waited)}")
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue  # librdkafka reconnects by itself
        result = json.loads(message.value() or b"{}")
        if result.get("request_id") in waited:  # the first one; copies are possible
            waited.remove(result["request_id"])
            failures += result["status"] != "completed"
            sys.stdout.write(f"{json.dumps(result)}\n")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
