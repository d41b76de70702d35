"""Administration, as clients offer it: topics, their partitions and their settings."""

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from kafka.admin import NewTopic as NewTopicOfKafkaPython

from kafka_clients import Confluent


def test_topics_come_and_go(confluent_admin, topic):
    done(confluent_admin.create_topics([NewTopic(topic, 3, 1)]))
    known = confluent_admin.list_topics(timeout=10).topics[topic]
    assert sorted(known.partitions) == [0, 1, 2]
    assert all(partition.leader == 1 and partition.replicas == [1] for partition in known.partitions.values())
    with pytest.raises(KafkaException, match="TOPIC_ALREADY_EXISTS"):
        done(confluent_admin.create_topics([NewTopic(topic, 3, 1)]))
    done(confluent_admin.create_partitions([NewPartitions(topic, 5)]))
    assert len(confluent_admin.list_topics(timeout=10).topics[topic].partitions) == 5
    done(confluent_admin.delete_topics([topic]))
    assert topic not in confluent_admin.list_topics(timeout=10).topics
    done(confluent_admin.create_topics([NewTopic(topic, 1, 1)]))


def test_what_one_node_cannot_hold_is_refused(confluent_admin, topic):
    with pytest.raises(KafkaException, match="replication factor 3"):
        done(confluent_admin.create_topics([NewTopic(topic, 1, 3)]))
    with pytest.raises(KafkaException, match="min.insync.replicas"):
        done(confluent_admin.create_topics([NewTopic(topic, 1, 1, config={"min.insync.replicas": "2"})]))
    with pytest.raises(KafkaException, match="retention.mss"):
        done(confluent_admin.create_topics([NewTopic(topic, 1, 1, config={"retention.mss": "2"})]))
    done(confluent_admin.create_topics([NewTopic(topic, 1, 1)], validate_only=True))
    assert topic not in confluent_admin.list_topics(timeout=10).topics


def test_settings_are_shown_and_changed(confluent_admin, topic):
    config = {"retention.ms": "1234567", "cleanup.policy": "compact"}
    done(confluent_admin.create_topics([NewTopic(topic, 1, 1, config=config)]))
    shown = settings(confluent_admin, topic)
    assert (shown["retention.ms"].value, shown["cleanup.policy"].value) == ("1234567", "compact")
    assert shown["segment.bytes"].value == str(1 << 30)
    assert not shown["retention.ms"].is_default and shown["segment.bytes"].is_default
    change = [
        ConfigEntry("segment.bytes", "2097152", incremental_operation=AlterConfigOpType.SET),
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE),
        ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.APPEND),
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=change)
    done(confluent_admin.incremental_alter_configs([resource]))
    shown = settings(confluent_admin, topic)
    assert shown["segment.bytes"].value == "2097152"
    assert shown["retention.ms"].value == str(7 * 24 * 3600 * 1000)
    assert shown["cleanup.policy"].value == "compact,delete"
    wrong = ConfigEntry("segment.byte", "2097152", incremental_operation=AlterConfigOpType.SET)
    with pytest.raises(KafkaException, match="segment.byte"):
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[wrong])
        done(confluent_admin.incremental_alter_configs([resource]))


def test_the_broker_shows_its_settings_too(confluent_admin):
    (shown,) = confluent_admin.describe_configs([ConfigResource(ResourceType.BROKER, "1")]).values()
    shown = shown.result(10)
    assert shown["num.partitions"].value == "1"
    assert shown["log.retention.ms"].value == str(7 * 24 * 3600 * 1000)
    assert shown["log.retention.ms"].is_read_only


def test_settings_and_partitions_outlive_a_kill(own_broker, name):
    from confluent_kafka.admin import AdminClient

    servers, topic = f"127.0.0.1:{own_broker.ports['kafka']}", name("topic")
    admin = AdminClient({"bootstrap.servers": servers})
    done(admin.create_topics([NewTopic(topic, 1, 1, config={"retention.ms": "1000000"})]))
    done(admin.create_partitions([NewPartitions(topic, 4)]))
    change = [ConfigEntry("segment.ms", "90000", incremental_operation=AlterConfigOpType.SET)]
    done(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=change)]))
    Confluent.produce(servers, topic, [b"1", b"2", b"3"])
    done(admin.delete_records([TopicPartition(topic, 0, 2)]))
    own_broker.kill()
    own_broker.start()
    admin = AdminClient({"bootstrap.servers": servers})
    assert len(admin.list_topics(timeout=10).topics[topic].partitions) == 4
    shown = settings(admin, topic)
    assert (shown["retention.ms"].value, shown["segment.ms"].value) == ("1000000", "90000")
    assert offset(admin, topic, OffsetSpec.earliest()) == 2
    assert offset(admin, topic, OffsetSpec.latest()) == 3


def test_records_are_deleted_and_sizes_shown(admin, confluent_admin, servers, topic):
    Confluent.produce(servers, topic, [b"x" * 1000] * 10)
    ((partition, deleted),) = confluent_admin.delete_records([TopicPartition(topic, 0, 4)]).items()
    assert deleted.result(10).low_watermark == 4
    assert offset(confluent_admin, topic, OffsetSpec.earliest()) == 4
    (directory,) = admin.describe_log_dirs()
    sizes = str(directory)
    assert topic in sizes


def test_the_cluster_is_one_node(confluent_admin, servers):
    cluster = confluent_admin.describe_cluster().result(10)
    assert [f"{node.host}:{node.port}" for node in cluster.nodes] == [servers]
    assert cluster.controller.id == 1
    assert len(cluster.cluster_id) == 22


def test_kafka_python_administers_too(admin, topic):
    admin.create_topics([NewTopicOfKafkaPython(topic, 2, 1)])
    (described,) = admin.describe_topics([topic])
    assert len(described["partitions"]) == 2
    assert topic in admin.list_topics()
    admin.create_partitions({topic: 3})
    (described,) = admin.describe_topics([topic])
    assert len(described["partitions"]) == 3
    admin.delete_topics([topic])
    assert topic not in admin.list_topics()


def settings(admin, topic):
    (shown,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return shown.result(10)


def offset(admin, topic, spec):
    (found,) = admin.list_offsets({TopicPartition(topic, 0): spec}).values()
    return found.result(10).offset


def done(futures):
    for future in futures.values():
        future.result(20)
