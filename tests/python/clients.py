"""Short words over pika for the stories the tests tell."""

import time
from collections import namedtuple
from contextlib import contextmanager

import pika
import pytest

PATIENCE_SECONDS = 10
QUIET_SECONDS = 0.15

Delivery = namedtuple("Delivery", "method properties body")


def publish(channel, exchange, key, body=b"x", mandatory=False, **properties):
    body = body.encode() if isinstance(body, str) else body
    channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties), mandatory=mandatory)


def queue(channel, name="", durable=True, **arguments):
    """Declares a queue; `max_length=3` stands for `x-max-length: 3`."""
    options = {word: arguments.pop(word) for word in ("exclusive", "auto_delete", "passive") if word in arguments}
    table = {f"x-{word.replace('_', '-')}": value for word, value in arguments.items()}
    return channel.queue_declare(name, durable=durable, arguments=table or None, **options).method.queue


def waiting(channel, name):
    """How many are ready. RabbitMQ lets this question overtake publishes still on their way to the queue."""
    return channel.queue_declare(name, passive=True).method.message_count


def eventually(look, within=PATIENCE_SECONDS):
    """Looks until there is something to see. What a broker does by itself has no reply to wait for."""
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if seen or time.monotonic() > deadline:
            return seen
        time.sleep(0.01)


def take(channel, name, auto_ack=True, within=PATIENCE_SECONDS):
    """The next message with basic.get, waiting for one to arrive."""

    def look():
        got = Delivery(*channel.basic_get(name, auto_ack=auto_ack))
        return got if got.method else None

    got = eventually(look, within)
    assert got, f"nothing arrived in {name}"
    return got


def take_bodies(channel, name, count):
    return [take(channel, name).body.decode() for _ in range(count)]


def drained(channel, name):
    """Everything ready in the queue now, as text."""
    bodies = []
    while (got := channel.basic_get(name, auto_ack=True))[0]:
        bodies.append(got[2].decode())
    return bodies


class Subscriber:
    """A consumer that notes what it is given and settles only when told to."""

    def __init__(self, channel, queue, **options):
        self.channel = channel
        self.deliveries = []
        self.cancelled = False
        channel.add_on_cancel_callback(self._cancelled)
        self.tag = channel.basic_consume(queue, self._deliver, **options)

    def _deliver(self, _channel, method, properties, body):
        self.deliveries.append(Delivery(method, properties, body))

    def _cancelled(self, method_frame):
        self.cancelled = self.cancelled or method_frame.method.consumer_tag == self.tag

    @property
    def bodies(self):
        return [delivery.body.decode() for delivery in self.deliveries]

    def wait_for(self, count):
        self.wait_until(lambda: len(self.deliveries) >= count)
        assert len(self.deliveries) >= count, f"{self.bodies} are not {count}"
        return self.deliveries

    def wait_until(self, true):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not true() and time.monotonic() < deadline:
            self.channel.connection.process_data_events(time_limit=0.02)

    def settle_down(self):
        """Time for anything that should not come to come."""
        self.channel.connection.process_data_events(time_limit=QUIET_SECONDS)
        return self.bodies


@contextmanager
def channel_closed(code, text):
    """The block ends with the broker closing the channel, for exactly this reason.

    A text that ends in `…` goes on as the broker likes: RabbitMQ puts Erlang terms there, which no client reads.
    """
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
        yield
    assert_reply((caught.value.reply_code, caught.value.reply_text), code, text)


@contextmanager
def connection_closed(code, text):
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as caught:
        yield
    assert_reply((caught.value.reply_code, caught.value.reply_text), code, text)


def assert_reply(reply, code, text):
    if text.endswith("…"):
        assert reply[0] == code and reply[1].startswith(text[:-1]), reply
    else:
        assert reply == (code, shortened(text))


def shortened(text):
    """A reply text is a short string: RabbitMQ cuts what is longer and ends it with three dots."""
    return text if len(text) <= 255 else text[:252] + "..."


def flush(channel):
    """A round trip, so that the reply to whatever went before without one is here."""
    channel.basic_qos(prefetch_count=0)


def returns(channel):
    """A look at the bodies that came back since now. pika hands them out only when it is told to."""
    bodies = []
    channel.add_on_return_callback(lambda _channel, _method, _properties, body: bodies.append(body))

    def look():
        flush(channel)
        channel.connection.process_data_events(time_limit=0)
        return bodies

    return look


def send(channel, method, content=None):
    """Sends a method that pika's own functions would refuse or cannot say."""
    channel._impl._send_method(method, content)
