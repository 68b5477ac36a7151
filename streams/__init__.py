"""How it travels: Kafka, Faust, settings, metrics, the command line. Knows no videos."""
