"""A broker in a few lines, which says what the real one must do next. Pure: no socket and no clock.

A queue is a list of messages in the order they will leave. What one operation brings to a queue over several ways has
the same `turn`: which of them stands first is the broker's to choose.
"""

from dataclasses import dataclass, field


@dataclass(eq=False)
class Message:
    body: str
    persistent: bool
    priority: int = 0
    headers: dict = field(default_factory=dict)


@dataclass(eq=False)
class Entry:
    """A message in one queue."""

    message: Message
    turn: int
    priority: int
    # Whether the client was given it before; None: it may have been, nobody knows any more.
    given: bool | None = False

    @property
    def place(self):
        return (-self.priority, self.turn)


@dataclass(eq=False)
class Queue:
    name: str
    durable: bool
    max_priority: int = 0
    max_length: int | None = None
    rejects: bool = False
    dead_letters: str | None = None
    ready: list = field(default_factory=list)
    held: list = field(default_factory=list)
    # Left during this life of the broker. A kill may bring them back: an ack is no promise.
    gone: list = field(default_factory=list)
    consumer: object = None

    @property
    def arguments(self):
        table = {"x-max-priority": self.max_priority or None, "x-max-length": self.max_length}
        table["x-overflow"] = "reject-publish" if self.rejects else None
        if self.dead_letters:
            table |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead_letters}
        return {key: value for key, value in table.items() if value is not None}

    def put(self, entry):
        self.ready.append(entry)
        self.ready.sort(key=lambda entry: entry.place)

    def front(self):
        """Those of which one must be the next to leave."""
        return [entry for entry in self.ready if entry.place == self.ready[0].place]


@dataclass(eq=False)
class Exchange:
    name: str
    kind: str
    durable: bool


@dataclass(eq=False, frozen=True)
class Binding:
    source: Exchange
    target: object
    key: str
    headers: tuple = ()

    @property
    def durable(self):
        return self.source.durable and self.target.durable

    def wants(self, key, headers):
        match self.source.kind:
            case "direct":
                return self.key == key
            case "fanout":
                return True
            case "topic":
                return topic_matches(self.key.split("."), key.split("."))
            case "headers":
                return all(headers.get(name) == value for name, value in self.headers)


class Model:
    def __init__(self):
        self.queues, self.exchanges, self.bindings = {}, {}, []
        self.turn = 0

    def route(self, exchange, key, headers):
        """The queues a publish reaches; each once, however many ways lead there."""
        if exchange == "":
            return [self.queues[key]] if key in self.queues else []
        reached, waiting, seen = [], [self.exchanges[exchange]], set()
        while waiting:
            source = waiting.pop()
            seen.add(source)
            for binding in self.bindings:
                if binding.source is source and binding.wants(key, headers):
                    target = binding.target
                    if isinstance(target, Exchange):
                        waiting += [target] if target not in seen else []
                    elif target not in reached:
                        reached.append(target)
        return reached

    def publish(self, exchange, key, message):
        """Whether the publish has a route, and whether every queue takes it."""
        self.turn += 1
        targets = self.route(exchange, key, message.headers)
        refused = [queue for queue in targets if queue.rejects and self.is_full(queue)]
        for queue in targets:
            if queue not in refused:
                self.arrive(queue, message)
        return bool(targets), not refused

    def arrive(self, queue, message):
        queue.put(Entry(message, self.turn, min(message.priority, queue.max_priority)))
        self.make_room(queue)

    def is_full(self, queue):
        return queue.max_length is not None and len(queue.ready) >= queue.max_length and not self.has_room(queue)

    def has_room(self, queue):
        consumer = queue.consumer
        return consumer is not None and (not consumer.prefetch or len(consumer.held) < consumer.prefetch)

    def make_room(self, queue):
        if queue.max_length is None or queue.rejects or self.has_room(queue):
            return
        while len(queue.ready) > queue.max_length:
            self.die(queue, queue.ready.pop(0))

    def give(self, queue, body, held):
        """The broker gave out a message: it must be the one whose turn it is."""
        assert queue.ready, f"{body} came from {queue.name}, which should be empty"
        entry = next((entry for entry in queue.front() if entry.message.body == body), None)
        front = [entry.message.body for entry in queue.front()]
        assert entry, f"{body} came from {queue.name} where the turn is with {front}"
        queue.ready.remove(entry)
        (queue.held if held else queue.gone).append(entry)
        return entry

    def settle(self, queue, entry, outcome):
        if self.queues.get(queue.name) is not queue:
            return
        queue.held.remove(entry)
        if outcome == "ack":
            queue.gone.append(entry)
        elif outcome == "reject":
            self.die(queue, entry)
        else:
            entry.given = True
            queue.put(entry)

    def die(self, queue, entry):
        queue.gone.append(entry)
        if queue.dead_letters in self.queues:
            self.arrive(self.queues[queue.dead_letters], entry.message)

    def purge(self, queue):
        count = len(queue.ready)
        queue.gone += queue.ready
        queue.ready.clear()
        return count

    def delete_queue(self, queue):
        del self.queues[queue.name]
        self.bindings = [binding for binding in self.bindings if binding.target is not queue]
        return len(queue.ready)

    def delete_exchange(self, exchange):
        del self.exchanges[exchange.name]
        self.bindings = [one for one in self.bindings if exchange not in (one.source, one.target)]

    def restart(self):
        """What is not durable goes, and what was given out comes back."""
        self.queues = {name: queue for name, queue in self.queues.items() if queue.durable}
        self.exchanges = {name: exchange for name, exchange in self.exchanges.items() if exchange.durable}
        self.bindings = [binding for binding in self.bindings if binding.durable]
        for queue in self.queues.values():
            for entry in queue.held:
                entry.given = True
            queue.ready = [one for one in queue.ready + queue.held if one.message.persistent]
            queue.ready.sort(key=lambda entry: entry.place)
            queue.held, queue.consumer = [], None
            for entry in queue.ready:
                entry.given = entry.given or None


def topic_matches(pattern, words):
    match pattern:
        case []:
            return not words
        case ["#", *rest]:
            return any(topic_matches(rest, words[count:]) for count in range(len(words) + 1))
        case [first, *rest]:
            return bool(words) and first in ("*", words[0]) and topic_matches(rest, words[1:])
