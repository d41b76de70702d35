import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.InvalidTxnStateException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Transactions as Kafka's own client makes them, which follows the newer rules (KIP-890). */
public class Transactions {
    static final Duration PATIENCE = Duration.ofSeconds(20);
    static String servers;
    static Admin admin;

    public static void main(String[] arguments) throws Exception {
        servers = arguments[0];
        admin = Admin.create(Map.of("bootstrap.servers", servers));
        wholeOrNotAtAll();
        offsetsGoAlong();
        theZombieIsFenced();
        tooSlow();
        operatorsSeeAndEndThem();
        admin.close();
        System.out.println("stories told");
    }

    static void wholeOrNotAtAll() throws Exception {
        var topic = topic();
        try (var producer = producer(name())) {
            for (int number = 0; number < 6; number++) {
                producer.beginTransaction();
                for (int partition = 0; partition < 2; partition++) {
                    producer.send(new ProducerRecord<>(topic, partition, null, "" + number));
                }
                producer.flush();
                if (number % 2 == 0) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
            // The markers of the last may still be on their way, but not when the next begins.
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, null, "6")).get();
            producer.commitTransaction();
        }
        expect(List.of("0", "2", "4", "6"), committed(topic, 0, 4));
        expect(List.of("0", "2", "4"), committed(topic, 1, 3));
    }

    static void offsetsGoAlong() throws Exception {
        var topic = topic();
        var at = new TopicPartition(topic, 0);
        var group = new ConsumerGroupMetadata(name());
        try (var producer = producer(name())) {
            for (int offset : new int[] {3, 5, 7, 9}) {
                producer.beginTransaction();
                producer.send(new ProducerRecord<>(topic, 0, null, "" + offset));
                producer.sendOffsetsToTransaction(Map.of(at, new OffsetAndMetadata(offset)), group);
                if (offset % 4 == 3) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
        }
        expect(List.of("3", "7"), committed(topic, 0, 2));
        var offsets = admin.listConsumerGroupOffsets(group.groupId()).partitionsToOffsetAndMetadata().get();
        expect(7L, offsets.get(at).offset());
    }

    static void theZombieIsFenced() throws Exception {
        var topic = topic();
        var who = name();
        var zombie = producer(who);
        zombie.beginTransaction();
        zombie.send(new ProducerRecord<>(topic, 0, null, "from the grave")).get();
        try (var fresh = producer(who)) {
            fails(zombie::commitTransaction, ProducerFencedException.class, InvalidProducerEpochException.class);
            fresh.beginTransaction();
            fresh.send(new ProducerRecord<>(topic, 0, null, "alive"));
            fresh.commitTransaction();
        }
        zombie.close();
        expect(List.of("alive"), committed(topic, 0, 1));
    }

    static void tooSlow() throws Exception {
        var topic = topic();
        var slow = producer(name(), "transaction.timeout.ms", 1000);
        slow.beginTransaction();
        slow.send(new ProducerRecord<>(topic, 0, null, "slow")).get();
        try (var other = producer(name())) {
            other.beginTransaction();
            other.send(new ProducerRecord<>(topic, 0, null, "quick"));
            other.commitTransaction();
        }
        // Nobody reads on before the slow one is aborted.
        expect(List.of("quick"), committed(topic, 0, 1));
        fails(slow::commitTransaction, InvalidTxnStateException.class, ProducerFencedException.class);
        slow.close();
    }

    static void operatorsSeeAndEndThem() throws Exception {
        var topic = topic();
        var at = new TopicPartition(topic, 0);
        var who = name();
        var producer = producer(who);
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(topic, 0, null, "open")).get();

        var described = admin.describeTransactions(List.of(who)).description(who).get();
        expect(TransactionState.ONGOING, described.state());
        expect(java.util.Set.of(at), described.topicPartitions());
        var listed = admin.listTransactions().all().get();
        expect(1L, listed.stream().filter(one -> one.transactionalId().equals(who)).count());
        var active = admin.describeProducers(List.of(at)).partitionResult(at).get().activeProducers().get(0);
        expect(0L, active.currentTransactionStartOffset().getAsLong());

        var epoch = (short) active.producerEpoch();
        admin.abortTransaction(new AbortTransactionSpec(at, active.producerId(), epoch, 0)).all().get();
        active = admin.describeProducers(List.of(at)).partitionResult(at).get().activeProducers().get(0);
        expect(true, active.currentTransactionStartOffset().isEmpty());
        admin.fenceProducers(List.of(who)).all().get();
        fails(producer::commitTransaction, ProducerFencedException.class, InvalidProducerEpochException.class);
        producer.close();
    }

    static KafkaProducer<String, String> producer(String who, Object... more) {
        var settings = new HashMap<String, Object>(Map.of("bootstrap.servers", servers, "transactional.id", who));
        for (int at = 0; at < more.length; at += 2) {
            settings.put((String) more[at], more[at + 1]);
        }
        var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        return producer;
    }

    /** So many values, and nothing else that comes right behind them. */
    static List<String> committed(String topic, int partition, int count) {
        var settings = Map.<String, Object>of("bootstrap.servers", servers, "isolation.level", "read_committed");
        var values = new ArrayList<String>();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            var at = List.of(new TopicPartition(topic, partition));
            consumer.assign(at);
            consumer.seekToBeginning(at);
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (values.size() < count && System.nanoTime() < deadline) {
                consumer.poll(Duration.ofMillis(100)).forEach(record -> values.add(record.value()));
            }
            consumer.poll(Duration.ofMillis(100)).forEach(record -> values.add(record.value()));
        }
        return values;
    }

    static String topic() throws Exception {
        var topic = name();
        admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1))).all().get();
        return topic;
    }

    static String name() {
        return "java-" + UUID.randomUUID();
    }

    static void expect(Object expected, Object found) {
        if (!expected.equals(found)) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    static void fails(Runnable act, Class<?>... expected) {
        try {
            act.run();
        } catch (RuntimeException failure) {
            for (var one : expected) {
                if (one.isInstance(failure) || one.isInstance(failure.getCause())) {
                    return;
                }
            }
            throw failure;
        }
        throw new AssertionError("it did not fail");
    }
}
