"""SIGKILL while somebody reads, transforms and writes in transactions, and now and then leaves one open to come back as
another: each record is transformed exactly once."""

import random
import threading
import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from transactional_clients import Confluent

RECORDS = 8000
KILLS = 5
DEATHS = 0.05
PARTITIONS = 2
BATCH_MAX = 20
WAIT_SECONDS = 30

# When all brokers are gone librdkafka 2.16 forgets them and begins anew, but still sends offsets to whom it knew as the
# coordinator of a group, and then waits for a broker that is no more.
KEEP_BROKERS = {"metadata.recovery.strategy": "none", "reconnect.backoff.max.ms": 200, "log_level": 0}


@pytest.mark.timeout(240)
def test_a_pipeline_is_exactly_once(own_broker, name):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    servers, source, target = f"127.0.0.1:{own_broker.ports['kafka']}", name("source"), name("target")
    admin = AdminClient({"bootstrap.servers": servers})
    made = admin.create_topics([NewTopic(source, 1, 1), NewTopic(target, PARTITIONS, 1)])
    [one.result(10) for one in made.values()]
    fill(servers, source)
    pipeline = Pipeline(servers, source, target, name("pipeline"), chance)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.3, 2.0))
        own_broker.kill()
        own_broker.start()
    pipeline.finish()
    expected = [b"%d" % number for number in range(RECORDS)]
    for partition in range(PARTITIONS):
        assert Confluent.read(servers, target, "read_committed", partition) == expected
    print(pipeline.counted)


def fill(servers, topic):
    producer = Producer({"bootstrap.servers": servers})
    for number in range(RECORDS):
        producer.produce(topic, b"%d" % number)
    assert producer.flush(WAIT_SECONDS) == 0


class Pipeline:
    """Copies each record to every partition of the target, and commits how far it has read along with them."""

    def __init__(self, servers, source, target, who, chance):
        self.servers, self.source, self.target, self.who = servers, source, target, who
        self.chance = random.Random(chance.random())
        self.counted = {"committed": 0, "aborted": 0, "reborn": 0}
        self.failure = None
        self.consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": who,
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                **KEEP_BROKERS,
            }
        )
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            self.be_born()
            while self.position < RECORDS:
                self.step()
        except Exception as failure:
            self.failure = failure

    def be_born(self):
        settings = {"bootstrap.servers": self.servers, "transactional.id": self.who, **KEEP_BROKERS}
        self.producer = Producer(settings)
        again(lambda: self.producer.init_transactions(WAIT_SECONDS))
        self.rewind()

    def be_reborn(self):
        self.counted["reborn"] += 1
        self.be_born()

    def rewind(self):
        """To what was committed."""
        asked = [TopicPartition(self.source, 0)]
        committed = again(lambda: self.consumer.committed(asked, WAIT_SECONDS))[0].offset
        self.position = max(committed, 0)
        self.consumer.assign([TopicPartition(self.source, 0, self.position)])

    def step(self):
        messages = [message for message in self.consumer.consume(BATCH_MAX, 0.5) if not message.error()]
        if not messages:
            return
        try:
            self.producer.begin_transaction()
            for message in messages:
                for partition in range(PARTITIONS):
                    self.producer.produce(self.target, message.value(), partition=partition)
            upto = messages[-1].offset() + 1
            offsets = [TopicPartition(self.source, 0, upto)]
            metadata = self.consumer.consumer_group_metadata()
            again(lambda: self.producer.send_offsets_to_transaction(offsets, metadata, WAIT_SECONDS))
            if self.chance.random() < DEATHS:
                return self.be_reborn()
            again(lambda: self.producer.commit_transaction(WAIT_SECONDS))
            self.position = upto
            self.counted["committed"] += 1
        except KafkaException as failure:
            self.give_up(failure.args[0])

    def give_up(self, error):
        if error.txn_requires_abort():
            again(lambda: self.producer.abort_transaction(WAIT_SECONDS))
            self.counted["aborted"] += 1
            self.rewind()
        else:
            assert error.fatal(), error
            self.be_reborn()

    def finish(self):
        self.thread.join(120)
        if self.failure:
            raise self.failure
        assert not self.thread.is_alive(), self.counted
        self.consumer.close()


def again(act):
    """Until it works or can not."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return act()
        except KafkaException as failure:
            if not failure.args[0].retriable() or time.monotonic() > deadline:
                raise
