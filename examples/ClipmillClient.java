import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Publishes a request, and prints its result.
 *
 * <pre>java -cp kafka-clients.jar:slf4j-api.jar ClipmillClient.java HOST:PORT URL [CODEC]</pre>
 *
 * Java 17 or newer, kafka-clients 4. The JSON is put together by hand to need no library.
 */
public final class ClipmillClient {
    private static final String REQUESTS = "clipmill.requests.v1";
    private static final String RESULTS = "clipmill.results.v1";
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        String url = arguments[1];
        String codec = arguments.length > 2 ? arguments[2] : "none";
        // An id of the client's own finds the result, and makes it safe to publish again.
        String id = UUID.randomUUID().toString();
        try (KafkaConsumer<String, String> consumer = openResults(bootstrap)) {
            publish(bootstrap, codec, """
                {"id": "%s", "url": "%s", "action": "info"}""".formatted(id, url));
            System.out.println(resultOf(consumer, id));
        }
    }

    /** Returns a consumer of all partitions, without a group: it reads all results from now on. */
    private static KafkaConsumer<String, String> openResults(String bootstrap) {
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(
            Map.of("bootstrap.servers", bootstrap, "enable.auto.commit", "false"),
            new StringDeserializer(), new StringDeserializer());
        List<TopicPartition> partitions = consumer.partitionsFor(RESULTS).stream()
            .map(info -> new TopicPartition(RESULTS, info.partition())).toList();
        consumer.assign(partitions);
        consumer.seekToEnd(partitions);
        // seekToEnd is lazy: asking for the positions fixes them before anything is published.
        partitions.forEach(consumer::position);
        return consumer;
    }

    private static void publish(String bootstrap, String codec, String request) throws Exception {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", bootstrap,
            "acks", "all",
            "enable.idempotence", "true",
            "compression.type", codec);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(
                settings, new StringSerializer(), new StringSerializer())) {
            producer.send(new ProducerRecord<>(REQUESTS, request)).get();
        }
    }

    private static String resultOf(KafkaConsumer<String, String> consumer, String id) {
        Instant deadline = Instant.now().plus(PATIENCE);
        while (Instant.now().isBefore(deadline)) {
            for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofSeconds(1))) {
                // The key of a result is the request's id. A batch's members are id/0, id/1, ...
                if (id.equals(record.key())) {
                    return record.value();
                }
            }
        }
        throw new IllegalStateException("no result for " + id);
    }
}
