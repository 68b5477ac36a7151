"""What travels: the messages on the topics and the error codes. Knows no Kafka, no platform."""
