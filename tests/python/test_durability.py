"""Confirmed means it survives: the broker is stopped, or killed, and comes back on the same data."""

import asyncio

import aio_pika
import pika
import pytest

from clients import channel_closed, drained, publish, queue, take, waiting


@pytest.mark.only("cauce")
def test_everything_confirmed_survives_a_kill(own_broker):
    channel = open_channel(own_broker)
    queue(channel, "orders")
    channel.confirm_delivery()
    for number in range(200):
        publish(channel, "", "orders", str(number), delivery_mode=2)
    own_broker.kill()
    own_broker.start()
    channel = open_channel(own_broker)
    assert drained(channel, "orders") == [str(number) for number in range(200)]


@pytest.mark.only("cauce")
def test_a_big_message_and_all_its_properties_survive_a_kill(own_broker):
    channel = open_channel(own_broker)
    queue(channel, "orders")
    channel.confirm_delivery()
    body = bytes(range(256)) * 4096
    sent = dict(delivery_mode=2, headers={"a": [1, {"b": "c"}]}, message_id="m-1", priority=3, timestamp=1_700_000_000)
    publish(channel, "", "orders", body, **sent)
    own_broker.kill()
    own_broker.start()
    got = take(open_channel(own_broker), "orders")
    assert got.body == body
    assert {field: getattr(got.properties, field) for field in sent} == sent


@pytest.mark.only("cauce")
def test_what_was_delivered_and_not_settled_comes_back_marked(own_broker):
    channel = open_channel(own_broker)
    queue(channel, "orders")
    channel.confirm_delivery()
    for body in ("done", "held", "fresh"):
        publish(channel, "", "orders", body, delivery_mode=2)
    done, _held = take(channel, "orders", auto_ack=False), take(channel, "orders", auto_ack=False)
    channel.basic_ack(done.method.delivery_tag)
    # An ack has no reply of its own; the reply to what follows it says that it was read.
    channel.queue_declare("orders", passive=True)
    own_broker.kill()
    own_broker.start()
    channel = open_channel(own_broker)
    again = []
    while waiting(channel, "orders"):
        got = take(channel, "orders")
        again.append((got.body.decode(), got.method.redelivered))
    # An ack is no promise until it is flushed, so `done` may come again, but never unmarked. After a kill nobody
    # knows whether `fresh` was given out, so it may be marked.
    assert [body for body, _ in again if body != "done"] == ["held", "fresh"]
    assert ("held", True) in again
    assert ("done", False) not in again


@pytest.mark.only("cauce")
def test_a_committed_transaction_survives_a_kill(own_broker):
    channel = open_channel(own_broker)
    queue(channel, "orders")
    channel.tx_select()
    publish(channel, "", "orders", "committed", delivery_mode=2)
    channel.tx_commit()
    publish(channel, "", "orders", "open", delivery_mode=2)
    own_broker.kill()
    own_broker.start()
    assert drained(open_channel(own_broker), "orders") == ["committed"]


def test_after_a_stop_only_what_was_given_out_is_marked(own_broker):
    channel = open_channel(own_broker)
    queue(channel, "orders")
    channel.confirm_delivery()
    for body in ("held", "fresh"):
        publish(channel, "", "orders", body, delivery_mode=2)
    take(channel, "orders", auto_ack=False)
    for _ in range(2):
        own_broker.stop()
        own_broker.start()
    channel = open_channel(own_broker)
    again = [take(channel, "orders") for _ in range(2)]
    assert [(got.body, got.method.redelivered) for got in again] == [(b"held", True), (b"fresh", False)]


@pytest.mark.only("cauce")
def test_how_often_a_message_came_back_is_known_after_a_kill(own_broker):
    channel = open_channel(own_broker)
    queue(channel, "orders", queue_type="quorum")
    channel.confirm_delivery()
    publish(channel, "", "orders", "job", delivery_mode=2)
    for _ in range(3):
        channel.basic_nack(take(channel, "orders", auto_ack=False).method.delivery_tag)
    assert waiting(channel, "orders") == 1
    # Notes about returns are written and not waited for: another message's confirm says that they are.
    publish(channel, "", "orders", "next", delivery_mode=2)
    own_broker.kill()
    own_broker.start()
    assert take(open_channel(own_broker), "orders").properties.headers == {"x-delivery-count": 3}


@pytest.mark.only("cauce")
def test_killed_again_and_again_it_still_has_everything(own_broker):
    sent = []
    for life in range(5):
        channel = open_channel(own_broker)
        queue(channel, "orders")
        channel.confirm_delivery()
        for number in range(20):
            sent.append(f"{life}.{number}")
            publish(channel, "", "orders", sent[-1], delivery_mode=2)
        own_broker.kill()
        own_broker.start()
    assert drained(open_channel(own_broker), "orders") == sent


def test_durable_things_survive_a_stop_and_others_do_not(own_broker):
    survivors(own_broker, "stop")


@pytest.mark.only("cauce")
def test_durable_things_survive_a_kill_and_others_do_not(own_broker):
    survivors(own_broker, "kill")


async def test_a_robust_consumer_comes_back_with_the_broker(own_broker):
    """aio-pika's `connect_robust` restores channel, prefetch, queue and consumer by itself."""
    seen = asyncio.Queue()

    async def note(message):
        async with message.process():
            seen.put_nowait(message.body)

    connection = await aio_pika.connect_robust(own_broker.url(), reconnect_interval=0.1)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        await (await channel.declare_queue("orders", durable=True)).consume(note)
        await channel.default_exchange.publish(aio_pika.Message(b"before"), routing_key="orders")
        assert await asyncio.wait_for(seen.get(), 20) == b"before"

        await asyncio.to_thread(own_broker.stop)
        await asyncio.to_thread(own_broker.start)

        await asyncio.to_thread(lambda: publish(open_channel(own_broker), "", "orders", "after"))
        assert await asyncio.wait_for(seen.get(), 20) == b"after"


def survivors(broker, ending):
    channel = open_channel(broker)
    channel.exchange_declare("durable", "topic", durable=True)
    channel.exchange_declare("target", "fanout", durable=True)
    channel.exchange_declare("fleeting", "fanout")
    channel.exchange_bind("target", "durable", "to.target")
    queue(channel, "durable", max_length=100)
    queue(channel, "mirror")
    queue(channel, "fleeting", durable=False)
    channel.queue_bind("durable", "durable", "orders.#")
    channel.queue_bind("mirror", "target")
    channel.queue_bind("durable", "fleeting")
    queue(channel, "deleted")
    channel.queue_delete("deleted")
    channel.queue_bind("durable", "durable", "unbound")
    channel.queue_unbind("durable", "durable", "unbound")
    channel.confirm_delivery()
    publish(channel, "durable", "orders.new", "persistent", delivery_mode=2)
    publish(channel, "durable", "orders.new", "transient", delivery_mode=1)

    getattr(broker, ending)()
    broker.start()

    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    channel.exchange_declare("durable", "topic", durable=True)
    queue(channel, "durable", max_length=100)
    assert drained(channel, "durable") == ["persistent"]
    publish(channel, "durable", "orders.more", "routed")
    publish(channel, "durable", "unbound", "not routed")
    publish(channel, "durable", "to.target", "chained")
    assert drained(channel, "durable") == ["routed"]
    assert drained(channel, "mirror") == ["chained"]
    for kind, name in (("queue", "fleeting"), ("queue", "deleted"), ("exchange", "fleeting")):
        with channel_closed(404, f"NOT_FOUND - no {kind} '{name}' in vhost '/'"):
            getattr(connection.channel(), f"{kind}_declare")(name, passive=True)
    connection.close()


def open_channel(broker):
    return pika.BlockingConnection(broker.parameters()).channel()
