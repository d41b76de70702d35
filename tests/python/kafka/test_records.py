"""Records in, the same records out: every client, every compression, and every client what another one wrote."""

import threading
import time

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from kafka_clients import CLIENTS

COMPRESSIONS = [None, "gzip", "snappy", "lz4", "zstd"]
VALUES = [b"message %d " % number * 20 for number in range(500)]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_client_reads_what_any_client_wrote(servers, topic, client, compression):
    assert client.produce(servers, topic, VALUES, compression) == list(range(len(VALUES)))
    for reader in CLIENTS.values():
        assert reader.read(servers, topic, len(VALUES)) == VALUES


IDEMPOTENT = {"kafka-python": "enable_idempotence", "aiokafka": "enable_idempotence", "confluent-kafka": "enable.idempotence"}


def test_idempotent_producers_write_each_record_once(servers, topic, client):
    option = next(option for known, option in IDEMPOTENT.items() if CLIENTS[known] is client)
    for round in range(3):
        offsets = client.produce(servers, topic, VALUES, **{option: True})
        assert offsets == list(range(round * len(VALUES), (round + 1) * len(VALUES)))
    assert client.read(servers, topic, 3 * len(VALUES)) == VALUES * 3


def test_keys_times_and_headers_come_back_as_they_were(servers, topic, admin):
    eternal(admin, topic)
    producer = KafkaProducer(bootstrap_servers=servers, compression_type="gzip")
    headers = [("a", b"1"), ("a", b"2"), ("", b""), ("ñ", b"\x00\xff")]
    producer.send(topic, b"value", key=b"key", headers=headers, timestamp_ms=1_600_000_000_123)
    producer.send(topic, None, key=b"")
    producer.close()
    first, second = read(servers, topic, 2)
    assert (first.key, first.value, first.headers) == (b"key", b"value", headers)
    assert (first.timestamp, first.timestamp_type) == (1_600_000_000_123, 0)
    assert (second.key, second.value, second.headers) == (b"", None, [])


def test_the_brokers_time_is_that_of_the_append(servers, topic, admin):
    config = {"message.timestamp.type": "LogAppendTime"}
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs=config)])
    before = time.time() * 1000 - 1
    producer = KafkaProducer(bootstrap_servers=servers, compression_type="lz4")
    sent = producer.send(topic, b"value", timestamp_ms=1).get(10)
    producer.close()
    (message,) = read(servers, topic, 1)
    assert before <= message.timestamp <= time.time() * 1000 + 1
    assert message.timestamp == sent.timestamp
    assert message.timestamp_type == 1


def test_positions_by_time(servers, topic, admin):
    eternal(admin, topic)
    times = [1000, 3000, 2000, 5000, 5000]
    for compression in (None, "lz4"):
        producer = KafkaProducer(bootstrap_servers=servers, compression_type=compression, linger_ms=50)
        for timestamp in times:
            producer.send(topic, b"at %d" % timestamp, timestamp_ms=timestamp + 1_600_000_000_000)
        producer.close()
    consumer = KafkaConsumer(bootstrap_servers=servers)
    partition = TopicPartition(topic, 0)

    def offset_at(timestamp):
        found = consumer.offsets_for_times({partition: timestamp + 1_600_000_000_000})[partition]
        return found and (found.offset, found.timestamp - 1_600_000_000_000)

    assert offset_at(0) == (0, 1000)
    assert offset_at(1001) == (1, 3000)
    assert offset_at(3001) == (3, 5000)
    assert offset_at(5001) is None
    assert consumer.beginning_offsets([partition]) == {partition: 0}
    assert consumer.end_offsets([partition]) == {partition: 10}
    consumer.close()


def test_who_waits_is_woken_by_the_record(servers, topic):
    producer = KafkaProducer(bootstrap_servers=servers)
    producer.send(topic, b"first").get(10)
    consumer = KafkaConsumer(bootstrap_servers=servers, fetch_max_wait_ms=20_000, consumer_timeout_ms=25_000)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    assert next(consumer).value == b"first"
    threading.Timer(0.5, lambda: producer.send(topic, b"second")).start()
    began = time.monotonic()
    assert next(consumer).value == b"second"
    # Woken, and not come back after 20 s.
    assert time.monotonic() - began < 10
    producer.close()
    consumer.close()


def test_a_batch_larger_than_a_fetch_comes_all_the_same(servers, topic):
    producer = KafkaProducer(bootstrap_servers=servers)
    large = b"x" * 500_000
    producer.send(topic, large).get(10)
    producer.send(topic, b"small").get(10)
    consumer = KafkaConsumer(
        bootstrap_servers=servers, fetch_max_bytes=1000, max_partition_fetch_bytes=1000, consumer_timeout_ms=10_000
    )
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    assert [next(consumer).value for _ in range(2)] == [large, b"small"]
    consumer.close()
    producer.close()


def test_many_partitions_are_fetched_in_turn(servers, topic, admin):
    admin.create_topics([NewTopic(topic, 20, 1)])
    producer = KafkaProducer(bootstrap_servers=servers)
    for number in range(2000):
        producer.send(topic, b"%d" % number, partition=number % 20)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=servers, fetch_max_bytes=2000, consumer_timeout_ms=10_000)
    consumer.assign([TopicPartition(topic, partition) for partition in range(20)])
    consumer.seek_to_beginning()
    seen = [[] for _ in range(20)]
    for _ in range(2000):
        message = next(consumer)
        seen[message.partition].append(int(message.value))
    assert seen == [list(range(partition, 2000, 20)) for partition in range(20)]
    consumer.close()


def test_records_outlive_a_kill(own_broker, name):
    servers, topic = f"127.0.0.1:{own_broker.ports['kafka']}", name("topic")
    for client in CLIENTS.values():
        client.produce(servers, topic, VALUES, "lz4")
    own_broker.kill()
    own_broker.start()
    assert CLIENTS["confluent-kafka"].read(servers, topic, 1500) == VALUES * 3
    assert CLIENTS["kafka-python"].produce(servers, topic, [b"more"]) == [1500]


def eternal(admin, topic):
    """Makes the topic for records that say they are old."""
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"retention.ms": "-1"})])


def read(servers, topic, count):
    consumer = KafkaConsumer(bootstrap_servers=servers, consumer_timeout_ms=10_000)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    messages = [next(consumer) for _ in range(count)]
    consumer.close()
    return messages
