"""Consumers that come, go, fail and give back, while messages do not all fit in memory: each message is held by one of
them at a time, and in the end has been acknowledged exactly once."""

import os
import random
import socket
import threading
import time

import pika
import pytest

from clients import eventually, waiting

QUEUES = ("orders", "mails", "urgent")
ARGUMENTS = {"orders": {"x-dead-letter-exchange": "shop"}, "mails": {}, "urgent": {"x-max-priority": 5}}
MESSAGES = int(os.environ.get("CAUCE_CHURN", "400"))
WORKERS = 6


@pytest.mark.timeout(60 + MESSAGES // 10)
def test_whatever_consumers_do_each_message_is_done_once(own_broker, broker_kind):
    if broker_kind == "cauce":
        own_broker.stop()
        own_broker.options = ("--memory", "8M")
        own_broker.start()
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    channel = open_channel(own_broker)
    channel.exchange_declare("shop", "direct", durable=True)
    for queue, arguments in ARGUMENTS.items():
        channel.queue_declare(queue, durable=True, arguments=arguments)
        channel.queue_bind(queue, "shop", queue)
    ledger = Ledger()
    workers = [Worker(own_broker, ledger, random.Random(f"{seed} {number}")) for number in range(WORKERS)]
    publisher = threading.Thread(target=publish, args=(own_broker, random.Random(seed)))
    for thread in [publisher, *workers]:
        thread.start()
    publisher.join()
    total = MESSAGES * len(QUEUES)
    eventually(lambda: ledger.is_done(total) or any(worker.failure for worker in workers), within=30 + MESSAGES // 20)
    ledger.over = True
    for worker in workers:
        worker.join()
    assert not (failures := [worker.failure for worker in workers if worker.failure]), failures
    channel = open_channel(own_broker)
    left = {queue: waiting(channel, queue) for queue in QUEUES}
    print(f"{len(ledger.done)} done, {left}")
    assert ledger.is_done(total), f"{len(ledger.done)} of {total} done, waiting: {left}"
    assert set(left.values()) == {0}


def publish(broker, chance):
    channel = open_channel(broker)
    for number in range(MESSAGES):
        for queue in QUEUES:
            body = f"{queue} {number} ".encode().ljust(chance.choice([20, 2_000, 30_000]))
            properties = pika.BasicProperties(delivery_mode=chance.choice([1, 2]), priority=number % 6)
            channel.basic_publish("shop", queue, body, properties)
    channel.connection.close()


def open_channel(broker):
    return pika.BlockingConnection(broker.parameters()).channel()


class Ledger:
    """Who holds what, for all workers."""

    def __init__(self):
        self.lock, self.over = threading.Lock(), False
        self.held, self.given, self.done = {}, set(), set()

    def take(self, worker, name, redelivered):
        with self.lock:
            assert name not in self.held, f"{name} was given to two at once"
            assert name not in self.done, f"{name} came after it was acknowledged"
            # Dead letters are new where they arrive.
            assert redelivered or name not in self.given or name.startswith("orders"), f"{name} is not marked"
            self.held[name] = worker
            self.given.add(name)

    def release(self, names, done=False):
        with self.lock:
            for name in names:
                del self.held[name]
                if done:
                    self.done.add(name)

    def is_done(self, total):
        return len(self.done) == total and not self.held


class Worker(threading.Thread):
    def __init__(self, broker, ledger, chance):
        super().__init__(daemon=True)
        self.broker, self.ledger, self.chance = broker, ledger, chance
        self.failure = None

    def run(self):
        try:
            while not self.ledger.over:
                self.live()
        except Exception as error:
            self.failure = repr(error)

    def live(self):
        """One connection, from its beginning to one of its ends."""
        channel = open_channel(self.broker)
        channel.basic_qos(prefetch_count=self.chance.choice([1, 3, 20, 100]))
        self.mine = {}
        tag = self.consume(channel)
        ends_at = time.monotonic() + self.chance.uniform(0.05, 0.5)
        while time.monotonic() < ends_at:
            channel.connection.process_data_events(time_limit=0.02)
            self.settle_some(channel)
            if self.chance.random() < 0.05:
                channel.basic_cancel(tag)
                tag = self.consume(channel)
        # What still stands in pika's own buffers was given to nobody that the ledger knows.
        self.ledger.release(self.mine.values())
        match self.chance.choice(["close", "close channel", "cut"]):
            case "close":
                channel.connection.close()
            case "close channel":
                channel.close()
                channel.connection.close()
            case "cut":
                channel.connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)

    def consume(self, channel):
        return channel.basic_consume(self.chance.choice(QUEUES), self.take)

    def take(self, _channel, method, _properties, body):
        name = " ".join(body[:30].decode().split()[:2])
        self.ledger.take(self, name, method.redelivered)
        self.mine[method.delivery_tag] = name

    def settle_some(self, channel):
        for tag in self.chance.sample(list(self.mine), self.chance.randint(0, len(self.mine))):
            if tag not in self.mine:
                continue
            multiple = self.chance.random() < 0.1
            tags = [one for one in self.mine if one <= tag] if multiple else [tag]
            names = [self.mine.pop(one) for one in tags]
            match self.chance.choice(["ack"] * 6 + ["release", "reject"]):
                case "ack":
                    self.ledger.release(names, done=True)
                    channel.basic_ack(tag, multiple=multiple)
                case "reject" if all(name.startswith("orders") for name in names):
                    self.ledger.release(names)
                    channel.basic_nack(tag, multiple=multiple, requeue=False)
                case _:
                    self.ledger.release(names)
                    channel.basic_nack(tag, multiple=multiple, requeue=True)
        # An answer: the settlements before it were read, so that a cut cannot lose them.
        channel.queue_declare("orders", passive=True)
