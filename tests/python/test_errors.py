"""How the broker says no: each reply code and text as RabbitMQ words it."""

import struct

import pika
import pytest
from pamqp import commands, frame, heartbeat
from pika import spec

from clients import assert_reply, channel_closed, connection_closed, flush, publish, queue, send, take
from wire import PROTOCOL_HEADER, Wire, content


def raw(kind, payload, channel=1, end=b"\xce"):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


WRONG_CLASS = raw(2, struct.pack(">HHQH", 10, 0, 1, 0))


def test_a_wrong_password_is_refused_by_name(broker):
    with pytest.raises(pika.exceptions.ProbableAuthenticationError) as caught:
        pika.BlockingConnection(broker.parameters(password="wrong"))
    assert (
        "(403) 'ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
        "For details see the broker logfile.'"
    ) in str(caught.value)


def test_an_unknown_user_is_refused_in_the_same_words(broker):
    with pytest.raises(pika.exceptions.ProbableAuthenticationError) as caught:
        pika.BlockingConnection(broker.parameters(user="nobody"))
    assert "(403) 'ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN." in str(caught.value)


def test_a_client_that_does_not_ask_for_the_reason_is_hung_up_on(broker):
    """Only a client with the capability `authentication_failure_close` gets the close method."""
    with Wire(broker.port) as wire:
        wire.send_bytes(PROTOCOL_HEADER)
        wire.expect(commands.Connection.Start)
        wire.send(commands.Connection.StartOk({}, "PLAIN", "\0guest\0wrong", "en_US"))
        assert wire.rest() == b""


def test_a_missing_vhost_is_refused(broker):
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError) as caught:
        pika.BlockingConnection(broker.parameters(vhost="missing"))
    assert "(530) 'NOT_ALLOWED - vhost missing not found'" in str(caught.value)


def test_the_mechanism_must_be_one_of_those_offered(broker):
    with Wire(broker.port) as wire:
        wire.send_bytes(PROTOCOL_HEADER)
        start = wire.expect(commands.Connection.Start)
        assert set(start.mechanisms.split()) >= {"PLAIN", "AMQPLAIN"}
        assert start.locales == "en_US"
        wire.send(commands.Connection.StartOk({}, "MAGIC", "x", "en_US"))
        assert_ended(wire)


@pytest.mark.parametrize("hello", [b"AMQP\x00\x01\x00\x00", b"GET / HT", b"AMQP\x00\x00\x09\x02"])
def test_another_protocol_is_told_which_one_is_spoken(broker, hello):
    with Wire(broker.port) as wire:
        wire.send_bytes(hello)
        assert wire.rest() == PROTOCOL_HEADER


def test_the_server_says_who_it_is_and_what_it_can(connection):
    properties = connection._impl.server_properties
    assert properties["product"] and properties["version"]
    assert properties["capabilities"] == {
        "publisher_confirms": True,
        "exchange_exchange_bindings": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "connection.blocked": True,
        "consumer_priorities": True,
        "authentication_failure_close": True,
        "per_consumer_qos": True,
        "direct_reply_to": True,
    }


def test_the_server_proposes_the_usual_limits(broker):
    with Wire(broker.port) as wire:
        _, tune = wire.login()
        assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)


@pytest.mark.parametrize(
    "what, use",
    [
        ("queue", lambda channel, name: channel.queue_declare(name, passive=True)),
        ("queue", lambda channel, name: channel.basic_consume(name, lambda *_: None)),
        ("queue", lambda channel, name: channel.basic_get(name)),
        ("queue", lambda channel, name: channel.queue_purge(name)),
        ("exchange", lambda channel, name: channel.exchange_declare(name, passive=True)),
        ("exchange", lambda channel, name: (publish(channel, name, "k"), flush(channel))),
    ],
    ids=["declare", "consume", "get", "purge", "declare-exchange", "publish"],
)
def test_what_is_not_there_is_not_found(channel, name, what, use):
    with channel_closed(404, f"NOT_FOUND - no {what} '{name()}' in vhost '/'"):
        use(channel, name())


def test_publishing_to_a_missing_exchange_ends_a_confirming_channel_too(channel, name):
    channel.confirm_delivery()
    with channel_closed(404, f"NOT_FOUND - no exchange '{name()}' in vhost '/'"):
        publish(channel, name(), "k")


@pytest.mark.parametrize("settle", ["basic_ack", "basic_nack", "basic_reject"])
def test_an_unknown_delivery_tag_ends_the_channel(channel, settle):
    with channel_closed(406, "PRECONDITION_FAILED - unknown delivery tag 99"):
        getattr(channel, settle)(99)
        flush(channel)


def test_settling_twice_ends_the_channel(channel, name):
    queue(channel, name())
    publish(channel, "", name())
    tag = take(channel, name(), auto_ack=False).method.delivery_tag
    channel.basic_ack(tag)
    with channel_closed(406, f"PRECONDITION_FAILED - unknown delivery tag {tag}"):
        channel.basic_ack(tag)
        flush(channel)


def test_an_auto_acked_delivery_cannot_be_acked(channel, name):
    queue(channel, name())
    publish(channel, "", name())
    tag = take(channel, name(), auto_ack=True).method.delivery_tag
    with channel_closed(406, f"PRECONDITION_FAILED - unknown delivery tag {tag}"):
        channel.basic_ack(tag)
        flush(channel)


def test_the_other_channels_live_on_when_one_is_closed(connection, name):
    good, bad = connection.channel(), connection.channel()
    queue(good, name())
    with channel_closed(404, f"NOT_FOUND - no queue '{name('gone')}' in vhost '/'"):
        bad.queue_purge(name("gone"))
    publish(good, "", name(), "alive")
    assert take(good, name()).body == b"alive"
    assert take_number_again(connection, bad.channel_number)


def test_names_of_the_broker_are_reserved(channel):
    with channel_closed(403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"):
        queue(channel, "amq.mine")


@pytest.mark.parametrize("expiration", ["soon", "-1", "1s", ""])
def test_an_expiration_must_be_a_number_of_milliseconds(channel, name, expiration):
    queue(channel, name())
    with channel_closed(406, f"PRECONDITION_FAILED - invalid expiration '{expiration}': …"):
        publish(channel, "", name(), expiration=expiration)
        flush(channel)


def test_nobody_publishes_in_the_name_of_another(channel, name):
    queue(channel, name())
    with channel_closed(
        406, "PRECONDITION_FAILED - user_id property set to 'admin' but authenticated user was 'guest'"
    ):
        publish(channel, "", name(), user_id="admin")
        flush(channel)


def test_immediate_is_not_implemented(channel, name):
    with connection_closed(540, "NOT_IMPLEMENTED - immediate=true"):
        send(channel, spec.Basic.Publish(routing_key=name(), immediate=True), (pika.BasicProperties(), b"x"))
        flush(channel)


def test_a_prefetch_in_bytes_is_not_implemented(channel):
    with connection_closed(540, "NOT_IMPLEMENTED - prefetch_size!=0 (1)"):
        channel.basic_qos(prefetch_size=1)


def test_recovering_without_requeue_is_not_implemented(channel):
    with connection_closed(540, "NOT_IMPLEMENTED - requeue=false"):
        channel.basic_recover(requeue=False)


def test_channel_flow_is_refused_when_asked_to_stop(channel):
    with connection_closed(540, "NOT_IMPLEMENTED - active=false"):
        channel.flow(False)


def test_a_client_that_closes_is_answered(broker):
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        wire.send(commands.Channel.Close(200, "bye", 0, 0), 1)
        wire.expect(commands.Channel.CloseOk)
        wire.send(commands.Connection.Close(200, "bye", 0, 0))
        wire.expect(commands.Connection.CloseOk)


@pytest.mark.parametrize(
    "code, text, misbehave",
    [
        (504, "CHANNEL_ERROR - expected 'channel.open'", lambda wire: wire.send(commands.Basic.Qos(0, 1, False), 7)),
        (504, "CHANNEL_ERROR - second 'channel.open' seen", lambda wire: wire.send(commands.Channel.Open(), 1)),
        (
            505,
            "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead",
            lambda wire: (wire.send(commands.Basic.Publish(), 1), wire.send(commands.Basic.Qos(0, 1, False), 1)),
        ),
        (
            505,
            "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
            lambda wire: wire.send_bytes(frame.marshal(content(1), 1)),
        ),
        (
            505,
            "UNEXPECTED_FRAME - expected content header for class 60, got one for class 10 instead",
            lambda wire: (wire.send(commands.Basic.Publish(), 1), wire.send_bytes(WRONG_CLASS)),
        ),
        (
            505,
            "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
            lambda wire: (
                wire.send(commands.Basic.Publish(), 1),
                wire.send_bytes(frame.marshal(content(1), 1)),
                wire.send(commands.Basic.Qos(0, 1, False), 1),
            ),
        ),
        (
            504,
            "CHANNEL_ERROR - unexpected method in connection state running",
            lambda wire: wire.send(commands.Connection.Open("/")),
        ),
        (
            503,
            "COMMAND_INVALID - unimplemented method",
            lambda wire: wire.send(commands.Connection.Open("/"), 1),
        ),
        (
            501,
            "FRAME_ERROR - …",
            lambda wire: wire.send_bytes(raw(1, b"\x00\x3c\x00\x0a\x01\x02")),
        ),
        (
            501,
            "FRAME_ERROR - …",
            lambda wire: wire.send_bytes(raw(9, b"")),
        ),
        (
            501,
            "FRAME_ERROR - …",
            lambda wire: wire.send_bytes(raw(1, b"\x00\x14\x00\x0a", end=b"\x00")),
        ),
        (
            501,
            "FRAME_ERROR - …",
            lambda wire: wire.send_bytes(b"\x03\x00\x01\x00\x10\x00\x00" + b"x" * 16),
        ),
    ],
    ids=(
        "unopened opened-twice no-header header-first wrong-class no-body "
        "opened-again on-a-channel arguments type end size"
    ).split(),
)
def test_broken_grammar_ends_the_connection(broker, code, text, misbehave):
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        misbehave(wire)
        assert_reply(wire.expect_close(), code, text)
        wire.send(commands.Connection.CloseOk())
        assert wire.rest() == b""


@pytest.mark.parametrize(
    "class_id, method_id, misbehave",
    [
        (20, 10, lambda wire: wire.send(commands.Channel.Open(), 1)),
        (60, 10, lambda wire: wire.send(commands.Basic.Qos(0, 1, False), 7)),
        (60, 10, lambda wire: wire.send(commands.Basic.Qos(1, 1, False), 1)),
        (60, 10, lambda wire: wire.send_bytes(raw(1, b"\x00\x3c\x00\x0a\x01\x02"))),
        (60, 40, lambda wire: (wire.send(commands.Basic.Publish(), 1), wire.send(commands.Channel.Open(), 1))),
        (60, 40, lambda wire: (wire.send(commands.Basic.Publish(), 1), wire.send_bytes(WRONG_CLASS))),
        (10, 40, lambda wire: wire.send(commands.Connection.Open("/"))),
        (0, 0, lambda wire: wire.send_bytes(frame.marshal(content(1), 1))),
        (0, 0, lambda wire: wire.send_bytes(raw(9, b""))),
    ],
    ids="again unopened in-bytes arguments no-header wrong-class on-0 header-first type".split(),
)
def test_a_closed_connection_is_told_over_which_method(broker, class_id, method_id, misbehave):
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        misbehave(wire)
        close = wire.expect(commands.Connection.Close)
        assert (close.class_id, close.method_id) == (class_id, method_id)


def test_a_new_secret_is_taken(broker):
    with Wire(broker.port) as wire:
        wire.login()
        wire.send(commands.Connection.UpdateSecret("new", "the old one ran out"))
        wire.expect(commands.Connection.UpdateSecretOk)
        wire.open_channel()


def test_a_method_that_does_not_exist_ends_the_connection(broker):
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        wire.send_bytes(raw(1, b"\x00\x3c\x00\xff"))
        assert_ended(wire)


def test_one_channel_more_than_agreed_is_refused(broker):
    with Wire(broker.port) as wire:
        wire.login(channel_max=3)
        for number in (1, 2, 3):
            wire.open_channel(number)
        wire.send(commands.Channel.Open(), 4)
        assert wire.expect_close() == (
            530,
            "NOT_ALLOWED - number of channels opened (3) has reached the negotiated channel_max (3)",
        )


def test_heartbeats_keep_a_quiet_connection_alive(connect, name):
    connection = connect(heartbeat=1)
    channel = connection.channel()
    connection.sleep(2.6)
    queue(channel, name(), exclusive=True)
    publish(channel, "", name(), "still here")
    assert take(channel, name()).body == b"still here"


def test_a_client_that_stops_beating_is_dropped(broker):
    with Wire(broker.port) as wire:
        wire.login(heartbeat=1)
        beats = 0
        while received := wire.receive():
            beats += isinstance(received[1], heartbeat.Heartbeat)
        assert beats >= 1


def test_many_bad_strangers_do_not_disturb_a_good_client(broker, channel, name):
    queue(channel, name(), exclusive=True)
    for noise in (b"", b"\x00" * 64, PROTOCOL_HEADER + b"\xff" * 64, PROTOCOL_HEADER[:5]):
        with Wire(broker.port) as wire:
            wire.send_bytes(noise)
    publish(channel, "", name(), "undisturbed")
    assert take(channel, name()).body == b"undisturbed"


def assert_ended(wire):
    """RabbitMQ hangs up without a word here; to say why first would be as good."""
    ending = wire.receive()
    assert ending is None or isinstance(ending[1], commands.Connection.Close)


def take_number_again(connection, number):
    """A channel number is free again once both sides have closed it."""
    return connection.channel(number).is_open
