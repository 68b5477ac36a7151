#!/bin/sh
# Publishes a request with Kafka's console producer, and prints its result.
#
#   console.sh HOST:PORT URL [none|gzip|snappy|lz4|zstd]
#
# kafka-console-producer.sh and kafka-console-consumer.sh of Kafka 4 must be on the PATH.
set -eu
bootstrap=$1 url=$2 codec=${3:-none}
id="console-$(date +%s)-$$"

# One line is one record: the request as JSON, without line breaks. No key and no headers are needed.
# acks=all: the record is there when the producer ends, also when a broker is lost.
printf '{"id": "%s", "url": "%s", "action": "info"}\n' "$id" "$url" |
  kafka-console-producer.sh --bootstrap-server "$bootstrap" --topic clipmill.requests.v1 \
    --command-property acks=all --compression-codec "$codec"

# The console consumer ends when nothing has come for five seconds. A program keeps reading instead.
kafka-console-consumer.sh --bootstrap-server "$bootstrap" --topic clipmill.results.v1 \
  --from-beginning --timeout-ms 5000 | grep -m 1 "\"request_id\":\"$id\""
