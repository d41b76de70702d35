"""Kafka's own command-line programs, unchanged, do here what they do at home."""

import json
import re

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from kafka_clients import Confluent

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def run(tools, servers):
    """Runs a program against the broker; what it prints, without the spaces that align columns."""

    def run(program, *arguments, input=None):
        printed = tools.run(program, "--bootstrap-server", servers, *arguments, input=input)
        return [" ".join(line.split()) for line in printed.splitlines() if line.strip()]

    return run


@pytest.fixture
def fails(tools, servers):
    """Runs a program that must fail; what it says."""

    def fails(program, *arguments):
        done = tools.attempt(program, "--bootstrap-server", servers, *arguments)
        said = done.stdout + done.stderr
        assert done.returncode != 0 or "Error" in said, said
        return said

    return fails


def test_topics(run, fails, topic):
    made = run("kafka-topics", "--create", "--topic", topic, "--partitions", 3, "--config", "retention.ms=3600000")
    assert made[-1] == f"Created topic {topic}."
    assert "already exists" in fails("kafka-topics", "--create", "--topic", topic)
    assert "replication factor 3" in fails("kafka-topics", "--create", "--topic", topic + "3", "--replication-factor", 3)
    run("kafka-topics", "--alter", "--topic", topic, "--partitions", 5)
    assert topic in run("kafka-topics", "--list")
    heading, *partitions = run("kafka-topics", "--describe", "--topic", topic)
    assert re.fullmatch(
        rf"Topic: {topic} TopicId: \S{{22}} PartitionCount: 5 ReplicationFactor: 1 Configs: retention.ms=3600000", heading
    )
    expected = "Topic: {} Partition: {} Leader: 1 Replicas: 1 Isr: 1 Elr: LastKnownElr:"
    assert partitions == [expected.format(topic, number) for number in range(5)]
    assert run("kafka-topics", "--describe", "--under-replicated-partitions") == []
    run("kafka-topics", "--delete", "--topic", topic)
    assert topic not in run("kafka-topics", "--list")


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_console_producer_and_consumer(run, topic, compression):
    lines = ["h:1\ta:uno", "h:2,h:3\tb:dos", "h:4\ta:tres"]
    reading = ["--property", "parse.key=true", "--property", "key.separator=:", "--property", "parse.headers=true"]
    more = ["--compression-codec", compression, "--producer-property", "linger.ms=50"]
    run("kafka-console-producer", "--topic", topic, *reading, *more, input="\n".join(lines) + "\n")
    shown = ["key", "partition", "offset", "headers"]
    printing = [word for what in shown for word in ("--property", f"print.{what}=true")]
    read = run("kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages", 3, *printing)
    assert read == [
        "Partition:0 Offset:0 h:1 a uno",
        "Partition:0 Offset:1 h:2,h:3 b dos",
        "Partition:0 Offset:2 h:4 a tres",
    ]
    part = ["--partition", 0, "--offset", 1, "--max-messages", 1]
    assert run("kafka-console-consumer", "--topic", topic, *part) == ["dos"]


def test_consumer_groups(run, fails, servers, name, topic):
    group = name("group")
    Confluent.produce(servers, topic, [b"%d" % number for number in range(10)])
    consumer = KafkaConsumer(topic, bootstrap_servers=servers, group_id=group, auto_offset_reset="earliest", client_id="mine")
    assert len([next(consumer) for _ in range(10)]) == 10
    consumer.commit()
    assert group in run("kafka-consumer-groups", "--list")
    described = run("kafka-consumer-groups", "--describe", "--group", group)[-1]
    assert re.fullmatch(rf"{group} {topic} 0 10 10 0 mine-\S+ /127.0.0.1 mine", described)
    members = run("kafka-consumer-groups", "--describe", "--group", group, "--members", "--verbose")[-1]
    assert f"{topic}:0" in members or f"{topic}(0)" in members
    assert "Stable" in run("kafka-consumer-groups", "--describe", "--group", group, "--state")[-1]
    assert "not empty" in fails("kafka-consumer-groups", "--delete", "--group", group)
    consumer.close()

    def reset(*arguments):
        words = ["--reset-offsets", "--group", group, "--topic", topic, "--execute", *arguments]
        return run("kafka-consumer-groups", *words)[-1]

    assert reset("--to-offset", 3) == f"{group} {topic} 0 3"
    assert reset("--shift-by", -2) == f"{group} {topic} 0 1"
    assert reset("--to-datetime", "2001-01-01T00:00:00.000") == f"{group} {topic} 0 0"
    assert run("kafka-consumer-groups", "--describe", "--group", group)[-1] == f"{group} {topic} 0 0 10 10 - - -"
    run("kafka-consumer-groups", "--delete-offsets", "--group", group, "--topic", topic)
    run("kafka-consumer-groups", "--delete", "--group", group)
    assert group not in run("kafka-groups", "--list")


def test_configs(run, fails, topic):
    run("kafka-topics", "--create", "--topic", topic)
    entity = ["--entity-type", "topics", "--entity-name", topic]
    added = "retention.ms=1000000,cleanup.policy=[compact,delete]"
    run("kafka-configs", *entity, "--alter", "--add-config", added)
    shown = "\n".join(run("kafka-configs", *entity, "--describe"))
    assert "retention.ms=1000000 " in shown and "cleanup.policy=compact,delete " in shown
    run("kafka-configs", *entity, "--alter", "--delete-config", "cleanup.policy")
    assert "cleanup.policy=delete " in "\n".join(run("kafka-configs", *entity, "--describe", "--all"))
    assert "retention.mss" in fails("kafka-configs", *entity, "--alter", "--add-config", "retention.mss=1")
    broker = "\n".join(run("kafka-configs", "--entity-type", "brokers", "--entity-name", 1, "--describe", "--all"))
    assert "num.partitions=1 " in broker


def test_what_is_set_for_groups_is_shown_as_nothing(run, servers, name, topic):
    group = name("group")
    Confluent.produce(servers, topic, [b"1"])
    consumer = KafkaConsumer(bootstrap_servers=servers, group_id=group)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    next(consumer)
    consumer.commit()
    consumer.close()
    entity = ["--entity-type", "groups", "--entity-name", group]
    assert run("kafka-configs", *entity, "--describe") == [f"Dynamic configs for group {group} are:"]


def test_offsets_and_the_deletion_of_records(run, servers, tmp_path, topic):
    # The records say they are old.
    run("kafka-topics", "--create", "--topic", topic, "--config", "retention.ms=-1")
    producer = KafkaProducer(bootstrap_servers=servers)
    for number in range(5):
        producer.send(topic, b"%d" % number, timestamp_ms=1_600_000_000_000 + number)
    producer.close()

    def offset(time):
        (line,) = run("kafka-get-offsets", "--topic", topic, "--time", time)
        return line

    assert offset("latest") == f"{topic}:0:5"
    assert offset("earliest") == f"{topic}:0:0"
    assert offset("max-timestamp") == f"{topic}:0:4"
    assert offset(1_600_000_000_002) == f"{topic}:0:2"
    below = {"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 3}]}
    (tmp_path / "below.json").write_text(json.dumps(below))
    deleted = run("kafka-delete-records", "--offset-json-file", tmp_path / "below.json")
    assert deleted[-1] == f"partition: {topic}-0 low_watermark: 3"
    assert offset("earliest") == f"{topic}:0:3"


def test_log_dirs(run, broker, servers, topic):
    Confluent.produce(servers, topic, [b"x" * 1000])
    described = json.loads(run("kafka-log-dirs", "--describe", "--topic-list", topic)[-1])
    (directory,) = described["brokers"][0]["logDirs"]
    assert directory["logDir"] == str(broker.data) and directory["error"] is None
    (partition,) = directory["partitions"]
    assert partition["partition"] == f"{topic}-0" and partition["size"] > 1000


def test_the_cluster_and_its_leaders(tools, run, fails, servers, topic):
    host, port = servers.split(":")
    assert re.fullmatch(r"Cluster ID: \S{22}", tools.run("kafka-cluster", "cluster-id", "--bootstrap-server", servers).strip())
    listed = tools.run("kafka-cluster", "list-endpoints", "--bootstrap-server", servers).splitlines()[-1]
    assert listed.split()[:3] == ["1", host, port]
    assert f"{servers} (id: 1 rack: null isFenced: false) -> (" in run("kafka-broker-api-versions")
    run("kafka-topics", "--create", "--topic", topic)
    one = ["--election-type", "preferred", "--topic", topic, "--partition"]
    elected = run("kafka-leader-election", *one, 0)
    assert elected == [f"Valid replica already elected for partitions {topic}-0"]
    assert "Successfully" not in "".join(run("kafka-leader-election", "--election-type", "preferred", "--all-topic-partitions"))
    assert "no such partition" in fails("kafka-leader-election", *one, 1)


def test_transactions(tools, run, servers, name, topic):
    from confluent_kafka import Producer

    identity = name("transactions")
    run("kafka-topics", "--create", "--topic", topic)
    producer = Producer({"bootstrap.servers": servers, "transactional.id": identity})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    producer.flush(20)

    def transactions(*words):
        printed = tools.run("kafka-transactions", "--bootstrap-server", servers, *words)
        return [line.split() for line in printed.splitlines() if line.strip()]

    (listed,) = [row for row in transactions("list") if row[0] == identity]
    assert listed[1] == "1" and listed[3] == "Ongoing"
    _, described = transactions("describe", "--transactional-id", identity)
    assert described[1] == identity and "Ongoing" in described and f"{topic}-0" in described
    _, of_producer = transactions("describe-producers", "--topic", topic, "--partition", 0)
    assert of_producer[0] == listed[2] and of_producer[-1] == "0"
    # Aborted from outside, as an operator would a transaction that hangs.
    transactions("abort", "--topic", topic, "--partition", 0, "--start-offset", 0)
    assert run("kafka-get-offsets", "--topic", topic, "--time", "latest") == [f"{topic}:0:2"]
