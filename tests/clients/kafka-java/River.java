// Down the river with Kafka's own Java client: `java -cp … River.java 127.0.0.1:9092`. Ends with status 0 and the
// number of stories told, or with the story that failed. Compiles with clients from 2.5 on.

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.function.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

public class River {
    static final Duration PATIENCE = Duration.ofSeconds(30);
    static final String STEM = "java." + ProcessHandle.current().pid() + ".";

    // For records that say they are old.
    static final Map<String, String> ETERNAL = Map.of("retention.ms", "-1");

    interface Story { void tell(String topic) throws Exception; }

    static String servers;
    static Admin admin;

    public static void main(String[] arguments) throws Exception {
        servers = arguments[0];
        admin = Admin.create(Map.of("bootstrap.servers", servers));
        var stories = new LinkedHashMap<String, Story>();
        stories.put("records of a key stay in order, and are committed by hand", River::chapter);
        stories.put("keys, times and headers come back as they were", River::records);
        stories.put("each group reads everything", River::twoGroups);
        stories.put("members share a topic, eagerly or not, and take over", River::rebalances);
        stories.put("a consumer rewinds, and seeks by time", River::seeks);
        stories.put("every compression comes back", River::compressions);
        stories.put("a transaction is all or nothing to read_committed", River::transactions);
        stories.put("what is read, made of it and committed is one transaction", River::readProcessWrite);
        stories.put("a newer producer fences an older one", River::fencing);
        stories.put("a compacted topic keeps the last record of each key", River::compaction);
        stories.put("topics, settings, records and groups are administered", River::administration);
        for (var story : stories.entrySet()) {
            try {
                story.getValue().tell(STEM + story.getKey().hashCode());
            } catch (Throwable problem) {
                System.err.println(story.getKey());
                problem.printStackTrace();
                System.exit(1);
            }
        }
        admin.close();
        System.out.println(stories.size() + " stories told");
        System.exit(0);
    }

    static void chapter(String topic) throws Exception {
        create(topic, 3, Map.of());
        try (var producer = producer(Map.of())) {
            for (var n = 0; n < 300; n++) producer.send(record(topic, "order-" + n % 7, "" + n));
        }
        var taken = 0;
        var places = new HashMap<String, Set<Integer>>();
        var values = new HashMap<String, List<Integer>>();
        // Three lives of one service, each going on where the last one committed.
        while (taken < 300) {
            try (var consumer = consumer(topic, Map.of("group.id", topic, "max.poll.records", 100))) {
                consumer.subscribe(List.of(topic));
                for (var record : take(consumer, Math.min(100, 300 - taken))) {
                    places.computeIfAbsent(record.key(), key -> new HashSet<>()).add(record.partition());
                    values.computeIfAbsent(record.key(), key -> new ArrayList<>()).add(Integer.valueOf(record.value()));
                    taken++;
                }
                consumer.commitSync();
            }
        }
        for (var key : values.keySet()) {
            same(1, places.get(key).size());
            same(values.get(key).stream().sorted().collect(Collectors.toList()), values.get(key));
        }
        same(300, values.values().stream().mapToInt(List::size).sum());
    }

    static void records(String topic) throws Exception {
        create(topic, 1, ETERNAL);
        var sent = new ProducerRecord<>(topic, 0, 1_600_000_000_123L, "", "ñandú");
        sent.headers().add("a", bytes("1")).add("a", bytes("2")).add("nothing", (byte[]) null);
        try (var producer = producer(Map.of())) {
            same(0L, producer.send(sent).get().offset());
            same(1L, producer.send(record(topic, null, null)).get().offset());
        }
        var read = readAll(topic, 2, Map.of());
        same("", read.get(0).key());
        same("ñandú", read.get(0).value());
        same(1_600_000_000_123L, read.get(0).timestamp());
        var headers = List.of(new RecordHeader("a", bytes("1")), new RecordHeader("a", bytes("2")),
            new RecordHeader("nothing", (byte[]) null));
        same(headers, List.of(read.get(0).headers().toArray()));
        same(null, read.get(1).key());
        same(null, read.get(1).value());
    }

    static void twoGroups(String topic) throws Exception {
        create(topic, 2, Map.of());
        produce(topic, 100, Map.of());
        for (var group : List.of("billing", "shipping")) {
            try (var consumer = consumer(topic, Map.of("group.id", topic + group))) {
                consumer.subscribe(List.of(topic));
                same(100, values(take(consumer, 100)).size());
                consumer.commitSync();
            }
        }
    }

    static void rebalances(String topic) throws Exception {
        create(topic, 4, Map.of());
        for (var assignor : List.of("RangeAssignor", "CooperativeStickyAssignor")) {
            Map<String, Object> settings = Map.of("group.id", topic + assignor,
                "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
            var first = consumer(topic, settings);
            first.subscribe(List.of(topic));
            polled(() -> first.assignment().size() == 4, first);
            var second = consumer(topic, settings);
            second.subscribe(List.of(topic));
            polled(() -> first.assignment().size() == 2 && second.assignment().size() == 2, first, second);
            same(Set.of(), first.assignment().stream().filter(second.assignment()::contains).collect(Collectors.toSet()));
            first.close();
            polled(() -> second.assignment().size() == 4, second);
            second.close();
        }
    }

    static void seeks(String topic) throws Exception {
        create(topic, 1, ETERNAL);
        try (var producer = producer(Map.of())) {
            for (var n = 0; n < 50; n++) producer.send(new ProducerRecord<>(topic, 0, 1_600_000_000_000L + n * 10, null, "" + n));
        }
        var partition = new TopicPartition(topic, 0);
        try (var consumer = consumer(topic, Map.of())) {
            consumer.assign(List.of(partition));
            same(50, take(consumer, 50).size());
            consumer.seekToBeginning(List.of(partition));
            same("0", take(consumer, 1).get(0).value());
            consumer.seek(partition, 42);
            same("42", take(consumer, 1).get(0).value());
            var found = consumer.offsetsForTimes(Map.of(partition, 1_600_000_000_201L)).get(partition);
            same(21L, found.offset());
            consumer.seek(partition, found.offset());
            same("21", take(consumer, 1).get(0).value());
            same(null, consumer.offsetsForTimes(Map.of(partition, 1_700_000_000_000L)).get(partition));
            same(50L, consumer.endOffsets(List.of(partition)).get(partition));
        }
    }

    static void compressions(String topic) throws Exception {
        create(topic, 1, Map.of());
        var codecs = List.of("none", "gzip", "snappy", "lz4", "zstd");
        for (var codec : codecs) produce(topic, 200, Map.of("compression.type", codec, "linger.ms", 20));
        same(200 * codecs.size(), readAll(topic, 200 * codecs.size(), Map.of()).size());
    }

    static void transactions(String topic) throws Exception {
        create(topic, 2, Map.of());
        try (var producer = producer(Map.of("transactional.id", topic))) {
            producer.initTransactions();
            for (var outcome : List.of("aborted", "kept", "aborted", "kept")) {
                producer.beginTransaction();
                for (var n = 0; n < 10; n++) producer.send(new ProducerRecord<>(topic, n % 2, null, outcome));
                producer.flush();
                if (outcome.equals("kept")) producer.commitTransaction(); else producer.abortTransaction();
            }
            same(Collections.nCopies(20, "kept"), values(readAll(topic, 20, Map.of("isolation.level", "read_committed"))));
            same(40, readAll(topic, 40, Map.of()).size());
            // What is open keeps later records from readers of what is committed, and from nobody else.
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, null, "open")).get();
            produce(topic, 0, 5, Map.of());
            same(46, readAll(topic, 46, Map.of()).size());
            var partition = new TopicPartition(topic, 0);
            try (var consumer = consumer(topic, Map.of("isolation.level", "read_committed"))) {
                var stable = consumer.endOffsets(List.of(partition)).get(partition);
                consumer.assign(List.of(partition));
                consumer.seek(partition, stable);
                same(0, consumer.poll(Duration.ofMillis(300)).count());
                producer.commitTransaction();
                same(List.of("open", "0", "1", "2", "3", "4"), values(take(consumer, 6)));
            }
        }
    }

    static void readProcessWrite(String topic) throws Exception {
        var results = topic + ".results";
        create(topic, 1, Map.of());
        create(results, 1, Map.of());
        produce(topic, 30, Map.of());
        // The first attempt dies after half of its work.
        for (var attempt = 0; attempt < 2; attempt++) {
            try (var producer = producer(Map.of("transactional.id", results));
                 var consumer = consumer(topic, Map.of("group.id", results, "isolation.level", "read_committed"))) {
                producer.initTransactions();
                consumer.subscribe(List.of(topic));
                var read = take(consumer, 30);
                producer.beginTransaction();
                for (var record : read) producer.send(record(results, null, record.value() + "!"));
                var next = new OffsetAndMetadata(read.get(29).offset() + 1);
                producer.sendOffsetsToTransaction(Map.of(new TopicPartition(topic, 0), next), consumer.groupMetadata());
                if (attempt == 0) producer.abortTransaction(); else producer.commitTransaction();
            }
            // They count once the group has the transaction's marker, which comes after the answer.
            Long expected = attempt == 0 ? null : Long.valueOf(30);
            eventually(() -> Objects.equals(expected, committed(results, new TopicPartition(topic, 0))));
        }
        var made = IntStream.range(0, 30).mapToObj(n -> n + "!").collect(Collectors.toList());
        same(made, values(readAll(results, 30, Map.of("isolation.level", "read_committed"))));
    }

    static void fencing(String topic) throws Exception {
        create(topic, 1, Map.of());
        var older = producer(Map.of("transactional.id", topic));
        older.initTransactions();
        older.beginTransaction();
        older.send(record(topic, null, "of the older one")).get();
        try (var newer = producer(Map.of("transactional.id", topic))) {
            newer.initTransactions();
            fails(ProducerFencedException.class, older::commitTransaction);
            newer.beginTransaction();
            newer.send(record(topic, null, "of the newer one"));
            newer.commitTransaction();
        }
        older.close(Duration.ZERO);
        same(List.of("of the newer one"), values(readAll(topic, 1, Map.of("isolation.level", "read_committed"))));
    }

    static void compaction(String topic) throws Exception {
        create(topic, 1, Map.of("cleanup.policy", "compact", "segment.ms", "200", "min.cleanable.dirty.ratio", "0.01"));
        try (var producer = producer(Map.of())) {
            for (var n = 0; n < 50; n++) producer.send(record(topic, "k" + n % 5, "" + n));
            producer.flush();
            fails(InvalidRecordException.class, () -> producer.send(record(topic, null, "without a key")).get());
            Thread.sleep(300);
            // Starts a new segment: only those behind it are compacted.
            producer.send(record(topic, "last", "")).get();
        }
        var expected = List.of("45", "46", "47", "48", "49", "");
        eventually(() -> expected.equals(values(readAll(topic, 6, Map.of()))));
        same(List.of(45L, 46L, 47L, 48L, 49L, 50L), readAll(topic, 6, Map.of()).stream().map(ConsumerRecord::offset).collect(Collectors.toList()));
    }

    static void administration(String topic) throws Exception {
        create(topic, 2, Map.of("retention.ms", "60000"));
        fails(TopicExistsException.class, () -> create(topic, 2, Map.of()));
        fails(InvalidReplicationFactorException.class, () -> admin.createTopics(List.of(new NewTopic(topic + 2, 1, (short) 3))).all().get());
        fails(InvalidConfigurationException.class, () -> create(topic + 2, 1, Map.of("retention.mss", "1")));
        same(1, admin.describeCluster().nodes().get().size());
        same(true, admin.listTopics().names().get().contains(topic));
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all().get();
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        var change = List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "70000"), AlterConfigOp.OpType.SET));
        admin.incrementalAlterConfigs(Map.of(resource, change)).all().get();
        same("70000", admin.describeConfigs(List.of(resource)).all().get().get(resource).get("retention.ms").value());
        produce(topic, 3, 10, Map.of());
        var partition = new TopicPartition(topic, 3);
        admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(4))).all().get();
        same(4L, offset(partition, OffsetSpec.earliest()));
        same(10L, offset(partition, OffsetSpec.latest()));
        var group = topic + ".group";
        admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(7))).all().get();
        same(7L, admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition).offset());
        admin.deleteConsumerGroups(List.of(group)).all().get();
        fails(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
        same(true, admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1).values().stream().anyMatch(
            directory -> directory.replicaInfos().containsKey(partition)));
        admin.deleteTopics(List.of(topic)).all().get();
        fails(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(topic)).all().get());
    }

    static Long committed(String group, TopicPartition partition) {
        try (var consumer = consumer(partition.topic(), Map.of("group.id", group))) {
            return Optional.ofNullable(consumer.committed(Set.of(partition)).get(partition)).map(OffsetAndMetadata::offset).orElse(null);
        }
    }

    static long offset(TopicPartition partition, OffsetSpec spec) throws Exception {
        return admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get().offset();
    }

    static void create(String topic, int partitions, Map<String, String> configs) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all().get();
    }

    static KafkaProducer<String, String> producer(Map<String, Object> more) {
        var settings = new HashMap<String, Object>(Map.of("bootstrap.servers", servers, "acks", "all", "enable.idempotence", true));
        settings.putAll(more);
        return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
    }

    static void produce(String topic, int count, Map<String, Object> more) throws Exception {
        produce(topic, null, count, more);
    }

    static void produce(String topic, Integer partition, int count, Map<String, Object> more) throws Exception {
        try (var producer = producer(more)) {
            for (var n = 0; n < count; n++) producer.send(new ProducerRecord<>(topic, partition, null, "" + n));
        }
    }

    static KafkaConsumer<String, String> consumer(String topic, Map<String, Object> more) {
        var settings = new HashMap<String, Object>(Map.of("bootstrap.servers", servers, "auto.offset.reset", "earliest",
            "enable.auto.commit", false));
        settings.putAll(more);
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    static List<ConsumerRecord<String, String>> take(KafkaConsumer<String, String> consumer, int count) {
        var taken = new ArrayList<ConsumerRecord<String, String>>();
        eventually(() -> {
            consumer.poll(Duration.ofMillis(200)).forEach(taken::add);
            return taken.size() >= count;
        });
        return taken;
    }

    static List<ConsumerRecord<String, String>> readAll(String topic, int count, Map<String, Object> more) {
        try (var consumer = consumer(topic, more)) {
            var partitions = consumer.partitionsFor(topic).stream().map(info -> new TopicPartition(topic, info.partition()));
            consumer.assign(partitions.collect(Collectors.toList()));
            return take(consumer, count);
        }
    }

    @SafeVarargs
    static void polled(BooleanSupplier wanted, KafkaConsumer<String, String>... consumers) {
        eventually(() -> {
            for (var consumer : consumers) consumer.poll(Duration.ofMillis(50));
            return wanted.getAsBoolean();
        });
    }

    static List<String> values(List<ConsumerRecord<String, String>> records) {
        return records.stream().map(ConsumerRecord::value).collect(Collectors.toList());
    }

    static ProducerRecord<String, String> record(String topic, String key, String value) {
        return new ProducerRecord<>(topic, key, value);
    }

    static byte[] bytes(String text) { return text.getBytes(StandardCharsets.UTF_8); }

    static void eventually(BooleanSupplier wanted) {
        var deadline = System.nanoTime() + PATIENCE.toNanos();
        while (!wanted.getAsBoolean()) if (System.nanoTime() > deadline) throw new AssertionError("waited in vain");
    }

    static void fails(Class<? extends Exception> expected, Callable<?> action) throws Exception {
        try {
            action.call();
        } catch (Exception problem) {
            var cause = problem instanceof ExecutionException ? (Exception) problem.getCause() : problem;
            same(expected, cause.getClass());
            return;
        }
        throw new AssertionError("should have failed with " + expected);
    }

    interface Action { void run() throws Exception; }

    static void fails(Class<? extends Exception> expected, Action action) throws Exception {
        fails(expected, () -> { action.run(); return null; });
    }

    static void same(Object expected, Object seen) {
        if (!Objects.equals(expected, seen)) throw new AssertionError("expected " + expected + ", saw " + seen);
    }
}
