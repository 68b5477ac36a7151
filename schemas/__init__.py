"""Message types of all topics, and error codes. Independent of Kafka and of platforms."""
