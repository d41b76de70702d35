"""What a queue keeps, in which order, for how long, and for whom."""

import re
import time

import pytest
from pamqp import commands
from pika.compat import long

from clients import Subscriber, channel_closed, drained, eventually, publish, queue, take, waiting
from wire import Wire


def test_declaring_tells_the_name_the_messages_and_the_consumers(channel, name):
    queue(channel, name())
    publish(channel, "", name())
    channel.basic_consume(name(), lambda *_: None)
    queue(channel, name("idle"))
    publish(channel, "", name("idle"))
    assert eventually(lambda: waiting(channel, name("idle")) == 1)
    answer = channel.queue_declare(name("idle"), durable=True).method
    assert (answer.queue, answer.message_count, answer.consumer_count) == (name("idle"), 1, 0)
    assert channel.queue_declare(name(), passive=True).method.consumer_count == 1


def test_a_queue_without_a_name_gets_one(channel):
    first, second = queue(channel, exclusive=True), queue(channel, exclusive=True)
    assert re.fullmatch(r"amq\.gen-[A-Za-z0-9_-]{22}", first)
    assert first != second


def test_an_empty_name_means_the_last_queue_declared_on_the_channel(channel, name):
    last = queue(channel, exclusive=True)
    channel.queue_bind("", "amq.direct", last)
    publish(channel, "amq.direct", last, "hello")
    assert channel.basic_get("", auto_ack=True)[2] == b"hello"
    assert channel.queue_purge("").method.message_count == 0


def test_purge_and_delete_tell_how_many_messages_they_took(channel, name):
    queue(channel, name())
    for _ in range(3):
        publish(channel, "", name())
    taken = take(channel, name(), auto_ack=False)
    assert channel.queue_purge(name()).method.message_count == 2
    channel.basic_nack(taken.method.delivery_tag)
    publish(channel, "", name())
    assert channel.queue_delete(name()).method.message_count == 2


def test_deleting_what_is_not_there_does_no_harm(channel, name):
    assert channel.queue_delete(name("never")).method.message_count == 0


def test_if_unused_and_if_empty_spare_a_queue(connection, name):
    channel = connection.channel()
    queue(channel, name())
    publish(channel, "", name())
    with channel_closed(406, f"PRECONDITION_FAILED - queue '{name()}' in vhost '/' not empty"):
        connection.channel().queue_delete(name(), if_empty=True)
    channel.basic_consume(name(), lambda *_: None)
    with channel_closed(406, f"PRECONDITION_FAILED - queue '{name()}' in vhost '/' in use"):
        connection.channel().queue_delete(name(), if_unused=True)


def test_get_tells_how_many_are_left_and_empty_says_so(channel, name):
    queue(channel, name())
    publish(channel, "", name(), "a")
    publish(channel, "", name(), "b")
    left = [channel.basic_get(name(), auto_ack=True)[0].message_count for _ in range(2)]
    assert left == [1, 0]
    assert channel.basic_get(name()) == (None, None, None)


def test_messages_leave_in_the_order_they_came(channel, name):
    queue(channel, name())
    for number in range(200):
        publish(channel, "", name(), str(number))
    assert drained(channel, name()) == [str(number) for number in range(200)]


def test_a_full_queue_drops_its_oldest(channel, name):
    queue(channel, name(), max_length=3)
    for body in "abcde":
        publish(channel, "", name(), body)
    assert drained(channel, name()) == ["c", "d", "e"]


def test_a_queue_may_be_full_of_bytes(channel, name):
    queue(channel, name(), max_length_bytes=25)
    for body in ("a" * 10, "b" * 10, "c" * 10):
        publish(channel, "", name(), body)
    assert drained(channel, name()) == ["b" * 10, "c" * 10]


def test_only_ready_messages_fill_a_queue(channel, name):
    queue(channel, name(), max_length=1)
    publish(channel, "", name(), "out")
    out = take(channel, name(), auto_ack=False)
    publish(channel, "", name(), "in")
    assert eventually(lambda: waiting(channel, name()) == 1)
    channel.basic_nack(out.method.delivery_tag)
    assert eventually(lambda: waiting(channel, name()) == 1)
    assert drained(channel, name()) == ["in"]


def test_a_message_expires_after_its_own_time_or_the_queues_whichever_is_less(channel, name):
    queue(channel, name(), message_ttl=60_000)
    publish(channel, "", name(), "brief", expiration="20")
    publish(channel, "", name(), "stays")
    channel.connection.sleep(0.1)
    assert drained(channel, name()) == ["stays"]


def test_an_unused_queue_expires(channel, connection, name):
    """Looking is using: even a passive declare starts the time again, so it is looked at once."""
    queue(channel, name(), expires=50)
    connection.sleep(0.3)
    assert is_missing(connection, name())


def test_use_keeps_an_expiring_queue_alive(channel, connection, name):
    queue(channel, name(), expires=100)
    tag = channel.basic_consume(name(), lambda *_: None)
    connection.sleep(0.3)
    assert waiting(channel, name()) == 0
    channel.basic_cancel(tag)
    connection.sleep(0.4)
    assert is_missing(connection, name())


def test_an_auto_delete_queue_goes_with_its_last_consumer(channel, connection, name):
    queue(channel, name(), auto_delete=True)
    assert waiting(channel, name()) == 0
    first, second = (channel.basic_consume(name(), lambda *_: None) for _ in range(2))
    channel.basic_cancel(first)
    assert waiting(channel, name()) == 0
    channel.basic_cancel(second)
    assert is_missing(connection, name())


def test_an_exclusive_queue_is_locked_to_its_connection_and_goes_with_it(connect, name):
    owner, stranger = connect(), connect()
    queue(owner.channel(), name(), exclusive=True)
    locked = (
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name()}' in vhost '/'. It could be "
        "originally declared on another connection or the exclusive property value does not match that of the "
        "original declaration."
    )
    for use in (
        lambda channel: queue(channel, name(), exclusive=True),
        lambda channel: channel.queue_declare(name(), passive=True),
        lambda channel: channel.basic_consume(name(), lambda *_: None),
        lambda channel: channel.basic_get(name()),
        lambda channel: channel.queue_bind(name(), "amq.direct", "k"),
        lambda channel: channel.queue_purge(name()),
        lambda channel: channel.queue_delete(name()),
    ):
        with channel_closed(405, locked):
            use(stranger.channel())
    publish(stranger.channel(), "", name(), "publishing is not using")
    assert take(owner.channel(), name()).body == b"publishing is not using"
    owner.close()
    assert eventually(lambda: is_missing(stranger, name()))


def test_another_connection_cannot_make_an_exclusive_queue_of_a_common_one(channel, name):
    queue(channel, name())
    with channel_closed(
        405,
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name()}' in vhost '/'. It could be "
        "originally declared on another connection or the exclusive property value does not match that of the "
        "original declaration.",
    ):
        queue(channel, name(), exclusive=True)


def test_priorities_overtake(channel, name):
    queue(channel, name(), max_priority=5)
    for body, priority in (("none", None), ("low", 1), ("high", 5), ("beyond", 200), ("low too", 1)):
        publish(channel, "", name(), body, priority=priority)
    assert drained(channel, name()) == ["high", "beyond", "low", "low too", "none"]


def test_a_message_of_low_priority_expires_when_it_comes_to_the_front(channel, name):
    queue(channel, name(), max_priority=5)
    publish(channel, "", name(), "urgent", priority=5)
    publish(channel, "", name(), "gone", priority=1, expiration="50")
    time.sleep(0.2)
    assert waiting(channel, name()) == 2
    assert drained(channel, name()) == ["urgent"]


def test_a_quorum_queue_tells_how_often_a_message_came_back(connection, name):
    channel = connection.channel()
    queue(channel, name(), queue_type="quorum")
    publish(channel, "", name(), "job", headers={"mine": 1})
    for returns, ending in enumerate(("nack", "reject", "close", "recover", "ack")):
        got = take(channel, name(), auto_ack=False)
        assert got.method.redelivered == (returns > 0)
        # RabbitMQ before 4.0 says 0 at the first delivery; since then it says nothing.
        assert got.properties.headers.pop("x-delivery-count", 0) == returns
        assert got.properties.headers == {"mine": 1}
        tag = got.method.delivery_tag
        if ending == "nack":
            channel.basic_nack(tag)
        elif ending == "reject":
            channel.basic_reject(tag)
        elif ending == "recover":
            channel.basic_recover(requeue=True)
        elif ending == "close":
            channel.close()
            channel = connection.channel()
        else:
            channel.basic_ack(tag)


def test_a_consumer_of_a_quorum_queue_is_told_as_well_and_one_of_a_classic_queue_is_not(channel, name):
    for kind, told in (("quorum", 1), ("classic", None)):
        queue(channel, name(kind), queue_type=kind)
        publish(channel, "", name(kind), "job")
        consumer = Subscriber(channel, name(kind))
        channel.basic_nack(consumer.wait_for(1)[0].method.delivery_tag)
        again = consumer.wait_for(2)[1]
        assert again.method.redelivered
        assert (again.properties.headers or {}).get("x-delivery-count") == told


def returned_until_it_is_gone(channel, name, dead):
    """How often a message was delivered that its worker always gives back."""
    publish(channel, "", name, "job")
    deliveries = 0

    def look():
        nonlocal deliveries
        method, _, _ = channel.basic_get(name)
        if method:
            deliveries += 1
            channel.basic_nack(method.delivery_tag)
        return waiting(channel, dead)

    assert eventually(look)
    return deliveries


def test_past_its_delivery_limit_a_message_goes_to_dead_letters(channel, name):
    queue(channel, name("dead"))
    limits = dict(delivery_limit=2, dead_letter_exchange="", dead_letter_routing_key=name("dead"))
    queue(channel, name(), queue_type="quorum", **limits)
    assert returned_until_it_is_gone(channel, name(), name("dead")) == 3
    assert take(channel, name("dead")).properties.headers["x-death"][0]["reason"] == "delivery_limit"


@pytest.mark.only("cauce")
def test_a_quorum_queue_returns_a_message_twenty_times_unless_told_otherwise(channel, name):
    """As RabbitMQ since 4.0; the one the tests run against has no limit of its own accord."""
    queue(channel, name("dead"))
    letters = dict(dead_letter_exchange="", dead_letter_routing_key=name("dead"))
    queue(channel, name(), queue_type="quorum", **letters)
    assert returned_until_it_is_gone(channel, name(), name("dead")) == 21
    queue(channel, name("patient"), queue_type="quorum", delivery_limit=-1)
    publish(channel, "", name("patient"), "job")
    for _ in range(30):
        channel.basic_nack(take(channel, name("patient"), auto_ack=False).method.delivery_tag)
    assert take(channel, name("patient")).properties.headers == {"x-delivery-count": 30}


def test_a_returned_message_takes_its_old_place(channel, name):
    queue(channel, name())
    for body in "abcd":
        publish(channel, "", name(), body)
    a, b, c = (take(channel, name(), auto_ack=False) for _ in range(3))
    channel.basic_nack(b.method.delivery_tag, requeue=True)
    channel.basic_reject(a.method.delivery_tag, requeue=True)
    again = [take(channel, name()) for _ in range(3)]
    assert [(one.body.decode(), one.method.redelivered) for one in again] == [("a", True), ("b", True), ("d", False)]
    channel.basic_ack(c.method.delivery_tag)


def test_messages_unsettled_on_a_closed_channel_come_back(connection, name):
    worker, reader = connection.channel(), connection.channel()
    queue(worker, name())
    for body in "abc":
        publish(worker, "", name(), body)
    for _ in range(2):
        take(worker, name(), auto_ack=False)
    worker.close()
    again = [take(reader, name()) for _ in range(3)]
    assert [(one.body.decode(), one.method.redelivered) for one in again] == [("a", True), ("b", True), ("c", False)]


def test_messages_unsettled_on_a_broken_connection_come_back(broker, channel, name):
    queue(channel, name())
    publish(channel, "", name(), "held")
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        wire.send(commands.Basic.Get(queue=name()), 1)
        wire.expect(commands.Basic.GetOk)
    again = take(channel, name())
    assert (again.body, again.method.redelivered) == (b"held", True)


def test_recover_gives_back_everything_unsettled(channel, name):
    queue(channel, name())
    for body in "ab":
        publish(channel, "", name(), body)
    for _ in range(2):
        take(channel, name(), auto_ack=False)
    channel.basic_recover(requeue=True)
    assert [take(channel, name()).method.redelivered for _ in range(2)] == [True, True]


def test_ack_multiple_settles_everything_before(channel, connection, name):
    queue(channel, name())
    for body in "abc":
        publish(channel, "", name(), body)
    _, second, _ = (take(channel, name(), auto_ack=False) for _ in range(3))
    channel.basic_ack(second.method.delivery_tag, multiple=True)
    channel.close()
    assert drained(connection.channel(), name()) == ["c"]


def test_tag_zero_with_multiple_settles_everything(channel, connection, name):
    queue(channel, name())
    for body in "abc":
        publish(channel, "", name(), body)
    for _ in range(3):
        take(channel, name(), auto_ack=False)
    channel.basic_ack(0, multiple=True)
    channel.close()
    assert drained(connection.channel(), name()) == []


def test_a_queue_declared_lazy_or_classic_works(channel, name):
    queue(channel, name("lazy"), queue_mode="lazy")
    queue(channel, name("classic"), queue_type="classic")
    for part in ("lazy", "classic"):
        publish(channel, "", name(part), part)
        assert drained(channel, name(part)) == [part]


@pytest.mark.parametrize(
    "argument, text, other",
    [
        ("durable", "received 'false' but current is 'true'", {"durable": False}),
        ("auto_delete", "received 'true' but current is 'false'", {"auto_delete": True}),
        ("x-max-length", "received '5' but current is '10'", {"max_length": 5}),
        (
            "x-max-length",
            "received none but current is the value '10' of type 'signedint'",
            {"max_length": None},
        ),
        (
            "x-message-ttl",
            "received the value '1000' of type 'signedint' but current is none",
            {"message_ttl": 1000},
        ),
        (
            "x-dead-letter-exchange",
            "received the value 'dlx' of type 'longstr' but current is none",
            {"dead_letter_exchange": "dlx"},
        ),
    ],
    ids=["durable", "auto-delete", "number", "absent", "new-number", "new-text"],
)
def test_declaring_a_queue_otherwise_is_refused_with_the_difference(channel, name, argument, text, other):
    queue(channel, name(), max_length=10)
    options = {word: value for word, value in ({"max_length": 10} | other).items() if value is not None}
    with channel_closed(
        406, f"PRECONDITION_FAILED - inequivalent arg '{argument}' for queue '{name()}' in vhost '/': {text}"
    ):
        queue(channel, name(), **options)


def test_the_same_number_in_another_integer_type_is_the_same_argument(channel, name):
    """pika writes small numbers in 4 bytes and aio-pika in as few as fit: both mean the same queue."""
    queue(channel, name(), max_length=10)
    queue(channel, name(), max_length=long(10))


def test_a_queue_does_not_become_a_stream(channel, name):
    queue(channel, name())
    with channel_closed(
        406,
        f"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '{name()}' in vhost '/': "
        "received the value 'stream' of type 'longstr' but current is none",
    ):
        queue(channel, name(), queue_type="stream")


def test_saying_classic_is_saying_nothing(channel, name):
    queue(channel, name())
    queue(channel, name(), queue_type="classic")


def test_an_argument_the_broker_does_not_know_is_kept_and_not_compared(channel, name):
    queue(channel, name(), colour="red")
    queue(channel, name(), colour="blue")


@pytest.mark.parametrize(
    "argument, value",
    [
        ("max_length", -1),
        ("max_length", "5"),
        ("max_length_bytes", -1),
        ("message_ttl", -1),
        ("message_ttl", "1"),
        ("expires", 0),
        ("expires", -1),
        ("overflow", "spill"),
        ("max_priority", 256),
        ("max_priority", -1),
        ("queue_type", "teapot"),
        ("queue_mode", "bad"),
        ("single_active_consumer", "yes"),
        ("dead_letter_routing_key", "no-exchange"),
    ],
)
def test_an_argument_without_sense_is_refused(channel, name, argument, value):
    known_as = f"x-{argument.replace('_', '-')}"
    with channel_closed(406, f"PRECONDITION_FAILED - invalid arg '{known_as}' for queue '{name()}' in vhost '/': …"):
        queue(channel, name(), **{argument: value})


def test_an_empty_name_on_a_fresh_channel_means_nothing(connection):
    for use in (
        lambda channel: channel.queue_bind("", "amq.direct", ""),
        lambda channel: channel.queue_purge(""),
        lambda channel: channel.basic_get(""),
    ):
        with channel_closed(404, "NOT_FOUND - no previously declared queue"):
            use(connection.channel())


def test_unbinding_what_is_not_there_does_no_harm(channel, name):
    queue(channel, name())
    channel.queue_unbind(name("gone"), "amq.direct", "k")
    channel.queue_unbind(name(), name("gone"), "k")


def is_missing(connection, queue_name):
    channel = connection.channel()
    try:
        channel.queue_declare(queue_name, passive=True)
        channel.close()
        return False
    except Exception as error:
        assert error.reply_code == 404, error
        return True
