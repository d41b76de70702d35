"""SIGKILL under load, again and again on the same data: five rounds here, as many as CAUCE_KILLS says in the long mode
(`CAUCE_KILLS=100 tests/run clients`)."""

import os
import random
import threading
import time

import pika
import pytest

from clients import drained, queue

ROUNDS = int(os.environ.get("CAUCE_KILLS", "5"))
QUEUES = ("orders", "payments", "mails")


class Publisher(threading.Thread):
    """Publishes numbered messages, one after the other, and remembers which were confirmed."""

    def __init__(self, broker, number, batch):
        super().__init__(daemon=True)
        self.broker, self.queue, self.batch = broker, QUEUES[number], batch
        self.sent, self.confirmed = set(), set()

    def run(self):
        try:
            channel = pika.BlockingConnection(self.broker.parameters()).channel()
            channel.confirm_delivery()
            for count in range(1_000_000):
                body = f"{self.batch}.{count}"
                self.sent.add(body)
                channel.basic_publish("", self.queue, body.encode(), pika.BasicProperties(delivery_mode=2))
                self.confirmed.add(body)
        except (pika.exceptions.AMQPError, OSError):
            pass


class Consumer(threading.Thread):
    """Takes messages, acknowledges two of three, and notes how each came."""

    def __init__(self, broker, number):
        super().__init__(daemon=True)
        self.broker, self.queue = broker, QUEUES[number]
        self.seen, self.acknowledged = [], set()

    def run(self):
        try:
            channel = pika.BlockingConnection(self.broker.parameters()).channel()
            channel.basic_qos(prefetch_count=20)
            for count, (method, _, body) in enumerate(channel.consume(self.queue)):
                self.seen.append((body.decode(), method.redelivered))
                if count % 3:
                    self.acknowledged.add(body.decode())
                    channel.basic_ack(method.delivery_tag)
        except (pika.exceptions.AMQPError, OSError):
            pass


@pytest.mark.only("cauce")
@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_nothing_confirmed_is_lost_however_often_the_broker_is_killed(own_broker):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    channel = pika.BlockingConnection(own_broker.parameters()).channel()
    for name in QUEUES:
        queue(channel, name)
    channel.exchange_declare("shop", "topic", durable=True)
    channel.queue_bind("orders", "shop", "new.#")
    history = History()
    for batch in range(ROUNDS):
        publishers = [Publisher(own_broker, number, batch) for number in range(3)]
        consumers = [Consumer(own_broker, number) for number in range(2)]
        for thread in publishers + consumers:
            thread.start()
        time.sleep(moments.uniform(0.2, 1.2))
        own_broker.kill()
        for thread in publishers + consumers:
            thread.join(20)
            assert not thread.is_alive(), "a client did not notice that the broker is gone"
        history.add(publishers, consumers)
        own_broker.start()
    channel = pika.BlockingConnection(own_broker.parameters()).channel()
    # Declared as they were: the definitions are intact.
    channel.exchange_declare("shop", "topic", durable=True)
    channel.basic_publish("shop", "new.one", b"through the binding")
    history.check(channel)


class History:
    """All that clients saw over the rounds."""

    def __init__(self):
        self.sent = {name: set() for name in QUEUES}
        self.confirmed = {name: set() for name in QUEUES}
        self.acknowledged = {name: set() for name in QUEUES}
        self.seen = {name: set() for name in QUEUES}

    def add(self, publishers, consumers):
        for publisher in publishers:
            self.sent[publisher.queue] |= publisher.sent
            self.confirmed[publisher.queue] |= publisher.confirmed
        for consumer in consumers:
            for body, redelivered in consumer.seen:
                assert redelivered or body not in self.seen[consumer.queue], f"{body} came twice and was not marked"
                self.seen[consumer.queue].add(body)
            self.acknowledged[consumer.queue] |= consumer.acknowledged

    def check(self, channel):
        assert sum(map(len, self.confirmed.values())) > 30 * ROUNDS, "too little load to say anything"
        for name in QUEUES:
            left = []
            while (got := channel.basic_get(name, auto_ack=True))[0]:
                method, _, body = got
                left.append(body.decode())
                assert method.redelivered or body.decode() not in self.seen[name], f"{body} is not marked"
            if name == "orders":
                assert left.pop() == "through the binding"
            assert len(left) == len(set(left)), "a message waits twice"
            assert set(left) <= self.sent[name], "a message that nobody sent"
            lost = self.confirmed[name] - self.acknowledged[name] - set(left)
            assert not lost, f"lost from {name}: {sorted(lost)[:10]}"


class Worker(threading.Thread):
    """Takes orders and, in one transaction each, acknowledges them and sends word of them to two queues."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.broker = broker
        self.committed = set()

    def run(self):
        try:
            channel = pika.BlockingConnection(self.broker.parameters()).channel()
            channel.basic_qos(prefetch_count=5)
            channel.tx_select()
            for method, _, body in channel.consume("orders"):
                for name in ("payments", "mails"):
                    channel.basic_publish("", name, body, pika.BasicProperties(delivery_mode=2))
                channel.basic_ack(method.delivery_tag)
                channel.tx_commit()
                self.committed.add(body.decode())
        except (pika.exceptions.AMQPError, OSError):
            pass


@pytest.mark.only("cauce")
@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_no_transaction_is_left_half_however_often_the_broker_is_killed(own_broker):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    channel = pika.BlockingConnection(own_broker.parameters()).channel()
    for name in QUEUES:
        queue(channel, name)
    confirmed, committed = set(), set()
    for batch in range(ROUNDS):
        publisher, workers = Publisher(own_broker, 0, batch), [Worker(own_broker) for _ in range(3)]
        for thread in [publisher, *workers]:
            thread.start()
        time.sleep(moments.uniform(0.2, 1.2))
        own_broker.kill()
        for thread in [publisher, *workers]:
            thread.join(20)
            assert not thread.is_alive(), "a client did not notice that the broker is gone"
        confirmed |= publisher.confirmed
        committed |= set().union(*(worker.committed for worker in workers))
        own_broker.start()
    channel = pika.BlockingConnection(own_broker.parameters()).channel()
    orders, payments, mails = (drained(channel, name) for name in QUEUES)
    for bodies in (orders, payments, mails):
        assert len(bodies) == len(set(bodies)), "a message waits twice"
    assert set(payments) == set(mails), "half a transaction"
    assert not set(orders) & set(payments), "a transaction without its acknowledgement"
    assert committed <= set(payments), "a committed transaction is gone"
    assert confirmed <= set(orders) | set(payments), "an acknowledgement without its transaction"
    assert len(committed) > 5 * ROUNDS, "too little load to say anything"
