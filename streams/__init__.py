"""Infrastructure: Kafka, Faust, settings, metrics, command line. No video logic."""
