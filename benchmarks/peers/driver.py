"""Publishes requests and measures the time to their results, with librdkafka, in its own process.

Prints a line of JSON: results per second, median and 99th percentile in milliseconds.
"""

import sys
import time
from array import array

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

GRACE_SECONDS = 60
WAIT_SECONDS = 0.05


def run(
    bootstrap: str,
    source: str,
    target: str,
    run_id: str,
    *,
    videos: list[str],
    rate: float,
    count: int,
    sampled: float | None,
) -> None:
    """Offer ``count`` requests for the videos in turn, at a rate, 0 for all at once.

    With a share ``sampled`` each has a ``traceparent``, whose sampled flag that share has set.
    """
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "driver", "fetch.wait.max.ms": 10}
    )
    while not (partitions := list(consumer.list_topics(target).topics[target].partitions)):
        time.sleep(0.1)  # a new topic
    assignment = [TopicPartition(target, partition) for partition in partitions]
    for each in assignment:
        each.offset = consumer.get_watermark_offsets(each)[1]
    consumer.assign(assignment)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all"})
    sent, done = array("d", bytes(8 * count)), array("d", bytes(8 * count))
    trace_ids = time.time_ns() << 32
    started, offered, completed = time.perf_counter(), 0, 0
    while completed < count:
        now = time.perf_counter()
        if now - started > GRACE_SECONDS + count / (rate or count):
            raise TimeoutError(f"{count - completed} of {count} results are missing")
        due = count if rate == 0 else min(count, int((now - started) * rate) + 1)
        while offered < due:
            video = videos[offered % len(videos)]
            body = {
                "id": f"{run_id}-{offered}",
                "url": f"https://www.tiktok.com/@u/video/{video}",
                "action": "info",
            }
            headers = [] if sampled is None else [_traceparent(trace_ids, offered, sampled)]
            sent[offered] = time.perf_counter()
            producer.produce(source, orjson.dumps(body), video, headers=headers)
            offered += 1
            if offered % 100 == 0:
                producer.poll(0)
        producer.poll(0)
        # Wait until the next request is due: a busy loop would take a core from the others.
        next_at = started + offered / rate if rate and offered < count else now + WAIT_SECONDS
        record = consumer.poll(min(WAIT_SECONDS, max(0.0, next_at - time.perf_counter())))
        while record is not None:
            assert record.error() is None, record.error()
            message = orjson.loads(record.value())
            name, _, number = str(message["request_id"]).rpartition("-")
            if name == run_id and not done[int(number)]:
                done[int(number)] = time.perf_counter()
                completed += 1
            record = consumer.poll(0)
    producer.flush()
    consumer.close()
    latencies = sorted((end - begin) * 1e3 for begin, end in zip(sent, done, strict=True))
    figures = {
        "rate": count / (max(done) - sent[0]),
        "p50": latencies[count // 2],
        "p99": latencies[count * 99 // 100],
    }
    print(orjson.dumps(figures).decode(), flush=True)


def _traceparent(trace_ids: int, number: int, sampled: float) -> tuple[str, bytes]:
    is_sampled = int((number + 1) * sampled) > int(number * sampled)
    return (
        "traceparent",
        f"00-{trace_ids + number:032x}-{number + 1:016x}-{is_sampled:02x}".encode(),
    )


if __name__ == "__main__":
    bootstrap, source, target, run_id, videos, rate, count, *sampled = sys.argv[1:]
    run(
        *(bootstrap, source, target, run_id),
        videos=videos.split(","),
        rate=float(rate),
        count=int(count),
        sampled=float(sampled[0]) if sampled else None,
    )
