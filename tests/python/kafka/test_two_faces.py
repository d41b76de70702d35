"""One log, two faces: what one protocol writes the other reads, under one name."""

import asyncio
import json

import confluent_kafka
import pika
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from kafka.admin import NewPartitions, NewTopic
from kafka.errors import KafkaError

from clients import Subscriber, channel_closed, eventually, publish, waiting
from kafka_clients import CLIENTS

STREAM = {"x-queue-type": "stream"}


def confirming(connection):
    channel = connection.channel()
    channel.confirm_delivery()
    return channel


def reader(connection, name, prefetch=1000, **arguments):
    channel = connection.channel()
    channel.basic_qos(prefetch_count=prefetch)
    table = {f"x-stream-{word}": value for word, value in ({"offset": "first"} | arguments).items()}
    return Subscriber(channel, name, arguments=table)


def produce(servers, topic, records):
    """Records are keywords of `send`."""

    async def run():
        producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
        await producer.start()
        try:
            return [await producer.send_and_wait(topic, **record) for record in records]
        finally:
            await producer.stop()

    return asyncio.run(run())


def consume(servers, topic, count):
    async def run():
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            return [await asyncio.wait_for(consumer.getone(), 20) for _ in range(count)]
        finally:
            await consumer.stop()

    return asyncio.run(run())


def declare(connection, name, **arguments):
    table = {f"x-{word.replace('_', '-')}": value for word, value in arguments.items()}
    return connection.channel().queue_declare(name, durable=True, arguments=STREAM | table).method


def test_kafka_reads_what_amqp_published(servers, connection, topic, name):
    declare(connection, topic)
    channel = confirming(connection)
    channel.exchange_declare(name("events"), "topic", durable=True)
    channel.queue_bind(topic, name("events"), "#")
    properties = pika.BasicProperties(
        content_type="application/json",
        timestamp=1_700_000_000,
        headers={"tries": 3, "tags": ["a", "b"], "origin": {"shop": "north"}},
    )
    channel.basic_publish(name("events"), "order.new", b'{"id": 1}', properties)
    channel.basic_publish("", topic, b"plain")
    first, second = consume(servers, topic, 2)
    assert (first.key, first.value, first.timestamp, first.offset) == (b"order.new", b'{"id": 1}', 1_700_000_000_000, 0)
    headers = [(header, value) for header, value in first.headers if header != "cauce.amqp"]
    assert headers[:-1] == [
        ("amqp.exchange", name("events").encode()),
        ("amqp.content-type", b"application/json"),
        ("tries", b"3"),
        ("tags", b"a"),
        ("tags", b"b"),
    ]
    assert json.loads(dict(headers)["origin"]) == {"shop": "north"}
    assert (second.key, second.value) == (None, b"plain")
    assert [header for header, _ in second.headers] == ["cauce.amqp"]


def test_amqp_reads_what_kafka_produced(servers, admin, connection, topic):
    admin.create_topics([NewTopic(topic, 1, 1)])
    headers = [("a", b"1"), ("b", b"\xff"), ("a", b"2"), ("amqp.content-type", b"text/plain")]
    produce(
        servers,
        topic,
        [
            {"value": b"value", "key": b"order-7", "headers": headers, "timestamp_ms": 1_700_000_000_999},
            {"value": None, "key": b"\xff"},
        ],
    )
    assert declare(connection, topic).message_count == 2
    first, second = reader(connection, topic).wait_for(2)
    assert (first.body, first.method.exchange, first.method.routing_key) == (b"value", "", "order-7")
    assert first.properties.headers == {"a": ["1", "2"], "b": b"\xff", "x-stream-offset": 0}
    assert (first.properties.content_type, first.properties.timestamp) == ("text/plain", 1_700_000_000)
    assert (second.body, second.method.routing_key) == (b"", topic)
    assert second.properties.headers == {"x-kafka-key": b"\xff", "x-kafka-tombstone": True, "x-stream-offset": 1}


def test_what_was_forwarded_with_its_headers_is_the_same_record(servers, connection, topic, name):
    """From Kafka over AMQP into another stream: key, value and headers of the record survive."""
    declare(connection, name("copy"))
    sent = {"value": None, "key": b"\x00\xff", "headers": [("a", b"1"), ("b", b"\xff"), ("a", b"2")]}
    produce(servers, topic, [sent])
    (delivery,) = reader(connection, topic).wait_for(1)
    confirming(connection).basic_publish("", name("copy"), delivery.body, delivery.properties)
    (copy,) = consume(servers, name("copy"), 1)
    assert (copy.key, copy.value) == (b"\x00\xff", None)
    headers = [(header, value) for header, value in copy.headers if header in ("a", "b")]
    assert sorted(headers) == [("a", b"1"), ("a", b"2"), ("b", b"\xff")]


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_are_read_by_amqp(servers, connection, topic, client, compression):
    values = [b"message %d " % number * 50 for number in range(400)]
    client.produce(servers, topic, values, compression)
    subscriber = reader(connection, topic, prefetch=150)
    while len(subscriber.deliveries) < len(values):
        subscriber.wait_for(min(len(subscriber.deliveries) + 100, len(values)))
        subscriber.channel.basic_ack(0, multiple=True)
    assert [delivery.body for delivery in subscriber.deliveries] == values
    (delivery,) = reader(connection, topic, prefetch=1, offset=399).wait_for(1)
    assert delivery.body == values[-1]


def test_both_protocols_write_to_one_log(servers, connection, topic):
    declare(connection, topic)
    channel = confirming(connection)
    for number in range(10):
        channel.basic_publish("", topic, b"amqp %d" % number)
        produce(servers, topic, [{"value": b"kafka %d" % number}])
    expected = [b"%s %d" % (who, number) for number in range(10) for who in (b"amqp", b"kafka")]
    subscriber = reader(connection, topic)
    assert [delivery.body for delivery in subscriber.wait_for(20)] == expected
    for client in CLIENTS.values():
        assert client.read(servers, topic, 20) == expected
    assert waiting(connection.channel(), topic) == 20


def test_a_waiting_consumer_gets_what_kafka_produces(servers, connection, topic):
    declare(connection, topic)
    subscriber = reader(connection, topic, offset="next")
    for number in range(3):
        produce(servers, topic, [{"value": b"%d" % number}])
        assert subscriber.wait_for(number + 1)[-1].body == b"%d" % number


def test_amqp_sees_what_a_transaction_committed(servers, connection, topic):
    declare(connection, topic)
    subscriber = reader(connection, topic)

    async def run():
        producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=topic)
        await producer.start()
        for value in (b"one", b"two"):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, value + b" aborted")
            await producer.abort_transaction()
            await producer.begin_transaction()
            await producer.send_and_wait(topic, value)
            assert value.decode() not in subscriber.settle_down()
            await producer.commit_transaction()
        await producer.stop()

    asyncio.run(run())
    subscriber.wait_for(2)
    assert subscriber.settle_down() == ["one", "two"]
    # Each transaction ended with a marker, which takes an offset.
    assert [delivery.properties.headers["x-stream-offset"] for delivery in subscriber.deliveries] == [2, 6]


@pytest.fixture
def wide(admin, connection, topic, name):
    """A topic with six partitions, bound to an exchange."""
    admin.create_topics([NewTopic(topic, 6, 1)])
    channel = connection.channel()
    channel.exchange_declare(name("events"), "topic", durable=True)
    channel.queue_bind(topic, name("events"), "#")
    return topic


def test_the_routing_key_chooses_the_partition_as_kafkas_clients_do(servers, connection, wide, name):
    keys = [f"order-{number}" for number in range(50)]
    sent = produce(servers, wide, [{"value": b"", "key": key.encode()} for key in keys])
    channel = confirming(connection)
    for key in keys:
        channel.basic_publish(name("events"), key, b"")
    seen = {}
    for message in consume(servers, wide, 100):
        seen.setdefault(message.key.decode(), []).append(message.partition)
    assert seen == {key: [place.partition] * 2 for key, place in zip(keys, sent, strict=True)}
    assert len({place.partition for place in sent}) == 6


def test_messages_without_a_key_go_everywhere(servers, connection, wide):
    channel = confirming(connection)
    for _ in range(12):
        channel.basic_publish("", wide, b"")
    assert sorted(message.partition for message in consume(servers, wide, 12)) == sorted([*range(6)] * 2)


def test_a_consumer_reads_all_partitions_or_one(servers, connection, wide, name):
    keys = [f"k{number}" for number in range(60)]
    channel = confirming(connection)
    for _ in range(2):
        for key in keys:
            channel.basic_publish(name("events"), key, key.encode())
    subscriber = reader(connection, wide)
    subscriber.wait_for(120)
    assert sorted(subscriber.settle_down()) == sorted(keys * 2)
    places = {}
    for delivery in subscriber.deliveries:
        headers = delivery.properties.headers
        places.setdefault(headers["x-stream-partition"], []).append((headers["x-stream-offset"], delivery.body))
    assert len(places) == 6
    for partition, found in places.items():
        assert [offset for offset, _ in found] == list(range(len(found)))
        one = reader(connection, wide, partition=partition, offset=1)
        one.wait_for(len(found) - 1)
        assert one.settle_down() == [body.decode() for _, body in found[1:]]
    with channel_closed(406, f"PRECONDITION_FAILED - topic '{wide}' has 6 partitions, and an offset is one partition's…"):
        reader(connection, wide, offset=1)
    with channel_closed(406, f"PRECONDITION_FAILED - topic '{wide}' has 6 partitions, and none of number 6"):
        reader(connection, wide, partition=6)


def test_partitions_that_come_later_are_read_too(servers, admin, connection, topic):
    declare(connection, topic)
    subscriber = reader(connection, topic)
    admin.create_partitions({topic: NewPartitions(3)})
    channel = confirming(connection)
    for number in range(6):
        channel.basic_publish("", topic, b"%d" % number)
    subscriber.wait_for(6)
    assert sorted(subscriber.settle_down()) == [str(number) for number in range(6)]
    partitions = {delivery.properties.headers["x-stream-partition"] for delivery in subscriber.deliveries}
    assert partitions == {0, 1, 2}


def test_topics_and_queues_share_their_names(servers, admin, connection, topic, name):
    connection.channel().queue_declare(name("queue"), durable=True)
    with pytest.raises(KafkaError, match="is a queue: topics and queues share their names"):
        admin.create_topics([NewTopic(name("queue"), 1, 1)])
    admin.create_topics([NewTopic(topic, 1, 1)])
    text = f"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '{topic}' in vhost '/': …"
    with channel_closed(406, text):
        connection.channel().queue_declare(topic, durable=True)
    with channel_closed(406, f"PRECONDITION_FAILED - queue 'a b' in vhost '/' cannot be a stream: …"):
        declare(connection, "a b")


def test_a_declaration_opens_a_topic_of_kafkas_if_it_agrees(admin, connection, topic):
    config = {"retention.bytes": "5000000", "retention.ms": "3600000"}
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs=config)])
    declare(connection, topic)
    declare(connection, topic, max_age="60m", max_length_bytes=5_000_000)
    text = f"PRECONDITION_FAILED - inequivalent arg 'x-max-length-bytes' for queue '{topic}' in vhost '/': "
    with channel_closed(406, text + "received '7' but current is '5000000'"):
        declare(connection, topic, max_length_bytes=7)


def test_kafka_sees_the_settings_that_amqp_declared(confluent_admin, connection, topic):
    declare(connection, topic, max_age="2h", max_length_bytes=7_000_000, stream_max_segment_size_bytes=2_000_000)
    resource = confluent_kafka.admin.ConfigResource(confluent_kafka.admin.ConfigResource.Type.TOPIC, topic)
    (answer,) = confluent_admin.describe_configs([resource]).values()
    values = {setting: entry.value for setting, entry in answer.result(10).items()}
    expected = {"retention.ms": "7200000", "retention.bytes": "7000000", "segment.bytes": "2000000"}
    assert {setting: values[setting] for setting in expected} == expected


def test_either_protocol_deletes_for_both(servers, admin, connection, topic, name):
    declare(connection, topic)
    subscriber = reader(connection, topic)
    admin.delete_topics([topic])
    subscriber.wait_until(lambda: subscriber.cancelled)
    assert subscriber.cancelled
    with channel_closed(404, f"NOT_FOUND - no queue '{topic}' in vhost '/'"):
        connection.channel().queue_declare(topic, passive=True)
    declare(connection, name("other"))
    connection.channel().queue_delete(name("other"))
    assert name("other") not in admin.list_topics()


def test_deleted_records_are_passed_over(servers, admin, connection, topic):
    from kafka import TopicPartition

    declare(connection, topic)
    channel = confirming(connection)
    for number in range(10):
        channel.basic_publish("", topic, b"%d" % number)
    admin.delete_records({TopicPartition(topic, 0): 6})
    assert eventually(lambda: waiting(connection.channel(), topic) == 4)
    for offset in ("first", 2):
        subscriber = reader(connection, topic, offset=offset)
        subscriber.wait_for(4)
        assert subscriber.settle_down() == ["6", "7", "8", "9"]


def test_a_topic_has_its_own_limits_for_messages(admin, connection, topic):
    config = {"max.message.bytes": "1000"}
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs=config)])
    with channel_closed(406, "PRECONDITION_FAILED - a message of …"):
        confirming(connection).basic_publish("", topic, b"x" * 2000)
    confirming(connection).basic_publish("", topic, b"x" * 800)


def test_a_compacted_topic_takes_messages_with_keys(servers, admin, connection, topic, name):
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"cleanup.policy": "compact"})])
    with channel_closed(406, f"PRECONDITION_FAILED - topic '{topic}' is compacted and takes no message without a key…"):
        confirming(connection).basic_publish("", topic, b"x")
    channel = confirming(connection)
    channel.exchange_declare(name("events"), "fanout")
    channel.queue_bind(topic, name("events"))
    channel.basic_publish(name("events"), "k", b"", pika.BasicProperties(headers={"x-kafka-tombstone": True}))
    (message,) = consume(servers, topic, 1)
    assert (message.key, message.value) == (b"k", None)


def test_the_brokers_time_counts_where_a_topic_says_so(servers, admin, connection, topic):
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])
    publish(confirming(connection), "", topic, timestamp=1_000_000_000)
    (message,) = consume(servers, topic, 1)
    assert message.timestamp_type == 1 and message.timestamp > 1_700_000_000_000
    (delivery,) = reader(connection, topic).wait_for(1)
    assert delivery.properties.timestamp == 1_000_000_000
