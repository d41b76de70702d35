"""SIGKILL while transactions are committed, again and again on the same data; CAUCE_KILLS as in test_kill.py."""

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
