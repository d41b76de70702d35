"""Streams: what they keep, where their consumers begin, and what they refuse."""

import datetime
import time

import pika
import pytest

from clients import Subscriber, channel_closed, connection_closed, eventually, publish, waiting

STREAM = {"x-queue-type": "stream"}


def stream(channel, name, **arguments):
    table = {f"x-{word.replace('_', '-')}": value for word, value in arguments.items()}
    return channel.queue_declare(name, durable=True, arguments=STREAM | table).method


def fill(connection, name, bodies, exchange="", key=None):
    """Publishes and waits for the confirms."""
    channel = connection.channel()
    channel.confirm_delivery()
    for body in bodies:
        publish(channel, exchange, name if key is None else key, body)
    channel.close()


def reader(connection, name, prefetch=100, **arguments):
    channel = connection.channel()
    channel.basic_qos(prefetch_count=prefetch)
    table = {f"x-stream-{word}": value for word, value in arguments.items()}
    return Subscriber(channel, name, arguments=table)


def offsets(subscriber):
    return [delivery.properties.headers["x-stream-offset"] for delivery in subscriber.deliveries]


@pytest.fixture
def filled(connection, name):
    """A stream with the messages 0 to 9."""
    stream(connection.channel(), name())
    fill(connection, name(), [str(number) for number in range(10)])
    return name()


def test_every_consumer_reads_all_and_nothing_is_taken(connection, filled):
    for _ in range(3):
        subscriber = reader(connection, filled, offset="first")
        subscriber.wait_for(10)
        for delivery in subscriber.deliveries:
            subscriber.channel.basic_ack(delivery.method.delivery_tag)
        assert subscriber.bodies == [str(number) for number in range(10)]
        assert offsets(subscriber) == list(range(10))
        assert not any(delivery.method.redelivered for delivery in subscriber.deliveries)
        subscriber.channel.close()
    assert eventually(lambda: waiting(connection.channel(), filled) == 10)


def test_an_offset_is_where_to_begin(connection, filled):
    subscriber = reader(connection, filled, offset=7)
    assert offsets(subscriber) == [] and [one.body for one in subscriber.wait_for(3)] == [b"7", b"8", b"9"]
    subscriber = reader(connection, filled, offset="last")
    subscriber.wait_for(1)
    assert subscriber.settle_down()[-1] == "9"


def test_next_is_what_comes_from_now_on_and_is_the_default(connection, filled):
    readers = [reader(connection, filled, offset="next"), reader(connection, filled), reader(connection, filled, offset=10)]
    fill(connection, filled, ["new"])
    for subscriber in readers:
        subscriber.wait_for(1)
        assert (subscriber.settle_down(), offsets(subscriber)) == (["new"], [10])


def test_an_offset_that_is_not_there_yet_is_waited_for(connection, filled):
    subscriber = reader(connection, filled, offset=12)
    fill(connection, filled, ["10", "11"])
    assert subscriber.settle_down() == []
    fill(connection, filled, ["12"])
    subscriber.wait_for(1)
    assert (subscriber.bodies, offsets(subscriber)) == (["12"], [12])


def test_a_time_is_where_to_begin(connection, filled):
    for offset in (datetime.datetime(2020, 1, 1), "1h", "2D"):
        assert len(reader(connection, filled, offset=offset).wait_for(10)) == 10
    later = reader(connection, filled, offset=datetime.datetime.now() + datetime.timedelta(days=2))
    assert later.settle_down() == []


@pytest.mark.only("cauce")
def test_the_first_message_of_a_time_is_found_by_its_own_timestamp(connection, name):
    """RabbitMQ looks for the time at which a chunk came."""
    stream(connection.channel(), name())
    channel = connection.channel()
    channel.confirm_delivery()
    for hour in range(1, 6):
        publish(channel, "", name(), str(hour), timestamp=1_700_000_000 + 3600 * hour)
    begin = datetime.datetime.fromtimestamp(1_700_000_000 + 3600 * 3 - 60)
    subscriber = reader(connection, name(), offset=begin)
    subscriber.wait_for(3)
    assert subscriber.bodies == ["3", "4", "5"]
    assert subscriber.deliveries[0].properties.timestamp == 1_700_000_000 + 3600 * 3


def test_a_consumer_gets_no_more_than_its_prefetch_until_it_acknowledges(connection, filled):
    subscriber = reader(connection, filled, prefetch=2, offset="first")
    subscriber.wait_for(2)
    assert subscriber.settle_down() == ["0", "1"]
    subscriber.channel.basic_ack(subscriber.deliveries[-1].method.delivery_tag, multiple=True)
    subscriber.wait_for(4)
    assert subscriber.settle_down() == ["0", "1", "2", "3"]


def test_each_consumer_has_its_own_place(connection, filled):
    slow, fast = reader(connection, filled, prefetch=1, offset="first"), reader(connection, filled, offset=4)
    fast.wait_for(6)
    slow.wait_for(1)
    assert (slow.settle_down(), fast.settle_down()) == (["0"], ["4", "5", "6", "7", "8", "9"])


def test_properties_and_headers_come_back_as_they_were(connection, name):
    stream(connection.channel(), name())
    channel = connection.channel()
    channel.confirm_delivery()
    sent = pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        headers={"text": "ñ", "number": -5, "flag": True, "nothing": None},
        delivery_mode=1,
        priority=3,
        correlation_id="c-1",
        reply_to="answers",
        expiration="60000",
        message_id="m-1",
        timestamp=1_700_000_000,
        type="order",
        user_id="guest",
        app_id="shop",
    )
    channel.basic_publish("", name(), b"{}", sent)
    subscriber = reader(connection, name(), offset="first")
    (delivery,) = subscriber.wait_for(1)
    headers = delivery.properties.headers
    assert headers.pop("x-stream-offset") == 0
    assert headers == sent.headers
    for word in ("content_type", "content_encoding", "correlation_id", "message_id", "timestamp", "type", "app_id", "reply_to"):
        assert getattr(delivery.properties, word) == getattr(sent, word), word
    assert (delivery.body, delivery.method.exchange, delivery.method.routing_key) == (b"{}", "", name())


def test_exchanges_lead_to_streams(connection, name):
    channel = connection.channel()
    stream(channel, name())
    channel.exchange_declare(name("events"), "topic", durable=True)
    channel.queue_bind(name(), name("events"), "order.*")
    fill(connection, name(), ["first"], name("events"), "order.new")
    fill(connection, name(), ["nobody's"], name("events"), "invoice.new")
    fill(connection, name(), ["second"], name("events"), "order.paid")
    subscriber = reader(connection, name(), offset="first")
    subscriber.wait_for(2)
    assert subscriber.bodies == ["first", "second"]
    assert [(one.method.exchange, one.method.routing_key) for one in subscriber.deliveries] == [
        (name("events"), "order.new"),
        (name("events"), "order.paid"),
    ]
    channel.queue_unbind(name(), name("events"), "order.*")
    fill(connection, name(), ["after"], name("events"), "order.new")
    assert subscriber.settle_down() == ["first", "second"]


@pytest.mark.only("cauce")
def test_nested_headers_come_back_too(connection, name):
    """RabbitMQ 3.10 loses them in streams."""
    stream(connection.channel(), name())
    headers = {"nested": {"list": [1, "two", None, {"deep": b"\x00\xff"}]}}
    channel = connection.channel()
    channel.confirm_delivery()
    publish(channel, "", name(), headers=headers)
    (delivery,) = reader(connection, name(), offset="first").wait_for(1)
    assert delivery.properties.headers == headers | {"x-stream-offset": 0}


@pytest.mark.only("cauce")
def test_dead_letters_can_go_to_a_stream(connection, name):
    channel = connection.channel()
    stream(channel, name("dead"))
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": name("dead")}
    channel.queue_declare(name(), arguments=arguments)
    publish(channel, "", name(), "unwanted")
    got = eventually(lambda: channel.basic_get(name())[0])
    channel.basic_reject(got.delivery_tag, requeue=False)
    subscriber = reader(connection, name("dead"), offset="first")
    (delivery,) = subscriber.wait_for(1)
    assert delivery.body == b"unwanted"
    assert delivery.properties.headers["x-first-death-reason"] == "rejected"
    assert eventually(lambda: waiting(channel, name()) == 0)


def test_a_transaction_publishes_and_acknowledges(connection, filled):
    channel = connection.channel()
    channel.tx_select()
    publish(channel, "", filled, "10")
    publish(channel, "", filled, "11")
    channel.tx_commit()
    publish(channel, "", filled, "never")
    channel.tx_rollback()
    subscriber = reader(connection, filled, offset=10)
    subscriber.wait_for(2)
    assert subscriber.settle_down() == ["10", "11"]


def test_a_consumer_hears_that_its_stream_was_deleted(connection, filled):
    subscriber = reader(connection, filled, offset="first")
    subscriber.wait_for(10)
    connection.channel().queue_delete(filled)
    subscriber.wait_until(lambda: subscriber.cancelled)
    assert subscriber.cancelled
    with channel_closed(404, f"NOT_FOUND - no queue '{filled}' in vhost '/'"):
        connection.channel().queue_declare(filled, passive=True)


def test_a_cancelled_consumer_gets_nothing_more(connection, filled):
    subscriber = reader(connection, filled, prefetch=3, offset="first")
    subscriber.wait_for(3)
    subscriber.channel.basic_cancel(subscriber.tag)
    subscriber.channel.basic_ack(0, multiple=True)
    fill(connection, filled, ["new"])
    assert subscriber.settle_down() == ["0", "1", "2"]


def test_a_stream_is_declared_again_as_it_was(channel, connection, name):
    stream(channel, name(), max_length_bytes=1_000_000, max_age="1h", stream_max_segment_size_bytes=2_000_000)
    stream(channel, name(), max_length_bytes=1_000_000, max_age="1h", stream_max_segment_size_bytes=2_000_000)
    subject = f"for queue '{name()}' in vhost '/'"
    for arguments, argument, difference in [
        ({}, "x-max-length-bytes", "received none but current is the value '1000000' of type 'signedint'"),
        ({"max_length_bytes": 1}, "x-max-length-bytes", "received '1' but current is '1000000'"),
        ({"max_length_bytes": 1_000_000, "max_age": "60m"}, "x-max-age", "received '60m' but current is '1h'"),
        (
            {"max_length_bytes": 1_000_000, "max_age": "1h", "stream_max_segment_size_bytes": 1},
            "x-stream-max-segment-size-bytes",
            "received '1' but current is '2000000'",
        ),
    ]:
        with channel_closed(406, f"PRECONDITION_FAILED - inequivalent arg '{argument}' {subject}: {difference}"):
            stream(connection.channel(), name(), **arguments)


def test_a_classic_queue_and_a_stream_cannot_share_a_name(channel, connection, name):
    stream(channel, name())
    text = (
        f"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '{name()}' in vhost '/': "
        "received none but current is the value 'stream' of type 'longstr'"
    )
    with channel_closed(406, text):
        connection.channel().queue_declare(name(), durable=True)
    connection.channel().queue_declare(name("classic"), durable=True)
    text = (
        f"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '{name('classic')}' in vhost '/': "
        "received the value 'stream' of type 'longstr' but current is none"
    )
    with channel_closed(406, text):
        stream(connection.channel(), name("classic"))


@pytest.mark.parametrize(
    ("options", "property"),
    [
        ({"durable": False}, "non-durable"),
        ({"durable": True, "exclusive": True}, "exclusive-owner"),
        ({"durable": True, "auto_delete": True}, "auto-delete"),
    ],
)
def test_a_stream_outlives_everybody(channel, name, options, property):
    with channel_closed(406, f"PRECONDITION_FAILED - invalid property '{property}' for queue '{name()}' in vhost '/'"):
        channel.queue_declare(name(), arguments=STREAM, **options)


@pytest.mark.parametrize(
    "arguments",
    [
        {"message_ttl": 1000},
        {"max_length": 10},
        {"dead_letter_exchange": ""},
        {"max_priority": 5},
        {"max_age": "1 hour"},
    ],
)
def test_arguments_that_are_not_a_streams_are_refused(channel, name, arguments):
    (argument,) = arguments
    argument = f"x-{argument.replace('_', '-')}"
    with channel_closed(406, f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{name()}' in vhost '/'…"):
        stream(channel, name(), **arguments)


def test_a_segment_can_only_be_so_large(channel, name):
    with channel_closed(406, "PRECONDITION_FAILED - …"):
        stream(channel, name(), stream_max_segment_size_bytes=4_000_000_000)


def test_a_stream_needs_a_name(channel):
    with channel_closed(406, "PRECONDITION_FAILED - …"):
        stream(channel, "")


def test_what_only_queues_do_is_refused(connect, connection, filled):
    subject = f"stream queues queue '{filled}' in vhost '/'"
    with connection_closed(540, f"NOT_IMPLEMENTED - basic.get not supported by {subject}"):
        connect().channel().basic_get(filled)
    with connection_closed(540, f"NOT_IMPLEMENTED - queue.purge not supported by {subject}"):
        connect().channel().queue_purge(filled)
    with channel_closed(406, f"PRECONDITION_FAILED - consumer prefetch count is not set for 'queue '{filled}' in vhost '/''"):
        connection.channel().basic_consume(filled, print)
    with connection_closed(540, f"NOT_IMPLEMENTED - automatic acknowledgement not supported by {subject}"):
        channel = connect().channel()
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(filled, print, auto_ack=True)


@pytest.mark.parametrize("requeue", [True, False])
def test_nothing_goes_back_to_a_stream(connect, filled, requeue):
    subject = f"stream queues queue '{filled}' in vhost '/'"
    for refuse in ("basic_nack", "basic_reject"):
        subscriber = reader(connect(), filled, offset="first")
        (first, *_) = subscriber.wait_for(1)
        with connection_closed(540, f"NOT_IMPLEMENTED - basic.nack and basic.reject not supported by {subject}"):
            getattr(subscriber.channel, refuse)(first.method.delivery_tag, requeue=requeue)
            subscriber.wait_until(lambda: False)


def test_arguments_of_consumers_are_checked(connection, filled):
    for arguments in ({"x-stream-offset": "0s"}, {"x-priority": 1}):
        (argument,) = arguments
        with channel_closed(406, f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{filled}' in vhost '/'…"):
            channel = connection.channel()
            channel.basic_qos(prefetch_count=1)
            channel.basic_consume(filled, print, arguments=arguments)


def test_only_streams_have_offsets(channel, name):
    channel.queue_declare(name(), exclusive=True)
    with channel_closed(406, f"PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue '{name()}' in vhost '/'…"):
        channel.basic_consume(name(), print, arguments={"x-stream-offset": "first"})


@pytest.mark.only("cauce")
def test_offsets_that_are_none_are_refused(connection, filled):
    """RabbitMQ answers 541."""
    for offset in ("yesterday", True, [1]):
        with channel_closed(406, f"PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue '{filled}'…"):
            reader(connection, filled, offset=offset)


@pytest.mark.only("cauce")
def test_if_empty_and_if_unused_spare_a_stream(connection, filled):
    """RabbitMQ deletes it all the same."""
    with channel_closed(406, f"PRECONDITION_FAILED - queue '{filled}' in vhost '/' not empty"):
        connection.channel().queue_delete(filled, if_empty=True)
    reader(connection, filled)
    with channel_closed(406, f"PRECONDITION_FAILED - queue '{filled}' in vhost '/' in use"):
        connection.channel().queue_delete(filled, if_unused=True)
    assert connection.channel().queue_delete(filled).method.message_count == 10


def test_large_messages_and_many_of_them_arrive_in_order(connection, name):
    stream(connection.channel(), name())
    fill(connection, name(), [b"x" * 3_000_000, b"y"])
    channel = connection.channel()
    for number in range(5000):
        publish(channel, "", name(), str(number).rjust(200))
    subscriber = reader(connection, name(), prefetch=500, offset="first")
    seen = 0
    while seen < 5002:
        subscriber.wait_for(min(seen + 250, 5002))
        subscriber.channel.basic_ack(0, multiple=True)
        seen = len(subscriber.deliveries)
    assert [len(body) for body in subscriber.bodies[:2]] == [3_000_000, 1]
    assert [int(body) for body in subscriber.bodies[2:]] == list(range(5000))
    assert offsets(subscriber) == list(range(5002))


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.only("cauce")
def test_streams_and_their_bindings_outlive_the_broker(own_broker, end, name):
    with pika.BlockingConnection(own_broker.parameters()) as connection:
        channel = connection.channel()
        stream(channel, name(), max_age="1h")
        channel.exchange_declare(name("events"), "fanout", durable=True)
        channel.queue_bind(name(), name("events"))
        fill(connection, name(), [str(number) for number in range(100)])
    getattr(own_broker, end)()
    own_broker.start()
    with pika.BlockingConnection(own_broker.parameters()) as connection:
        stream(connection.channel(), name(), max_age="1h")
        fill(connection, name(), ["100"], name("events"), "k")
        subscriber = reader(connection, name(), prefetch=200, offset="first")
        subscriber.wait_for(101)
        assert (subscriber.bodies, offsets(subscriber)) == ([str(number) for number in range(101)], list(range(101)))


def test_a_reader_waits_without_asking(connection, connect, filled):
    """What is published while it waits comes at once."""
    subscriber = reader(connect(), filled, offset="next")
    for number in range(20):
        fill(connection, filled, [str(number)])
        begun = time.monotonic()
        subscriber.wait_for(number + 1)
        assert time.monotonic() - begun < 1
