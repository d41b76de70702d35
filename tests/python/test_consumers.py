"""Who is given what: prefetch, fairness, priority, exclusivity, cancellation, replies."""

import re

import pika
import pytest
from pamqp import commands
from pika import spec

from clients import (
    Subscriber,
    channel_closed,
    connection_closed,
    drained,
    eventually,
    flush,
    publish,
    queue,
    send,
    take,
    waiting,
)
from wire import Wire


def test_prefetch_bounds_what_a_consumer_holds(channel, name):
    queue(channel, name())
    for number in range(10):
        publish(channel, "", name(), str(number))
    channel.basic_qos(prefetch_count=3)
    reader = Subscriber(channel, name())
    reader.wait_for(3)
    assert reader.settle_down() == ["0", "1", "2"]
    channel.basic_ack(reader.deliveries[1].method.delivery_tag)
    reader.wait_for(4)
    assert reader.settle_down() == ["0", "1", "2", "3"]


def test_prefetch_belongs_to_each_consumer_and_global_to_the_channel(connection, name):
    queue(connection.channel(), name())
    for number in range(20):
        publish(connection.channel(), "", name(), str(number))
    apart = connection.channel()
    apart.basic_qos(prefetch_count=2)
    each = [Subscriber(apart, name()) for _ in range(2)]
    for one in each:
        one.wait_for(2)
        one.settle_down()
    assert [len(one.deliveries) for one in each] == [2, 2]

    together = connection.channel()
    together.basic_qos(prefetch_count=3, global_qos=True)
    shared = [Subscriber(together, name()) for _ in range(2)]
    shared[0].wait_until(lambda: sum(len(one.deliveries) for one in shared) == 3)
    shared[0].settle_down()
    assert sum(len(one.deliveries) for one in shared) == 3


def test_a_change_of_prefetch_is_for_the_consumers_to_come(channel, name):
    queue(channel, name())
    for number in range(10):
        publish(channel, "", name(), str(number))
    channel.basic_qos(prefetch_count=1)
    first = Subscriber(channel, name())
    first.wait_for(1)
    channel.basic_qos(prefetch_count=4)
    assert first.settle_down() == ["0"]
    second = Subscriber(channel, name())
    second.wait_for(4)
    assert second.settle_down() == ["1", "2", "3", "4"]


def test_consumers_of_one_queue_take_turns(channel, name):
    queue(channel, name())
    readers = [Subscriber(channel, name(), auto_ack=True) for _ in range(2)]
    for number in range(10):
        publish(channel, "", name(), str(number))
    readers[0].wait_until(lambda: sum(len(one.deliveries) for one in readers) == 10)
    assert sorted(len(one.deliveries) for one in readers) == [5, 5]


def test_delivery_tags_count_up_across_the_channel(channel, name):
    for part in "ab":
        queue(channel, name(part))
        publish(channel, "", name(part))
        publish(channel, "", name(part))
    tags = [take(channel, name(part), auto_ack=False).method.delivery_tag for part in "abab"]
    assert tags == [1, 2, 3, 4]


def test_a_consumer_hears_that_its_queue_is_gone(connection, name):
    channel = connection.channel()
    queue(channel, name())
    reader = Subscriber(channel, name())
    connection.channel().queue_delete(name())
    reader.wait_until(lambda: reader.cancelled)
    assert reader.cancelled
    flush(channel)


def test_a_cancelled_consumer_keeps_what_it_holds(channel, name):
    queue(channel, name())
    publish(channel, "", name(), "held")
    reader = Subscriber(channel, name())
    reader.wait_for(1)
    channel.basic_cancel(reader.tag)
    publish(channel, "", name(), "later")
    assert reader.settle_down() == ["held"]
    channel.basic_ack(reader.deliveries[0].method.delivery_tag)
    assert drained(channel, name()) == ["later"]


def test_an_exclusive_consumer_keeps_others_out(connection, name):
    queue(connection.channel(), name())
    alone = connection.channel()
    tag = alone.basic_consume(name(), lambda *_: None, exclusive=True)
    with channel_closed(403, f"ACCESS_REFUSED - queue '{name()}' in vhost '/' in exclusive use"):
        connection.channel().basic_consume(name(), lambda *_: None)
    alone.basic_cancel(tag)
    connection.channel().basic_consume(name(), lambda *_: None)


def test_nobody_becomes_exclusive_where_others_consume(connection, name):
    queue(connection.channel(), name())
    connection.channel().basic_consume(name(), lambda *_: None)
    with channel_closed(403, f"ACCESS_REFUSED - queue '{name()}' in vhost '/' in exclusive use"):
        connection.channel().basic_consume(name(), lambda *_: None, exclusive=True)


def test_nobody_becomes_exclusive_where_consumers_take_turns(channel, name):
    queue(channel, name(), single_active_consumer=True)
    with channel_closed(403, f"ACCESS_REFUSED - queue '{name()}' in vhost '/' in exclusive use"):
        channel.basic_consume(name(), lambda *_: None, exclusive=True)


def test_a_consumer_of_higher_priority_is_served_first(channel, connection, name):
    queue(channel, name())
    low = Subscriber(channel, name(), auto_ack=False)
    preferred = connection.channel()
    preferred.basic_qos(prefetch_count=2)
    high = Subscriber(preferred, name(), arguments={"x-priority": 10})
    for number in range(4):
        publish(channel, "", name(), str(number))
    low.wait_for(2)
    high.wait_for(2)
    assert (high.bodies, low.bodies) == (["0", "1"], ["2", "3"])


def test_a_single_active_consumer_hands_over_when_it_leaves(connection, name):
    channel = connection.channel()
    queue(channel, name(), single_active_consumer=True)
    first_channel, second_channel = connection.channel(), connection.channel()
    first, second = Subscriber(first_channel, name()), Subscriber(second_channel, name())
    for body in "ab":
        publish(channel, "", name(), body)
    first.wait_for(2)
    assert second.settle_down() == []
    first_channel.basic_ack(first.deliveries[0].method.delivery_tag)
    first_channel.close()
    second.wait_for(1)
    assert (second.bodies, second.deliveries[0].method.redelivered) == (["b"], True)


def test_consumer_tags_are_given_or_chosen_and_unique_on_the_channel(channel, name):
    queue(channel, name())
    assert channel.basic_consume(name(), lambda *_: None, consumer_tag="mine") == "mine"
    with connection_closed(530, "NOT_ALLOWED - attempt to reuse consumer tag 'mine'"):
        send(channel, spec.Basic.Consume(queue=name(), consumer_tag="mine"))
        flush(channel)


def test_cancelling_an_unknown_tag_does_no_harm(broker):
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        wire.send(commands.Basic.Cancel("nobody"), 1)
        assert wire.expect(commands.Basic.CancelOk).consumer_tag == "nobody"


def test_the_broker_names_a_consumer_that_has_no_tag(broker, name):
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        wire.send(commands.Queue.Declare(queue=name(), exclusive=True), 1)
        wire.expect(commands.Queue.DeclareOk)
        wire.send(commands.Basic.Consume(queue=name()), 1)
        assert re.fullmatch(r"amq\.ctag-[A-Za-z0-9_-]{22}", wire.expect(commands.Basic.ConsumeOk).consumer_tag)


def test_a_reply_comes_straight_back_without_a_queue(connection, name):
    """Direct reply-to: the requester consumes the pseudo-queue, the server answers on the default exchange."""
    client, server = connection.channel(), connection.channel()
    queue(server, name("requests"))
    replies = Subscriber(client, "amq.rabbitmq.reply-to", auto_ack=True)
    publish(client, "", name("requests"), "ping", reply_to="amq.rabbitmq.reply-to", correlation_id="1")
    request = take(server, name("requests"))
    assert request.properties.reply_to.startswith("amq.rabbitmq.reply-to.")
    assert server.queue_declare(request.properties.reply_to, passive=True).method.queue == request.properties.reply_to
    publish(server, "", request.properties.reply_to, "pong", correlation_id="1")
    [reply] = replies.wait_for(1)
    assert (reply.body, reply.properties.correlation_id) == (b"pong", "1")
    assert (reply.method.exchange, reply.method.routing_key) == ("", request.properties.reply_to)


def test_a_reply_to_somebody_who_left_has_no_route(connection, name):
    client, server = connection.channel(), connection.channel()
    queue(server, name("requests"))
    Subscriber(client, "amq.rabbitmq.reply-to", auto_ack=True)
    publish(client, "", name("requests"), "ping", reply_to="amq.rabbitmq.reply-to")
    request = take(server, name("requests"))
    client.close()
    gone = request.properties.reply_to
    with channel_closed(404, f"NOT_FOUND - no queue '{gone}' in vhost '/'"):
        server.queue_declare(gone, passive=True)


def test_a_queue_for_replies_can_be_asked_for_and_nothing_else(connect, name):
    client, server = connect().channel(), connect()
    requests = server.channel()
    queue(requests, name("requests"))
    Subscriber(client, "amq.rabbitmq.reply-to", auto_ack=True)
    publish(client, "", name("requests"), "ping", reply_to="amq.rabbitmq.reply-to")
    replies = take(requests, name("requests")).properties.reply_to
    for options in ({"passive": True}, {}, {"durable": True, "exclusive": True}):
        for asked in (replies, "amq.rabbitmq.reply-to"):
            answer = requests.queue_declare(asked, **options).method
            assert (answer.queue, answer.message_count, answer.consumer_count) == (asked, 0, 1)
    assert requests.queue_delete(replies).method.message_count == 0
    missing = f"NOT_FOUND - no queue '{replies}' in vhost '/'"
    for use in (
        lambda channel: channel.basic_get(replies),
        lambda channel: channel.basic_consume(replies, lambda *_: None, auto_ack=True),
        lambda channel: channel.queue_purge(replies),
        lambda channel: channel.queue_bind(replies, "amq.fanout"),
    ):
        with channel_closed(404, missing):
            use(server.channel())
    for passive in (True, False):
        with channel_closed(404, "NOT_FOUND - no queue 'amq.rabbitmq.reply-to.nobody' in vhost '/'"):
            server.channel().queue_declare("amq.rabbitmq.reply-to.nobody", passive=passive)


def test_a_mandatory_reply_to_somebody_who_left_comes_back(connection, name):
    client, server = connection.channel(), connection.channel()
    queue(server, name("requests"))
    replies = Subscriber(client, "amq.rabbitmq.reply-to", auto_ack=True)
    publish(client, "", name("requests"), "ping", reply_to="amq.rabbitmq.reply-to")
    request = take(server, name("requests"))
    client.basic_cancel(replies.tag)
    server.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError):
        publish(server, "", request.properties.reply_to, "pong", mandatory=True)


def test_direct_reply_to_needs_no_ack_and_a_consumer(connection, name):
    with channel_closed(406, "PRECONDITION_FAILED - reply consumer cannot acknowledge"):
        connection.channel().basic_consume("amq.rabbitmq.reply-to", lambda *_: None)
    channel = connection.channel()
    queue(channel, name())
    with channel_closed(406, "PRECONDITION_FAILED - fast reply consumer does not exist"):
        publish(channel, "", name(), reply_to="amq.rabbitmq.reply-to")
        flush(channel)


@pytest.mark.only("cauce")
def test_who_holds_a_message_too_long_loses_the_channel(broker_class, tmp_path):
    with broker_class(tmp_path, "--consumer-timeout", "200ms") as impatient:
        connection = pika.BlockingConnection(impatient.parameters())
        slow, patient = connection.channel(), connection.channel()
        queue(slow, "slow")
        queue(slow, "patient", consumer_timeout=60_000)
        for name, channel in (("slow", slow), ("patient", patient)):
            publish(channel, "", name, "job")
            Subscriber(channel, name).wait_for(1)
        text = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out in queue 'slow'…"
        with channel_closed(406, text):
            slow.start_consuming()
        got = take(patient, "slow")
        assert got.method.redelivered and got.body == b"job"
        assert waiting(patient, "patient") == 0
        connection.close()


def test_get_and_consume_share_a_queue(channel, name):
    queue(channel, name())
    publish(channel, "", name(), "a")
    assert take(channel, name()).body == b"a"
    reader = Subscriber(channel, name(), auto_ack=True)
    publish(channel, "", name(), "b")
    reader.wait_for(1)
    assert waiting(channel, name()) == 0


def test_cancelling_a_consumer_without_acks_loses_nothing(broker, channel, name):
    queue(channel, name())
    for number in range(3000):
        publish(channel, "", name(), str(number))
    eventually(lambda: waiting(channel, name()) == 3000)
    delivered = 0
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        wire.send(commands.Basic.Consume(queue=name(), consumer_tag="mine", no_ack=True), 1)
        # A cancel that comes sooner ends RabbitMQ's channel with an internal error.
        wire.expect(commands.Basic.ConsumeOk)
        wire.send(commands.Basic.Cancel("mine"), 1)
        while not isinstance(got := wire.receive()[1], commands.Basic.CancelOk):
            delivered += isinstance(got, commands.Basic.Deliver)
    assert eventually(lambda: delivered + waiting(channel, name()) == 3000)
