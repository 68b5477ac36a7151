from unittest.mock import Mock

from faust.types import TP

from streams.faust_driver.consumer import DirectConsumer


def test_unknown_position_of_a_partition_does_not_stop_the_consumer() -> None:
    consumer = DirectConsumer.__new__(DirectConsumer)
    consumer._thread = Mock()
    consumer._thread.verify_event_path.side_effect = AssertionError
    consumer.verify_event_path(60.0, TP("requests", 0))
