"""Groups as administrators see and change them, and offsets as anybody commits them."""

import kafka.errors
import pytest
from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupTopicPartitions
from confluent_kafka import TopicPartition as ConfluentPartition
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import MemberToRemove, OffsetSpec
from kafka.structs import OffsetAndMetadata

from group_fixtures import PARTITIONS, RECORDS, broker, filled, group, groups, members  # noqa: F401
from group_members import wait_for

EACH = RECORDS // PARTITIONS


@pytest.fixture
def alone(servers, group):
    """Somebody who chooses partitions without the group's help, and commits for it."""
    consumer = KafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False)
    yield consumer
    consumer.close()


def at(topic, partition=0):
    return TopicPartition(topic, partition)


def test_offsets_come_back_as_they_were_committed(groups, alone, group, filled):
    alone.assign([at(filled, number) for number in range(PARTITIONS)])
    alone.commit({at(filled): OffsetAndMetadata(7, "so far", 0), at(filled, 1): OffsetAndMetadata(0, "", -1)})
    committed = groups.admin.list_group_offsets(group)[group]
    assert committed[at(filled)] == OffsetAndMetadata(7, "so far", 0)
    assert committed[at(filled, 1)] == OffsetAndMetadata(0, "", -1)
    assert alone.committed(at(filled, 2)) is None
    # Of partitions that are asked for, nothing is an answer too.
    some = groups.admin.list_group_offsets({group: [at(filled), at(filled, 3)]})[group]
    assert some[at(filled)].offset == 7
    assert some[at(filled, 3)].offset == -1


def test_what_cannot_be_committed_is_said_for_each_partition(groups, group, filled):
    outcome = groups.admin.alter_group_offsets(
        group,
        {
            at(filled): OffsetAndMetadata(1, "", -1),
            at(filled, 1): OffsetAndMetadata(1, "x" * 5_000, -1),
            at(filled, 99): OffsetAndMetadata(1, "", -1),
            at("nowhere"): OffsetAndMetadata(1, "", -1),
        },
    )
    assert {where: error for where, error in outcome.items()} == {
        at(filled): kafka.errors.NoError,
        at(filled, 1): kafka.errors.OffsetMetadataTooLargeError,
        at(filled, 99): kafka.errors.UnknownTopicOrPartitionError,
        at("nowhere"): kafka.errors.UnknownTopicOrPartitionError,
    }


def test_offsets_are_reset_while_the_group_is_empty(servers, groups, group, members, filled):
    member = members("confluent-kafka", servers, group, filled)
    groups.shared_by(group, 1)
    wait_for("no lag", lambda: groups.lag(group, EACH) == 0)
    refused = groups.admin.alter_group_offsets(group, {at(filled): OffsetAndMetadata(1, "", -1)})
    assert refused == {at(filled): kafka.errors.UnknownMemberIdError}
    member.leave()
    groups.admin.reset_group_offsets(group, {at(filled): OffsetSpec.EARLIEST})
    assert groups.lag(group, EACH) == EACH
    again = members("kafka-python", servers, group, filled)
    wait_for("no lag", lambda: groups.lag(group, EACH) == 0)
    assert sorted(again.leave()) == [(0, offset) for offset in range(EACH)]


def test_groups_are_listed_by_state_and_kind(servers, groups, group, alone, members, filled, name):
    alone.assign([at(filled)])
    alone.commit({at(filled): OffsetAndMetadata(1, "", -1)})
    busy = name("busy")
    members("aiokafka", servers, busy, filled)
    groups.shared_by(busy, 1)

    def listed(**filters):
        found = {entry["group_id"]: entry for entry in groups.admin.list_groups(**filters)}
        return {which: found[which] for which in (group, busy) if which in found}

    assert listed().keys() == {group, busy}
    assert listed(states_filter=["Stable"]) == {
        busy: {"group_id": busy, "protocol_type": "consumer", "group_state": "Stable", "group_type": "classic"}
    }
    assert listed(states_filter=["Empty"]).keys() == {group}
    assert listed(types_filter=["classic"]).keys() == {group, busy}
    assert listed(types_filter=["consumer"]) == {}


def test_groups_with_members_are_not_deleted(servers, groups, group, members, filled):
    member = members("aiokafka", servers, group, filled)
    groups.shared_by(group, 1)
    assert groups.deleted(group) == "NonEmptyGroupError"
    member.leave()
    assert groups.deleted(group) == "OK"
    assert groups.deleted(group) == "GroupIdNotFoundError"
    assert groups.describe(group)["group_state"] == "Dead"


def test_offsets_are_deleted_unless_the_group_reads_the_topic(servers, groups, group, members, filled):
    member = members("confluent-kafka", servers, group, filled)
    groups.shared_by(group, 1)
    wait_for("no lag", lambda: groups.lag(group, EACH) == 0)
    outcome = groups.admin.delete_group_offsets(group, [at(filled)])
    assert outcome == {at(filled): kafka.errors.GroupSubscribedToTopicError}
    member.leave()
    outcome = groups.admin.delete_group_offsets(group, [at(filled), at("nowhere")])
    assert outcome == {at(filled): kafka.errors.NoError, at("nowhere"): kafka.errors.UnknownTopicOrPartitionError}
    assert at(filled) not in groups.admin.list_group_offsets(group)[group]
    assert at(filled, 1) in groups.admin.list_group_offsets(group)[group]


def test_an_administrator_sends_members_away(servers, groups, group, members, filled):
    member = members("confluent-kafka", servers, group, filled, instance="i1")
    groups.shared_by(group, 1)
    member.kill()
    assert groups.describe(group)["group_state"] == "Stable"
    groups.admin.remove_group_members(group, [MemberToRemove(group_instance_id="i1")])
    assert groups.describe(group)["group_state"] == "Empty"


def test_librdkafkas_administrator_sees_the_same(servers, confluent_admin, groups, group, members, filled):
    member = members("confluent-kafka", servers, group, filled)
    groups.shared_by(group, 1)
    wait_for("no lag", lambda: groups.lag(group, EACH) == 0)
    described = confluent_admin.describe_consumer_groups([group], include_authorized_operations=True)[group].result(20)
    assert described.state == ConsumerGroupState.STABLE
    (view,) = described.members
    assert {part.partition for part in view.assignment.topic_partitions} == set(range(PARTITIONS))
    assert view.host == "/127.0.0.1"
    listed = confluent_admin.list_consumer_groups(states={ConsumerGroupState.STABLE}).result(20)
    assert group in {entry.group_id for entry in listed.valid}
    member.leave()
    change = ConsumerGroupTopicPartitions(group, [ConfluentPartition(filled, 0, 3)])
    confluent_admin.alter_consumer_group_offsets([change])[group].result(20)
    ask = ConsumerGroupTopicPartitions(group, [ConfluentPartition(filled, 0), ConfluentPartition(filled, 1)])
    found = confluent_admin.list_consumer_group_offsets([ask])[group].result(20)
    assert [part.offset for part in found.topic_partitions] == [3, EACH]
    confluent_admin.delete_consumer_groups([group])[group].result(20)
    assert groups.describe(group)["group_state"] == "Dead"


def test_a_topic_that_comes_again_is_read_from_its_beginning(groups, alone, group, filled):
    alone.assign([at(filled)])
    alone.commit({at(filled): OffsetAndMetadata(50, "", -1)})
    groups.admin.delete_topics([filled])
    assert groups.admin.list_group_offsets(group)[group] == {}


@pytest.mark.parametrize("version", [(0, 11), (1, 1), (2, 1), (2, 3), (2, 5), (3, 0), (3, 9)])
def test_clients_of_earlier_kafkas_share_a_topic(servers, group, filled, version):
    settings = {
        "bootstrap_servers": servers,
        "group_id": group,
        "api_version": version,
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    consumer = KafkaConsumer(filled, consumer_timeout_ms=10_000, **settings)
    read = [message.value for _, message in zip(range(RECORDS), consumer, strict=False)]
    assert len(set(read)) == RECORDS
    consumer.commit()
    consumer.close()
    again = KafkaConsumer(**settings)
    assert again.committed(at(filled)) == EACH
    again.close()


def test_a_group_rewinds_and_commits_by_hand(servers, group, filled):
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([filled])
    seen = []
    while len(seen) < RECORDS:
        seen += [(message.partition(), message.offset()) for message in consumer.consume(100, timeout=1)]
    consumer.commit(offsets=[ConfluentPartition(filled, 2, 5)], asynchronous=False)
    for number in range(PARTITIONS):
        consumer.seek(ConfluentPartition(filled, number, EACH - 1))
    again = []
    while len(again) < PARTITIONS:
        again += [(message.partition(), message.offset()) for message in consumer.consume(100, timeout=1)]
    assert sorted(again) == [(number, EACH - 1) for number in range(PARTITIONS)]
    (committed,) = consumer.committed([ConfluentPartition(filled, 2)], timeout=10)
    assert committed.offset == 5
    consumer.close()
