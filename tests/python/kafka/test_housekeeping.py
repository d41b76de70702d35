"""What clients see of topics that are kept: compacted, and trimmed by age and size."""

import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from brokers import Cauce
from kafka_clients import CLIENTS

# The smallest segment there may be: a few large records fill it.
SEGMENT = {"segment.bytes": str(1 << 20)}
FILLER = b"x" * 400_000


@pytest.fixture(scope="module")
def tidy(tmp_path_factory):
    """A broker that looks for what is to be done ten times a second."""
    options = ["--set", "log.cleaner.backoff.ms=100", "--set", "log.retention.check.interval.ms=100"]
    with Cauce(tmp_path_factory.mktemp("tidy"), *options) as broker:
        yield f"127.0.0.1:{broker.ports['kafka']}"


def create(servers, topic, **settings):
    config = SEGMENT | {name.replace("_", "."): value for name, value in settings.items()}
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, 1, 1, config=config)])[topic].result(10)


def produce(servers, topic, records, compression="none", when=None):
    producer = Producer({"bootstrap.servers": servers, "compression.type": compression, "linger.ms": 0})
    for key, value in records:
        producer.produce(topic, value, key=key, **({"timestamp": when} if when else {}))
        assert producer.flush(20) == 0


def watermarks(servers, topic):
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "nobody"})
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    finally:
        consumer.close()


def offset_at(servers, topic, when):
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "nobody"})
    try:
        return consumer.offsets_for_times([TopicPartition(topic, 0, when)], timeout=10)[0].offset
    finally:
        consumer.close()


def until(met):
    deadline = time.monotonic() + 30
    while not met():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_compacted_topic_is_read_by_every_client(tidy, name, client, compression):
    topic, reads = name("compacted"), CLIENTS[client].read
    create(tidy, topic, cleanup_policy="compact", min_cleanable_dirty_ratio="0.01")
    rounds = [("a", b"old"), ("b", b"old"), ("c", b"only"), ("b", None), ("a", b"new")]
    produce(tidy, topic, rounds, compression)
    # Uncompressed, so that the segment with the others is full.
    produce(tidy, topic, [("filler", FILLER)] * 4)
    end = len(rounds) + 4
    until(lambda: len(reads(tidy, topic, 4)) == 4 and reads(tidy, topic, 4)[:3] == [b"only", None, b"new"])
    assert reads(tidy, topic, 4)[3] == FILLER
    assert watermarks(tidy, topic) == (0, end)
    produce(tidy, topic, [("d", b"more")], compression)
    assert watermarks(tidy, topic) == (0, end + 1)


def test_times_lead_to_what_compaction_left(tidy, name):
    topic = name("times")
    create(tidy, topic, cleanup_policy="compact", min_cleanable_dirty_ratio="0.01")
    for offset, key in enumerate("abac"):
        produce(tidy, topic, [(key, b"v")], when=1_000_000 + offset)
    produce(tidy, topic, [("filler", FILLER)] * 3)
    until(lambda: offset_at(tidy, topic, 1_000_000) == 1)
    assert [offset_at(tidy, topic, 1_000_000 + more) for more in range(4)] == [1, 1, 2, 3]


@pytest.mark.parametrize("setting", [{"retention_ms": "1000"}, {"retention_bytes": "900000"}])
def test_old_segments_go(tidy, name, setting):
    topic, long_ago = name("old"), int(time.time() * 1000) - 3_600_000
    create(tidy, topic, **setting)
    produce(tidy, topic, [(None, FILLER)] * 6, when=long_ago)
    # By age all of it goes, by size as much as leaves at least so many bytes.
    until(lambda: watermarks(tidy, topic) == ((6, 6) if "retention_ms" in setting else (2, 6)))


def test_a_setting_counts_when_it_is_changed(tidy, name):
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    topic, long_ago = name("changed"), int(time.time() * 1000) - 3_600_000
    create(tidy, topic, retention_ms="-1")
    produce(tidy, topic, [(None, FILLER)] * 3, when=long_ago)
    time.sleep(0.5)
    assert watermarks(tidy, topic) == (0, 3)
    entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": tidy})
    admin.incremental_alter_configs([resource])[resource].result(10)
    until(lambda: watermarks(tidy, topic) == (3, 3))
