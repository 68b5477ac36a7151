from tests.standin.counters import MAX_EVENTS, Counters, Event


def test_requests_are_counted_by_kind_status_and_video() -> None:
    counters = Counters()
    counters.count("page", "7", 200)
    counters.count("page", "7", 503)
    counters.count("media", "8", 206)

    assert counters.requests == {"page": 2, "media": 1}
    assert counters.statuses == {200: 1, 503: 1, 206: 1}
    assert (counters.of("7"), counters.of("8"), counters.of("8", "media")) == (2, 0, 1)
    assert [event.status for event in counters.events] == [200, 503, 206]


def test_event_times_are_monotonic() -> None:
    counters = Counters()
    for _ in range(3):
        counters.count("page", "7", 200)
    times = [event.at for event in counters.events]

    assert times == sorted(times)


def test_open_and_maximum_streams_are_counted() -> None:
    counters = Counters()
    with counters.media_stream(), counters.media_stream():
        assert (counters.open_media, counters.max_open_media) == (2, 2)
    with counters.media_stream():
        counters.reset()
        assert (counters.open_media, counters.max_open_media) == (1, 1)

    assert counters.open_media == 0


def test_events_are_bounded() -> None:
    counters = Counters()
    counters.events.extend([Event(0.0, "page", "7", 200)] * MAX_EVENTS)
    counters.count("page", "8", 200)

    assert len(counters.events) == MAX_EVENTS
    assert counters.events[-1].video_id == "8"


def test_reset_clears_all_counters() -> None:
    counters = Counters()
    counters.count("page", "7", 200)
    counters.refused_hosts["example.com:443"] += 1
    assert counters.as_json()["videos"] == {"7": {"page": 1}}
    assert counters.as_json()["refused_hosts"] == {"example.com:443": 1}
    counters.reset()

    assert counters.as_json() == Counters().as_json()
