"""SIGKILL while members commit: no offset whose commit was answered is ever lost."""

import random
import threading

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from kafka.admin import NewTopic

from group_fixtures import PARTITIONS, Admin, group, own_broker  # noqa: F401

ROUNDS = 8


class Committer(threading.Thread):
    """Commits higher and higher offsets, one partition after the other, until it is told to end."""

    def __init__(self, servers, group, topic):
        super().__init__(daemon=True)
        # It would tell of every connection it cannot make.
        quiet = {"log_level": 0}
        self.consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "enable.auto.commit": False, **quiet})
        self.topic = topic
        self.answered = {}
        self.ends = threading.Event()

    def run(self):
        offset = 0
        while not self.ends.is_set():
            offset += 1
            where = TopicPartition(self.topic, offset % PARTITIONS, offset)
            try:
                self.consumer.commit(offsets=[where], asynchronous=False)
                self.answered[where.partition] = offset
            except KafkaException:
                # Perhaps it was kept all the same: an answer may get lost with the broker.
                continue
        self.consumer.close()


@pytest.mark.timeout(180)
def test_no_answered_commit_is_lost(own_broker, group, topic):
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    servers = f"127.0.0.1:{own_broker.ports['kafka']}"
    with Admin(servers) as groups:
        groups.admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    committers = [Committer(servers, f"{group}.{number}", topic) for number in range(5)]
    for committer in committers:
        committer.start()
    for round in range(ROUNDS):
        committers[0].ends.wait(dice.uniform(0.2, 1.0))
        own_broker.kill()
        promised = [dict(committer.answered) for committer in committers]
        own_broker.start()
        with Admin(servers) as groups:
            for number, answered in enumerate(promised):
                name = f"{group}.{number}"
                kept = groups.admin.list_group_offsets(name).get(name, {})
                kept = {where.partition: committed.offset for where, committed in kept.items()}
                for partition, offset in answered.items():
                    found = kept.get(partition, -1)
                    assert found >= offset, f"seed {seed}, round {round}: {name} has {found}, was promised {offset}"
    for committer in committers:
        committer.ends.set()
        committer.join(30)
        assert committer.answered, f"seed {seed}: nothing was committed"
