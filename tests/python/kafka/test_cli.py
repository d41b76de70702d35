"""`cauce topic`, `cauce group` and `cauce bench kafka`, against Cauce and, where it can be had, against Apache Kafka."""

import json
import subprocess

import apache_kafka
import kafka_tools
import pytest
from brokers import Cauce
from confluent_kafka import Producer
from kafka import KafkaConsumer, KafkaProducer
from kafka.partitioner.default import murmur2

FAILED, USAGE, UNREACHABLE, NOT_FOUND = 1, 2, 3, 4
SECONDS_MAX = 60


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    if problem := kafka_tools.problem():
        pytest.skip(f"Apache Kafka: {problem}")
    with apache_kafka.ApacheKafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(params=["cauce", "kafka"])
def servers(request, broker):
    other = broker if request.param == "cauce" else request.getfixturevalue("kafka")
    return f"127.0.0.1:{other.ports['kafka']}"


@pytest.fixture
def cauce(servers):
    """Runs a command against the broker; its JSON, if that was asked for, or what it printed."""

    def cauce(*words, status=0, stdin=""):
        command = [Cauce.executable(), *map(str, words), "--bootstrap", servers]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=SECONDS_MAX)
        assert done.returncode == status, done.stdout + done.stderr
        if status:
            assert done.stderr.startswith("cauce: ") or status == USAGE
            return done.stderr
        if "--json" in words:
            return [json.loads(line) for line in done.stdout.splitlines()]
        return done.stdout

    return cauce


def test_topics_are_made_described_changed_and_deleted(cauce, topic):
    other = topic + "2"
    (made,) = cauce("topic", "create", topic, other, "--partitions", 3, "--set", "retention.ms=3600000", "--json")
    assert [(one["topic"], one["partitions"], one["created"]) for one in made] == [(topic, 3, True), (other, 3, True)]
    assert "TOPIC_ALREADY_EXISTS" in cauce("topic", "create", topic, status=FAILED)
    (made,) = cauce("topic", "create", topic, "--if-not-exists", "--json")
    assert [one["created"] for one in made] == [False]
    (listed,) = cauce("topic", "list", "--json")
    assert {topic, other} <= {one["topic"] for one in listed}

    ((described,),) = cauce("topic", "describe", topic, "--json")
    assert described["configs"] == [{"name": "retention.ms", "value": "3600000", "is_own": True}]
    partitions = [(one["partition"], one["start_offset"], one["end_offset"]) for one in described["partitions"]]
    assert partitions == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]

    cauce("topic", "alter", topic, "--unset", "retention.ms", "--set", "max.message.bytes=5000", "--partitions", 5)
    ((described,),) = cauce("topic", "describe", topic, "--json")
    assert described["configs"] == [{"name": "max.message.bytes", "value": "5000", "is_own": True}]
    assert len(described["partitions"]) == 5
    assert "INVALID_PARTITIONS" in cauce("topic", "alter", topic, "--partitions", 4, status=FAILED)
    assert "no.such" in cauce("topic", "alter", topic, "--set", "no.such=1", status=FAILED)
    assert "max.message.bytes" in cauce("topic", "describe", topic)

    assert cauce("topic", "delete", topic, "nothing", status=NOT_FOUND) == 'cauce: there is no topic "nothing"\n'
    cauce("topic", "delete", topic, other, "--if-exists")
    assert cauce("topic", "describe", topic, status=NOT_FOUND) == f'cauce: there is no topic "{topic}"\n'


def test_a_dry_run_makes_nothing(cauce, topic):
    cauce("topic", "create", topic, "--dry-run")
    cauce("topic", "describe", topic, status=NOT_FOUND)


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_lines_become_records_that_other_clients_read(cauce, servers, topic, compression):
    cauce("topic", "create", topic, "--partitions", 4)
    keys = [f"key {number}" for number in range(50)]
    lines = "".join(f"{key}|value of {key}\n" for key in keys)
    produce = ["topic", "produce", topic, "--key-separator", "|", "--header", "a=1", "--compression", compression]
    written = cauce(*produce, "--json", stdin=lines)
    assert sum(batch["records"] for batch in written) == 50
    consumer = KafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest", consumer_timeout_ms=10_000)
    seen = {}
    for message in consumer:
        seen[message.key.decode()] = message
        if len(seen) == 50:
            break
    consumer.close()
    for key in keys:
        message = seen[key]
        # Where Kafka's own clients would put the key.
        assert message.partition == (murmur2(key.encode()) & 0x7FFFFFFF) % 4
        assert (message.value.decode(), message.headers) == (f"value of {key}", [("a", b"1")])


def test_records_of_other_clients_are_printed(cauce, servers, topic):
    cauce("topic", "create", topic)
    producer = KafkaProducer(bootstrap_servers=servers, compression_type="gzip")
    producer.send(topic, b"caf\xc3\xa9", key=b"k", headers=[("h", b"v"), ("h", b"")], timestamp_ms=1_700_000_000_123)
    producer.send(topic, b"\xff\x00", timestamp_ms=1_700_000_000_124)
    producer.send(topic, None, key=b"gone", timestamp_ms=1_700_000_000_125)
    producer.close()
    consume = ["topic", "consume", topic, "--until-end"]
    first, second, third = cauce(*consume, "--from-beginning", "--json")
    assert first == {
        "topic": topic,
        "partition": 0,
        "offset": 0,
        "timestamp_ms": 1_700_000_000_123,
        "key": "k",
        "value": "café",
        "headers": [["h", "v"], ["h", ""]],
    }
    assert second["value"] == {"base64": "/wA="}
    assert (third["key"], third["value"]) == ("gone", None)
    assert "2023-11-14T22:13:20.123Z key=k h=v h=: café" in cauce(*consume, "--from-beginning", "--verbose", "--max", 1)
    offsets = lambda *words: [one["offset"] for one in cauce(*consume, *words, "--json")]  # noqa: E731
    assert offsets("--from-offset", 1) == [1, 2]
    assert offsets("--last", 1) == [2]
    assert offsets("--from-time", 1_700_000_000_124) == [1, 2]
    assert offsets("--from-time", "2023-11-14T22:13:21Z") == []
    assert offsets() == []


def test_a_line_without_a_key_is_told_by_its_number(cauce, topic):
    cauce("topic", "create", topic)
    error = cauce("topic", "produce", topic, "--key-separator", "=", stdin="a=1\nb\n", status=FAILED)
    assert error == 'cauce: line 2 has no "=" behind a key\n'


def test_groups_go_on_and_can_be_sent_elsewhere(cauce, topic, name):
    group = name("group")
    cauce("topic", "create", topic, "--partitions", 2)
    cauce("topic", "produce", topic, "--partition", 0, stdin="".join(f"{number}\n" for number in range(10)))
    consume = ["topic", "consume", topic, "--group", group, "--from-beginning"]
    assert cauce(*consume, "--max", 4) == "0\n1\n2\n3\n"
    assert cauce(*consume, "--max", 2) == "4\n5\n"
    assert group in [one["group"] for (listed,) in [cauce("group", "list", "--json")] for one in listed]

    def described():
        ((found,),) = cauce("group", "describe", group, "--json")
        return found["lag"], {one["partition"]: one["committed"] for one in found["partitions"]}

    assert described() == (4, {0: 6})
    assert topic in cauce("group", "describe", group)

    def reset(*words):
        (moved,) = cauce("group", "reset-offsets", group, *words, "--json")
        return {one["partition"]: (one["before"], one["after"]) for one in moved}

    assert reset("--all-topics", "--shift", -2, "--dry-run") == {0: (6, 4)}
    assert described() == (4, {0: 6})
    assert reset("--all-topics", "--shift", -2) == {0: (6, 4)}
    assert reset("--topic", topic, "--to-latest") == {0: (4, 10), 1: (None, 0)}
    assert reset("--topic", f"{topic}:0", "--to-offset", 99) == {0: (10, 10)}
    assert reset("--topic", f"{topic}:0", "--to-timestamp", "1h") == {0: (10, 0)}
    assert reset("--topic", f"{topic}:0", "--to-timestamp", "2100-01-01T00:00:00Z") == {0: (0, 10)}
    assert reset("--topic", f"{topic}:0", "--to-earliest") == {0: (10, 0)}
    assert described() == (10, {0: 0, 1: 0})
    assert "no partition 7" in cauce(
        "group", "reset-offsets", group, "--topic", f"{topic}:7", "--to-latest", status=NOT_FOUND
    )
    cauce("group", "reset-offsets", group, "--topic", topic, status=USAGE)

    cauce("group", "delete", group)
    assert cauce("group", "delete", group, status=NOT_FOUND) == f'cauce: there is no group "{group}"\n'
    cauce("group", "delete", group, "--if-exists")
    cauce("group", "describe", group, status=NOT_FOUND)


def test_a_group_with_members_is_described_and_left_alone(cauce, servers, topic, name):
    group = name("group")
    cauce("topic", "create", topic, "--partitions", 2)
    cauce("topic", "produce", topic, stdin="one\n")
    consumer = KafkaConsumer(
        topic, bootstrap_servers=servers, group_id=group, auto_offset_reset="earliest", client_id="ana"
    )
    while not consumer.assignment():
        consumer.poll(100)
    ((found,),) = cauce("group", "describe", group, "--json")
    (member,) = found["members"]
    assert (found["state"], member["client"]) == ("Stable", "ana")
    assert member["partitions"] == [f"{topic}-0", f"{topic}-1"]
    assert {one["member"] for one in found["partitions"]} == {member["id"]}
    assert "stop them first" in cauce("group", "reset-offsets", group, "--topic", topic, "--to-latest", status=FAILED)
    assert "NON_EMPTY_GROUP" in cauce("group", "delete", group, status=FAILED)
    consumer.close()
    cauce("group", "delete", group)


def test_what_was_aborted_is_left_out(cauce, servers, topic, name):
    cauce("topic", "create", topic)
    producer = Producer({"bootstrap.servers": servers, "transactional.id": name("transaction")})
    producer.init_transactions(20)
    for value, ends in (("a", True), ("b", False), ("c", True)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(20)
        producer.commit_transaction(20) if ends else producer.abort_transaction(20)
    consume = ["topic", "consume", topic, "--from-beginning", "--until-end"]
    assert cauce(*consume) == "a\nb\nc\n"
    assert cauce(*consume, "--committed") == "a\nc\n"


@pytest.mark.parametrize("words", [["--acks", "1"], ["--acks", "0", "--size", "4"], ["--compression", "lz4", "--consumers", "2"]])
def test_the_load_generator_reads_all_it_wrote(cauce, words):
    load = ["bench", "kafka", "--partitions", 3, "--rate", 2000, "--duration", 0.5, "--warmup", 0.2, *words]
    (report,) = cauce(*load, "--json")
    assert report["difference"] == 0
    assert report["consumed"]["total"] == report["published"]["total"] >= 1000
    assert (report["confirmed"]["total"] > 0) == ("0" not in words)
    (listed,) = cauce("topic", "list", "--json")
    assert not [one for one in listed if one["topic"].startswith("cauce-bench")]


def test_who_is_not_there_is_told_from_who_refuses(cauce):
    done = subprocess.run(
        [Cauce.executable(), "topic", "list", "--bootstrap", "127.0.0.1:1"], capture_output=True, text=True
    )
    assert (done.returncode, "cannot connect to 127.0.0.1:1" in done.stderr) == (UNREACHABLE, True)
    cauce("topic", "consume", "nothing", status=NOT_FOUND)
    cauce("topic", "nonsense", status=USAGE)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_what_there_is(broker, shell):
    script = subprocess.run([Cauce.executable(), "completions", shell], capture_output=True, text=True, check=True).stdout
    assert "reset-offsets" in script and "describe" in script
