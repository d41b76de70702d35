"""SIGKILL under load, again and again on the same data, in both ways to flush: five rounds each here, as many as
CAUCE_KILLS says in the long mode (`CAUCE_KILLS=100 tests/run clients`).

             ┌─ new.* ──> orders ──(rejected)──> letters ──> dead
publish ── shop ─ new.* ─> mails
             └─ paid.* ─> payments
"""

import os
import random
import threading
import time
from collections import Counter

import pika
import pytest
from pamqp import body, commands

from wire import Wire, content

ROUNDS = int(os.environ.get("CAUCE_KILLS", "5"))
WINDOW = 100
QUEUES = {"new.one": ("orders", "mails"), "paid.one": ("payments",)}
ARGUMENTS = {"orders": {"x-dead-letter-exchange": "letters"}, "mails": {"x-max-priority": 3}, "payments": {}, "dead": {}}


@pytest.mark.only("cauce")
@pytest.mark.parametrize("flush", ["always", "os"])
@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_nothing_confirmed_is_lost_however_often_the_broker_is_killed(own_broker, flush):
    own_broker.stop()
    own_broker.options = ("--flush", flush)
    own_broker.start()
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    declare(own_broker)
    history = History()
    for life in range(ROUNDS):
        clients = [Publisher(own_broker, key, life) for key in QUEUES for _ in range(2)]
        clients += [Consumer(own_broker, queue, life) for queue in ("orders", "orders", "payments")]
        clients += [Declarer(own_broker, life)]
        for client in clients:
            client.start()
        time.sleep(moments.uniform(0.1, 1.0))
        own_broker.kill()
        for client in clients:
            client.join(20)
            assert not client.is_alive(), "a client did not notice that the broker is gone"
            assert not client.failure, client.failure
        own_broker.start()
        history.add(clients)
        history.check_definitions(own_broker)
    history.check_messages(own_broker)


def declare(broker):
    """As often as one likes: it is refused when anything is not as it was."""
    channel = open_channel(broker)
    channel.exchange_declare("shop", "topic", durable=True)
    channel.exchange_declare("letters", "fanout", durable=True)
    for queue, arguments in ARGUMENTS.items():
        channel.queue_declare(queue, durable=True, arguments=arguments)
    for key, queues in QUEUES.items():
        for queue in queues:
            channel.queue_bind(queue, "shop", key.replace("one", "*"))
    channel.queue_bind("dead", "letters")


def open_channel(broker):
    return pika.BlockingConnection(broker.parameters()).channel()


class Client(threading.Thread):
    """Works until the broker is gone. What else stops it is its failure."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.broker, self.failure = broker, None

    def run(self):
        try:
            self.work()
        except (pika.exceptions.AMQPConnectionError, pika.exceptions.ChannelWrongStateError, OSError):
            pass
        except Exception as error:
            self.failure = f"{type(self).__name__}: {error!r}"


class Publisher(Client):
    """Keeps a window of persistent messages in flight, and remembers which were confirmed."""

    numbers = iter(range(1_000_000))

    def __init__(self, broker, key, life):
        super().__init__(broker)
        self.key, self.stem = key, f"{life:03}.{next(self.numbers)}"
        self.sent, self.confirmed, self.open = set(), set(), {}

    def work(self):
        with Wire(self.broker.port) as wire:
            wire.login()
            wire.open_channel()
            wire.send(commands.Confirm.Select(), 1)
            wire.expect(commands.Confirm.SelectOk)
            for tag in range(1, 1_000_000):
                self.publish(wire, tag, f"{self.stem}.{tag:06}")
                while len(self.open) >= WINDOW:
                    if not (received := wire.receive()):
                        return
                    self.hear(received[1])

    def publish(self, wire, tag, text):
        self.sent.add(text)
        self.open[tag] = text
        wire.send(commands.Basic.Publish(exchange="shop", routing_key=self.key), 1)
        wire.send(content(len(text), delivery_mode=2), 1)
        wire.send(body.ContentBody(text.encode()), 1)

    def hear(self, answer):
        assert isinstance(answer, commands.Basic.Ack), answer
        tags = [tag for tag in self.open if tag <= answer.delivery_tag] if answer.multiple else [answer.delivery_tag]
        self.confirmed |= {self.open.pop(tag) for tag in tags}


class Consumer(Client):
    """Takes messages; acknowledges some, rejects some, gives some back once, and holds the rest until the end."""

    def __init__(self, broker, queue, life):
        super().__init__(broker)
        self.queue, self.chance = queue, random.Random(f"{queue} {life}")
        self.seen, self.settled, self.rejected = [], set(), set()

    def work(self):
        channel = open_channel(self.broker)
        channel.basic_qos(prefetch_count=200)
        for method, _, data in channel.consume(self.queue):
            text = data.decode()
            self.seen.append((text, method.redelivered))
            match self.chance.choice(["ack", "ack", "ack", "reject", "release", "hold"]):
                case "ack":
                    self.settled.add(text)
                    channel.basic_ack(method.delivery_tag)
                case "reject" if self.queue == "orders":
                    self.rejected.add(text)
                    channel.basic_reject(method.delivery_tag, requeue=False)
                case "release" if not method.redelivered:
                    channel.basic_nack(method.delivery_tag, requeue=True)


class Declarer(Client):
    """Declares, binds and deletes queues: what was answered is a promise too."""

    def __init__(self, broker, life):
        super().__init__(broker)
        self.stem = f"extra.{life}"
        self.declared, self.deleted, self.unsure = set(), set(), set()

    def work(self):
        channel = open_channel(self.broker)
        for number in range(1_000_000):
            queue = f"{self.stem}.{number}"
            self.unsure = {queue}
            channel.queue_declare(queue, durable=True, arguments={"x-max-length": 5})
            channel.queue_bind(queue, "shop", queue)
            self.declared.add(queue)
            if number % 3 == 2:
                self.unsure = {victim := f"{self.stem}.{number - 1}"}
                channel.queue_delete(victim)
                self.deleted.add(victim)


class History:
    """All that clients saw over the rounds."""

    def __init__(self):
        queues = list(ARGUMENTS)
        self.sent = {name: set() for name in queues}
        self.confirmed = {name: set() for name in queues}
        self.settled = {name: set() for name in queues}
        self.seen = {name: set() for name in queues}
        self.rejected = set()
        self.declarers = []

    def add(self, clients):
        for client in clients:
            match client:
                case Publisher():
                    for queue in QUEUES[client.key]:
                        self.sent[queue] |= client.sent
                        self.confirmed[queue] |= client.confirmed
                case Consumer():
                    self.settled[client.queue] |= client.settled
                    self.rejected |= client.rejected
                case Declarer():
                    self.declarers.append(client)
        self.check_marks([client for client in clients if isinstance(client, Consumer)])

    def check_marks(self, consumers):
        """Two consumers of one queue share its messages: of all their looks at one, only one may be the first."""
        for queue in {consumer.queue for consumer in consumers}:
            looks = [look for consumer in consumers if consumer.queue == queue for look in consumer.seen]
            fresh = Counter(text for text, redelivered in looks if not redelivered)
            again = [text for text, count in fresh.items() if count > 1 or text in self.seen[queue]]
            assert not again, f"came twice from {queue} and was not marked: {again[:10]}"
            self.seen[queue] |= {text for text, _ in looks}

    def check_definitions(self, broker):
        declare(broker)
        declarer = self.declarers[-1]
        channel = open_channel(broker)
        for queue in declarer.declared - declarer.deleted - declarer.unsure:
            channel.queue_declare(queue, durable=True, arguments={"x-max-length": 5})
            channel.basic_publish("shop", queue, b"through its binding")
            channel.basic_publish("shop", queue, b"through its binding")
            assert channel.queue_delete(queue).method.message_count == 2, f"{queue} lost its binding"
        for queue in list(declarer.deleted)[:20]:
            with pytest.raises(pika.exceptions.ChannelClosedByBroker):
                channel.connection.channel().queue_declare(queue, passive=True)
        channel.connection.close()

    def check_messages(self, broker):
        left = {queue: self.drain(broker, queue) for queue in ARGUMENTS}
        assert len(self.confirmed["orders"]) > 100 * ROUNDS, "too little load to say anything"
        counts = {queue: (len(self.confirmed[queue]), len(self.seen[queue]), len(there)) for queue, there in left.items()}
        print(f"confirmed, seen by consumers, left at the end: {counts}")
        dead = set(left.pop("dead"))
        assert dead <= self.rejected, "a dead letter that nobody rejected"
        for queue, there in left.items():
            assert len(there) == len(set(there)), f"a message waits twice in {queue}"
            assert set(there) <= self.sent[queue], f"a message that nobody sent, in {queue}"
            excused = self.settled[queue] | set(there) | (dead if queue == "orders" else set())
            lost = self.confirmed[queue] - excused
            assert not lost, f"lost from {queue}: {sorted(lost)[:10]} of {len(lost)}"
            for publisher in {text.rsplit(".", 1)[0] for text in there}:
                numbers = [text for text in there if text.rsplit(".", 1)[0] == publisher]
                assert numbers == sorted(numbers), f"out of order in {queue}"

    def drain(self, broker, queue):
        channel = open_channel(broker)
        count = channel.queue_declare(queue, passive=True).method.message_count
        there = []
        while len(there) < count:
            method, _, data = next(channel.consume(queue, auto_ack=True, inactivity_timeout=10))
            assert method, f"{queue} said it had {count} and gave {len(there)}"
            there.append(data.decode())
            assert method.redelivered or data.decode() not in self.seen[queue], f"{data} from {queue} is not marked"
        return there
