"""The files of a partition are Kafka's: its own kafka-dump-log reads segments, indexes and time indexes."""

import random
import re
import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from brokers import Cauce

# The smallest segment there may be; so the records are large, and a few make several.
SEGMENT_BYTES = 1 << 20
VALUE_BYTES = 60_000
RECORDS = 200
KEYS = 10
COMPRESSIONS = ["none", "gzip", "snappy", "lz4", "zstd"]
YEAR_MS = 365 * 24 * 3600 * 1000

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def directories(tools, tmp_path_factory):
    """The partitions of a broker that was stopped: one that keeps all, and one that was compacted."""
    options = ["--set", "log.cleaner.backoff.ms=100", "--set", "log.retention.check.interval.ms=100"]
    with Cauce(tmp_path_factory.mktemp("dump"), *options) as broker:
        servers = f"127.0.0.1:{broker.ports['kafka']}"
        settings = {"segment.bytes": str(SEGMENT_BYTES), "retention.ms": "-1"}
        compacted = settings | {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"}
        admin = AdminClient({"bootstrap.servers": servers})
        made = admin.create_topics(
            [NewTopic("kept", 1, 1, config=settings), NewTopic("compacted", 1, 1, config=compacted)]
        )
        for one in made.values():
            one.result(10)
        topics = broker.data / "topics"
        for topic in made:
            write(servers, topic)
        wait_until(lambda: size_of(topics / "compacted-0") < size_of(topics / "kept-0") / 2)
        broker.stop()
        yield {topic: topics / f"{topic}-0" for topic in made}
        broker.start()


def write(servers, topic):
    """Every compression, with times that go up and down, as an idempotent producer of each."""
    for number, compression in enumerate(COMPRESSIONS):
        producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "compression.type": compression,
                "batch.size": 100_000,
            }
        )
        for record in range(RECORDS // len(COMPRESSIONS)):
            when = 1_600_000_000_000 + (number * 100 + record * 37 % 23) * 1000
            value = random.Random(record).randbytes(VALUE_BYTES // 2).ljust(VALUE_BYTES)
            producer.produce(topic, value, key=f"key {record % KEYS}", timestamp=when, headers={"h": str(record)})
        assert producer.flush(30) == 0


def wait_until(met):
    deadline = time.monotonic() + 30
    while not met():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def size_of(directory):
    return sum(path.stat().st_size for path in directory.glob("*.log"))


def files(directory, suffix):
    found = sorted(directory.glob(f"*.{suffix}"))
    assert found
    return ",".join(str(path) for path in found)


@pytest.mark.parametrize("topic", ["kept", "compacted"])
def test_it_reads_every_record_of_every_segment(tools, directories, topic):
    told = tools.run("kafka-dump-log", "--files", files(directories[topic], "log"), "--deep-iteration", "--print-data-log")
    assert "isvalid: false" not in told and "isvalid: true" in told
    offsets = [int(offset) for offset in re.findall(r"^\| offset: (\d+) ", told, re.MULTILINE)]
    if topic == "kept":
        assert offsets == list(range(RECORDS))
    else:
        assert offsets == sorted(offsets) and offsets[-KEYS:] == list(range(RECORDS - KEYS, RECORDS))
        assert KEYS <= len(offsets) < RECORDS / 2
    codecs = set(re.findall(r"compresscodec: (\w+)", told))
    assert codecs >= (set(COMPRESSIONS) if topic == "kept" else {"zstd"})
    assert re.search(r"keySize: 5 valueSize: 60000 sequence: \d+ headerKeys: \[h\] key: key \d payload: ", told)
    # Batches follow each other without a gap, and a segment begins where the one before ends.
    batches = re.findall(r"^baseOffset: (\d+) lastOffset: (\d+) ", told, re.MULTILINE)
    ends = [-1] + [int(last) for _, last in batches]
    assert [int(first) for first, _ in batches] == [end + 1 for end in ends[:-1]]


@pytest.mark.parametrize("topic", ["kept", "compacted"])
def test_it_finds_the_indexes_right(tools, directories, topic):
    indexes = files(directories[topic], "index") + "," + files(directories[topic], "timeindex")
    assert_right(tools.run("kafka-dump-log", "--files", indexes))
    assert_right(tools.run("kafka-dump-log", "--files", indexes, "--verify-index-only"))
    sane = tools.run("kafka-dump-log", "--files", indexes, "--index-sanity-check")
    # A segment of one batch has no entry in its index, with Kafka too.
    assert sane.count("passed sanity check") + sane.count(".index is empty") == indexes.count(",") + 1, sane


def test_it_prints_the_entries_of_the_indexes(tools, directories):
    told = tools.run("kafka-dump-log", "--files", files(directories["kept"], "index"))
    assert len(re.findall(r"^offset: \d+ position: \d+$", told, re.MULTILINE)) > 5
    told = tools.run("kafka-dump-log", "--files", files(directories["kept"], "timeindex"))
    times = [int(found) for found in re.findall(r"^timestamp: (\d+) offset: \d+$", told, re.MULTILINE)]
    assert len(times) > 5 and all(1_600_000_000_000 <= when < 1_600_000_000_000 + YEAR_MS for when in times)


def assert_right(told):
    wrong = ["Found timestamp mismatch", "Index offset mismatch", "Non-consecutive", "not found", "out of order"]
    assert not any(words.lower() in told.lower() for words in wrong), told
