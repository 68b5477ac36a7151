from unittest.mock import Mock

from faust.types import TP

from streams.faust_driver.consumer import DirectConsumer


def test_a_partition_whose_position_is_not_known_yet_does_not_end_the_consumer() -> None:
    consumer = DirectConsumer.__new__(DirectConsumer)
    consumer._thread = Mock()
    consumer._thread.verify_event_path.side_effect = AssertionError
    consumer.verify_event_path(60.0, TP("requests", 0))
