"""Exchanges that hold a message for as long as its `x-delay` says, as RabbitMQ's plugin does; Debian ships no plugin."""

import time

import pika
import pytest

from clients import publish, queue, take, waiting

pytestmark = pytest.mark.only("cauce")


def declare(channel, name, kind="direct"):
    channel.exchange_declare(name("x"), "x-delayed-message", durable=True, arguments={"x-delayed-type": kind})
    queue(channel, name("q"))
    channel.queue_bind(name("q"), name("x"), "key")


def test_a_message_comes_after_its_delay_and_the_shorter_before_the_longer(channel, name):
    declare(channel, name)
    started = time.monotonic()
    publish(channel, name("x"), "key", "late", headers={"x-delay": 300})
    publish(channel, name("x"), "key", "early", headers={"x-delay": 100})
    publish(channel, name("x"), "key", "now")
    assert take(channel, name("q")).body == b"now"
    early = take(channel, name("q"))
    assert early.body == b"early" and time.monotonic() - started >= 0.1
    assert early.properties.headers == {"x-delay": -100}
    assert early.method.exchange == name("x")
    assert take(channel, name("q")).body == b"late" and time.monotonic() - started >= 0.3


def test_a_delayed_topic_exchange_routes_by_pattern_when_the_delay_is_over(channel, name):
    declare(channel, name, "topic")
    channel.queue_bind(name("q"), name("x"), "new.#")
    publish(channel, name("x"), "new.order", "a", headers={"x-delay": 50})
    publish(channel, name("x"), "old.order", "b", headers={"x-delay": 50})
    assert take(channel, name("q")).body == b"a"
    assert waiting(channel, name("q")) == 0


def test_every_delayed_exchange_on_the_way_holds_a_message_and_none_twice(channel, name):
    for exchange in ("one", "two"):
        channel.exchange_declare(name(exchange), "x-delayed-message", arguments={"x-delayed-type": "fanout"})
    channel.exchange_declare(name("both"), "fanout")
    for exchange in ("one", "two"):
        channel.exchange_bind(name(exchange), name("both"))
        queue(channel, name(exchange))
        channel.queue_bind(name(exchange), name(exchange))
    # From one delayed exchange to the next: the delay is over when the second is met.
    channel.exchange_bind(name("two"), name("one"))
    started = time.monotonic()
    publish(channel, name("both"), "", "a", headers={"x-delay": 100})
    assert take(channel, name("one")).body == b"a"
    assert take(channel, name("two")).body == take(channel, name("two")).body == b"a"
    assert time.monotonic() - started < 5
    publish(channel, name("one"), "", "b", headers={"x-delay": 100})
    assert take(channel, name("two")).properties.headers == {"x-delay": -100}


def test_a_delayed_message_survives_a_kill(own_broker):
    channel = pika.BlockingConnection(own_broker.parameters()).channel()
    names = lambda word: word  # noqa: E731
    declare(channel, names)
    channel.confirm_delivery()
    publish(channel, "x", "key", "soon", delivery_mode=2, headers={"x-delay": 400})
    publish(channel, "x", "key", "later", delivery_mode=2, headers={"x-delay": 900})
    own_broker.kill()
    own_broker.start()
    channel = pika.BlockingConnection(own_broker.parameters()).channel()
    assert take(channel, "q").body == b"soon"
    assert take(channel, "q").body == b"later"
