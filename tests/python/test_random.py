"""Random programs against a model of the broker: every answer, order, count and mark must be what the model says.

Three short programs with fixed seeds here. `CAUCE_RANDOM=5000` runs one of so many operations with a seed of chance,
`CAUCE_RANDOM_SEED` repeats it. RabbitMQ runs them too, without the kills: the model is of what it does.
"""

import os
import random
import threading
import time

import pika
import pytest

from model import Binding, Entry, Exchange, Message, Model, Queue

LONG = int(os.environ.get("CAUCE_RANDOM", "0"))
SEEDS = [int(os.environ.get("CAUCE_RANDOM_SEED", random.randrange(1 << 32)))] if LONG else [1, 2, 3]
OPERATIONS = LONG or 400
PATIENCE_SECONDS = 10

KEYS = ("a", "b", "a.b", "a.b.c")
PATTERNS = ("a", "b", "a.b", "a.*", "#", "a.#", "*.b.#")
HEADERS = ({}, {"h": "1"}, {"h": "1", "i": "2"})
QUEUES, EXCHANGES, CHANNELS = 6, 4, 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.timeout(60 + OPERATIONS)
def test_a_random_program_sees_what_the_model_says(own_broker, broker_kind, seed):
    program = Program(own_broker, random.Random(seed), promises_more=broker_kind == "cauce")
    try:
        for _ in range(OPERATIONS):
            program.step()
        program.drain()
        program.stop()
    except Exception as error:
        story = "\n".join(program.story[-40:])
        raise AssertionError(f"seed {seed}, operation {len(program.story)}: {error}\n{story}") from error


class Consumer:
    def __init__(self, queue, lane, prefetch):
        self.queue, self.lane, self.prefetch = queue, lane, prefetch
        self.arrived, self.held = [], set()
        self.tag = None


class Lane:
    """A channel of a connection of its own, and what it holds: tag -> (queue, entry, consumer or None)."""

    def __init__(self, broker):
        self.channel = pika.BlockingConnection(broker.parameters()).channel()
        self.held, self.consumers = {}, []


class Program:
    """Does one thing at a time, and then waits until the broker is where the model is."""

    def __init__(self, broker, chance, promises_more):
        """Cauce promises more than RabbitMQ: what is confirmed survives a kill, and what was given out is marked after a
        restart. It also starts sooner."""
        self.broker, self.chance, self.promises_more = broker, chance, promises_more
        self.restarts, self.restarted = OPERATIONS if promises_more or LONG else 1, False
        self.model, self.story, self.sent = Model(), [], 0
        self.open()

    def open(self):
        connection = pika.BlockingConnection(self.broker.parameters())
        self.publisher, self.admin = connection.channel(), connection.channel()
        self.publisher.confirm_delivery()
        self.lanes = [Lane(self.broker) for _ in range(CHANNELS)]

    def step(self):
        often = [self.publish] * 10 + [self.get] * 4 + [self.settle] * 8 + [self.consume] * 2 + [self.bind] * 2
        seldom = [self.declare_queue, self.declare_queue, self.declare_exchange, self.unbind, self.cancel, self.purge]
        rare = [self.close_lane, self.delete_queue, self.delete_exchange]
        operation = self.chance.choice(often * 3 + seldom * 3 + rare * 2 + [self.restart, self.kill])
        before = len(self.story)
        operation()
        if len(self.story) > before:
            self.settle_down()

    # The operations. Each tells the story, does it, and tells the model.

    def declare_queue(self):
        name = f"q{self.chance.randrange(QUEUES)}"
        if name in self.model.queues:
            return
        queue = Queue(name, durable=self.chance.random() < 0.7)
        match self.chance.randrange(5):
            case 0:
                queue.max_priority = 3
            case 1:
                queue.max_length, queue.rejects = self.chance.randint(1, 4), self.chance.random() < 0.5
                # What overflows goes where nothing else comes from, so that the order there is known.
                queue.dead_letters = None if queue.rejects else "dead"
            case 2:
                queue.dead_letters = self.chance.choice(["dead", f"q{self.chance.randrange(QUEUES)}"])
        self.tell("declare", name, "durable" if queue.durable else "transient", queue.arguments)
        self.declare(queue)
        if "dead" not in self.model.queues:
            self.declare(Queue("dead", durable=True))

    def declare(self, queue):
        self.admin.queue_declare(queue.name, durable=queue.durable, arguments=queue.arguments)
        self.model.queues[queue.name] = queue

    def declare_exchange(self):
        name = f"x{self.chance.randrange(EXCHANGES)}"
        if name in self.model.exchanges:
            return
        kind = self.chance.choice(["direct", "fanout", "topic", "headers"])
        exchange = Exchange(name, kind, durable=self.chance.random() < 0.7)
        self.tell("declare", name, kind, "durable" if exchange.durable else "transient")
        self.admin.exchange_declare(name, kind, durable=exchange.durable)
        self.model.exchanges[name] = exchange

    def bind(self):
        source, target = self.any(self.model.exchanges), self.any_target()
        if not source or not target or target is source:
            return
        key, headers = self.chance.choice(PATTERNS), self.chance.choice(HEADERS)
        binding = Binding(source, target, key, tuple(headers.items()) if source.kind == "headers" else ())
        same = [one for one in self.model.bindings if (one.source, one.target) == (source, target)]
        if any((one.key, one.headers) == (key, binding.headers) for one in same):
            return
        self.tell("bind", source.name, "->", target.name, key, dict(binding.headers))
        self.carry_out("bind", binding)
        self.model.bindings.append(binding)

    def unbind(self):
        if not self.model.bindings:
            return
        binding = self.chance.choice(self.model.bindings)
        self.tell("unbind", binding.source.name, "->", binding.target.name, binding.key)
        self.carry_out("unbind", binding)
        self.model.bindings.remove(binding)

    def carry_out(self, verb, binding):
        what = "exchange" if isinstance(binding.target, Exchange) else "queue"
        ends = (binding.target.name, binding.source.name)
        getattr(self.admin, f"{what}_{verb}")(*ends, binding.key, arguments=dict(binding.headers) or None)

    def publish(self):
        exchange = self.chance.choice([*self.model.exchanges, ""])
        targets = [name for name in self.model.queues if name != "dead"] + ["q-none"]
        key = self.chance.choice(KEYS) if exchange else self.chance.choice(targets)
        message = self.message()
        mandatory = self.chance.random() < 0.5
        self.tell("publish", message.body, "to", exchange or "(default)", key, message)
        routed, taken = self.model.publish(exchange, key, message)
        if routed or not mandatory:
            outcome = "acked" if taken else "nacked"
        else:
            outcome = "returned"
        assert self.send(self.publisher, exchange, key, message, mandatory) == outcome, f"it should be {outcome}"

    def message(self):
        self.sent += 1
        persistent, headers = self.chance.random() < 0.7, self.chance.choice(HEADERS)
        return Message(str(self.sent), persistent, self.chance.choice([0, 0, 1, 3, 9]), headers)

    def send(self, channel, exchange, key, message, mandatory=False):
        properties = pika.BasicProperties(
            delivery_mode=2 if message.persistent else 1, priority=message.priority, headers=message.headers
        )
        try:
            channel.basic_publish(exchange, key, message.body.encode(), properties, mandatory=mandatory)
        except pika.exceptions.UnroutableError:
            return "returned"
        except pika.exceptions.NackError:
            return "nacked"
        return "acked"

    def get(self):
        queue, lane = self.any(self.model.queues), self.chance.choice(self.lanes)
        if not queue:
            return
        auto_ack = bool(queue.max_length) or self.chance.random() < 0.3
        self.tell("get", queue.name, "auto-ack" if auto_ack else "")
        method, _, body = lane.channel.basic_get(queue.name, auto_ack=auto_ack)
        if not method:
            assert not queue.ready, f"{queue.name} gave nothing and has {len(queue.ready)}"
            return
        entry = self.model.give(queue, body.decode(), held=not auto_ack)
        self.check_mark(entry, method)
        assert method.message_count == len(queue.ready), "the count in get-ok"
        if not auto_ack:
            lane.held[method.delivery_tag] = (queue, entry, None)

    def settle(self):
        lane = self.chance.choice([lane for lane in self.lanes if lane.held] or self.lanes)
        if not lane.held:
            return
        tag = self.chance.choice(list(lane.held))
        outcome = self.chance.choice(["ack", "ack", "requeue", "reject"])
        tags = [other for other in lane.held if other <= tag] if self.chance.random() < 0.2 else [tag]
        if outcome == "reject" and len({lane.held[other][0] for other in tags}) > 1:
            # Dead letters of several queues would race.
            tags = [tag]
        if outcome == "requeue" and any(lane.held[other][0].max_length for other in tags):
            # Coming back to a full queue with a consumer: RabbitMQ drops before it delivers, Cauce after.
            outcome = "ack"
        self.tell(outcome, *(lane.held[other][1].message.body for other in tags))
        if outcome == "ack":
            lane.channel.basic_ack(tag, multiple=len(tags) > 1)
        else:
            lane.channel.basic_nack(tag, multiple=len(tags) > 1, requeue=outcome == "requeue")
        self.release(lane, tags, outcome)

    def release(self, lane, tags, outcome):
        self.model.turn += 1
        queues = set()
        for tag in sorted(tags):
            queue, entry, consumer = lane.held.pop(tag)
            self.model.settle(queue, entry, outcome)
            if consumer:
                consumer.held.discard(entry)
            queues.add(queue)
            # Each of several that die at once has a turn of its own: their order is known.
            self.model.turn += 1
        if outcome == "requeue":
            for queue in queues & set(self.model.queues.values()):
                self.model.make_room(queue)

    def consume(self):
        queue, lane = self.any(self.model.queues), self.chance.choice(self.lanes)
        if not queue or queue.consumer or (queue.max_length and queue.held):
            return
        prefetch = self.chance.choice([0, 1, 2, 5])
        consumer = Consumer(queue, lane, prefetch)
        # Without a prefetch it takes without acknowledging.
        self.tell("consume", queue.name, f"prefetch {prefetch}" if prefetch else "auto-ack")
        lane.channel.basic_qos(prefetch_count=prefetch)
        queue.consumer = consumer
        lane.consumers.append(consumer)
        consumer.tag = lane.channel.basic_consume(
            queue.name,
            lambda _channel, method, _properties, body: consumer.arrived.append((method, body.decode())),
            auto_ack=not prefetch,
        )

    def cancel(self):
        consumers = [consumer for lane in self.lanes for consumer in lane.consumers]
        if not consumers:
            return
        consumer = self.chance.choice(consumers)
        self.tell("cancel the consumer of", consumer.queue.name)
        consumer.lane.channel.basic_cancel(consumer.tag)
        consumer.lane.consumers.remove(consumer)
        consumer.queue.consumer = None

    def close_lane(self):
        number = self.chance.randrange(CHANNELS)
        lane = self.lanes[number]
        self.tell("close a connection that holds", *(entry.message.body for _, entry, _ in lane.held.values()))
        self.leave(lane)
        self.lanes[number] = Lane(self.broker)

    def leave(self, lane):
        for consumer in lane.consumers:
            consumer.queue.consumer = None
        lane.channel.connection.close()
        self.release(lane, list(lane.held), "requeue")

    def purge(self):
        queue = self.any(self.model.queues)
        if not queue:
            return
        self.tell("purge", queue.name)
        count = self.admin.queue_purge(queue.name).method.message_count
        assert count == (expected := self.model.purge(queue)), f"purged {count}, not {expected}"

    def delete_queue(self):
        queue = self.any({name: queue for name, queue in self.model.queues.items() if name != "dead"})
        if not queue:
            return
        self.tell("delete", queue.name)
        count = self.admin.queue_delete(queue.name).method.message_count
        assert count == (expected := self.model.delete_queue(queue)), f"deleted {count}, not {expected}"
        if queue.consumer:
            queue.consumer.lane.consumers.remove(queue.consumer)

    def delete_exchange(self):
        if exchange := self.any(self.model.exchanges):
            self.tell("delete", exchange.name)
            self.admin.exchange_delete(exchange.name)
            self.model.delete_exchange(exchange)

    def restart(self):
        if not self.restarts:
            return
        self.restarts, self.restarted = self.restarts - 1, True
        self.give_back_from_limited_queues()
        self.tell("restart")
        self.stop()
        self.model.restart()
        self.broker.start()
        self.open()
        for queue in self.model.queues.values():
            queue.gone.clear()

    def stop(self):
        """Clients hear of it and answer, as those in a loop of their own would."""
        stopping = threading.Thread(target=self.broker.stop)
        stopping.start()
        connections = [self.publisher.connection] + [lane.channel.connection for lane in self.lanes]
        while stopping.is_alive():
            for connection in list(connections):
                try:
                    connection.process_data_events(time_limit=0.01)
                except pika.exceptions.AMQPError:
                    connections.remove(connection)
        stopping.join()

    def kill(self):
        if not self.promises_more:
            return
        self.give_back_from_limited_queues()
        self.tell("kill")
        maybe = self.publish_without_waiting()
        self.broker.kill()
        self.model.restart()
        self.broker.start()
        self.open()
        self.take_stock(maybe)

    def give_back_from_limited_queues(self):
        """Which of too many go when they come back all at once is another question."""
        for number, lane in enumerate(self.lanes):
            if any(queue.max_length for queue, _, _ in lane.held.values()):
                self.leave(lane)
                self.lanes[number] = Lane(self.broker)
                self.settle_down()

    def publish_without_waiting(self):
        """Persistent messages for one queue in the moment of the kill: they may be there or not."""
        queues = [queue for queue in self.model.queues.values() if queue.durable and not queue.max_length]
        if not queues:
            return None, []
        queue, entries = self.chance.choice(queues), []
        for _ in range(self.chance.randrange(30)):
            self.model.turn += 1
            message = self.message()
            message.persistent = True
            self.send(self.admin, "", queue.name, message)
            priority = min(message.priority, queue.max_priority)
            entries.append(Entry(message, self.model.turn, priority, given=None))
        return queue, entries

    def take_stock(self, maybe):
        """After a kill: all that was confirmed and not settled is there, in order. What was settled may have come back."""
        found = {queue: self.contents(queue) for queue in self.model.queues.values()}
        everything = {body for there in found.values() for body, _ in there}
        for queue, there in found.items():
            due = {entry.message.body: entry for entry in queue.ready}
            back = {entry.message.body: entry for entry in queue.gone}
            if queue is maybe[0]:
                back |= {entry.message.body: entry for entry in maybe[1]}
            bodies = [body for body, _ in there]
            strangers = [body for body in bodies if body not in due and body not in back]
            assert not strangers, f"{strangers} should not be in {queue.name}"
            assert len(bodies) == len(set(bodies)), f"twice in {queue.name}: {bodies}"
            for body, redelivered in there:
                entry = due.get(body) or back[body]
                assert redelivered or entry.given is not True, f"{body} in {queue.name} is not marked"
                if body in back and entry not in maybe[1]:
                    assert redelivered, f"{body} came back to {queue.name} without a mark"
            if queue.max_length is None:
                # A dead letter that has not arrived is still where it died.
                lost = [body for body in due if body not in bodies and body not in everything]
                assert not lost, f"lost from {queue.name}: {lost}"
            places = [(due.get(body) or back[body]).place for body in bodies]
            assert places == sorted(places), f"out of order in {queue.name}: {bodies}"
            queue.ready = [due.get(body) or back[body] for body in bodies]
            queue.gone = []
            for entry in queue.ready:
                entry.given = True
            if queue.max_length is not None:
                self.admin.queue_purge(queue.name)
                self.model.purge(queue)

    def contents(self, queue):
        """Everything in the queue, looked at and given back."""
        channel = pika.BlockingConnection(self.broker.parameters()).channel()
        there = []
        while (got := channel.basic_get(queue.name))[0]:
            there.append((got[2].decode(), got[0].redelivered))
        channel.connection.close()
        return there

    # What the broker does by itself.

    def settle_down(self):
        """Until deliveries and counts are what the model says, or it is clear that they will not be."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while difference := self.difference():
            assert time.monotonic() < deadline, difference

    def difference(self):
        for lane in self.lanes:
            lane.channel.connection.process_data_events(time_limit=0)
            for consumer in lane.consumers:
                self.take_arrivals(lane, consumer)
        for queue in self.model.queues.values():
            if queue.ready and self.model.has_room(queue):
                return f"{queue.name} has {len(queue.ready)} and a consumer with room for them"
            answer = self.admin.queue_declare(queue.name, passive=True).method
            if answer.message_count != len(queue.ready):
                ready = [entry.message.body for entry in queue.ready]
                return f"{queue.name} has {answer.message_count} ready, not {ready}"
            if answer.consumer_count != (queue.consumer is not None):
                return f"{queue.name} has {answer.consumer_count} consumers"
        return None

    def take_arrivals(self, lane, consumer):
        for method, body in consumer.arrived:
            acknowledges = bool(consumer.prefetch)
            entry = self.model.give(consumer.queue, body, held=acknowledges)
            self.check_mark(entry, method)
            if acknowledges:
                lane.held[method.delivery_tag] = (consumer.queue, entry, consumer)
                consumer.held.add(entry)
                assert len(consumer.held) <= consumer.prefetch, f"{body} is beyond the prefetch"
        consumer.arrived.clear()

    def check_mark(self, entry, method):
        if entry.given is not None and (self.promises_more or not self.restarted):
            assert method.redelivered == entry.given, f"{entry.message.body}: redelivered is {method.redelivered}"

    def drain(self):
        for lane in self.lanes:
            self.leave(lane)
        self.lanes = []
        self.tell("drain")
        self.settle_down()
        for queue in self.model.queues.values():
            for body, _ in self.contents(queue):
                self.model.give(queue, body, held=True)
            assert not queue.ready, f"{queue.name} lacks {len(queue.ready)}"

    def any(self, things):
        return self.chance.choice(list(things.values())) if things else None

    def any_target(self):
        queues = {name: queue for name, queue in self.model.queues.items() if name != "dead"}
        return self.any(queues | self.model.exchanges)

    def tell(self, *words):
        self.story.append(" ".join(str(word) for word in words if word != ""))
