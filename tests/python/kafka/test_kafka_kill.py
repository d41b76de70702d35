"""SIGKILL while clients produce: what was answered is there afterwards, and with idempotence it is there once."""

import random
import threading
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

KILLS = 6
PARTITIONS = 3


@pytest.mark.timeout(180)
def test_nothing_answered_is_lost_and_nothing_doubled(own_broker, name):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    servers, topic = f"127.0.0.1:{own_broker.ports['kafka']}", name("topic")
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(10)
    writer = Writer(servers, topic)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.1, 0.8))
        own_broker.kill()
        own_broker.start()
    time.sleep(0.5)
    writer.finish()
    assert not writer.failed, writer.failed[:3]
    assert len(writer.answered) == writer.sent > 100
    stored = read(servers, topic, writer.answered)
    for partition, records in stored.items():
        numbers = [number for _, number in records]
        assert numbers == sorted(set(numbers)), f"partition {partition}"
        assert [offset for offset, _ in records] == list(range(len(records)))
    found = {number: (partition, offset) for partition, records in stored.items() for offset, number in records}
    assert found == writer.answered


class Writer:
    """Writes one number after the other, and remembers where each is said to be."""

    def __init__(self, servers, topic):
        settings = {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "linger.ms": 2,
            "compression.type": "lz4",
            "reconnect.backoff.max.ms": 200,
            "log_level": 0,
        }
        self.producer, self.topic = Producer(settings), topic
        self.sent, self.answered, self.failed, self.stopping = 0, {}, [], False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopping:
            # A few hundred are on their way, as with a busy client.
            if self.sent - len(self.answered) - len(self.failed) < 300:
                number, self.sent = self.sent, self.sent + 1
                self.producer.produce(
                    self.topic, b"%d" % number, partition=number % PARTITIONS, on_delivery=self.delivered
                )
            self.producer.poll(0.0005)

    def delivered(self, error, message):
        if error:
            self.failed.append(error)
        else:
            self.answered[int(message.value())] = (message.partition(), message.offset())

    def finish(self):
        self.stopping = True
        self.thread.join()
        assert self.producer.flush(60) == 0


def read(servers, topic, expected):
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "nobody", "enable.auto.commit": False})
    partitions = [TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)]
    ends = {partition.partition: consumer.get_watermark_offsets(partition, timeout=10)[1] for partition in partitions}
    consumer.assign(partitions)
    stored = {partition: [] for partition in ends}
    while any(len(stored[partition]) < end for partition, end in ends.items()):
        message = consumer.poll(20)
        assert message is not None and not message.error(), message and message.error()
        stored[message.partition()].append((message.offset(), int(message.value())))
    consumer.close()
    assert sum(ends.values()) == len(expected)
    return stored
