"""Clients that mean harm, or behave as if: they get the answer they deserve, and nobody else notices."""

import contextlib
import re
import resource
import socket
import struct
import threading
import time
from pathlib import Path

import pika
import pytest
from pamqp import commands, frame, heartbeat

from brokers import Cauce
from clients import assert_reply, eventually
from wire import PROTOCOL_HEADER, Wire, content

# A thousand sockets on either side. Brokers inherit it, so it is raised before any starts.
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

MIB = 1 << 20
FRAME_BODY = 131072 - 8


@pytest.fixture
def canary(broker, connect, name):
    """A good client that sends itself a message again and again, from beginning to end of the test."""
    with watched(broker, name("canary")):
        yield


@contextlib.contextmanager
def watched(broker, queue):
    stop, failures, rounds = threading.Event(), [], []

    def sing():
        try:
            connection = pika.BlockingConnection(broker.parameters())
            channel = connection.channel()
            channel.queue_declare(queue, exclusive=True)
            channel.confirm_delivery()
            while not (stop.is_set() and rounds):
                began = time.monotonic()
                channel.basic_publish("", queue, b"tweet")
                _, _, body = channel.basic_get(queue, auto_ack=True)
                assert body == b"tweet"
                rounds.append(time.monotonic() - began)
                stop.wait(0.02)
            connection.close()
        except Exception as error:
            failures.append(error)

    singer = threading.Thread(target=sing)
    singer.start()
    try:
        yield
    finally:
        stop.set()
        singer.join()
    assert not failures, failures
    assert rounds and max(rounds) < 5, f"a round trip took {max(rounds):.1f} s"


def resident(broker):
    status = Path(f"/proc/{broker.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


@contextlib.contextmanager
def no_more_memory_than(broker, more):
    before = resident(broker)
    yield
    assert resident(broker) < before + more, f"{(resident(broker) - before) / MIB:.0f} MiB more"


def opened(broker, stack, **options):
    wire = stack.enter_context(Wire(broker.port))
    wire.login(**options)
    wire.open_channel()
    return wire


def announcement(size):
    return frame.marshal(commands.Basic.Publish(routing_key="nowhere"), 1) + frame.marshal(content(size), 1)


def body(size):
    return b"\x03\x00\x01" + struct.pack(">I", size) + b"x" * size + b"\xce"


def nested(depth):
    """A table whose only value is a table, and so on."""
    table = b""
    for _ in range(depth):
        table = b"\x01tF" + struct.pack(">I", len(table)) + table
    return struct.pack(">I", len(table)) + table


def method(payload, channel=0):
    return b"\x01" + struct.pack(">HI", channel, len(payload)) + payload + b"\xce"


def ended(wire):
    """How the broker ended the connection: the code, or nothing if it just hung up."""
    while (received := wire.receive()) and isinstance(received[1], heartbeat.Heartbeat):
        pass
    if received is None:
        return None
    assert isinstance(received[1], commands.Connection.Close), received
    wire.send(commands.Connection.CloseOk())
    assert wire.rest() == b""
    return received[1].reply_code


@pytest.mark.parametrize("noise", [b"\r\n\r\n", b"\xff" * 4096, b"AMQP\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"])
def test_garbage_before_the_protocol_header(broker, canary, noise):
    with Wire(broker.port) as wire:
        wire.send_bytes(noise)
        with contextlib.suppress(OSError):
            wire.socket.shutdown(socket.SHUT_WR)
        assert wire.rest() in (b"", PROTOCOL_HEADER)


@pytest.mark.parametrize("size", [131073, MIB, 0xFFFFFFFF])
def test_a_frame_larger_than_agreed(broker, canary, size):
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        wire.send_bytes(announcement(5) + b"\x03\x00\x01" + struct.pack(">I", size))
        assert ended(wire) == 501


def test_a_table_that_claims_four_gigabytes(broker, canary):
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        queue_declare = struct.pack(">HHH", 50, 10, 0) + b"\x01q\x00" + b"\xff\xff\xff\xff" + b"x" * 20
        wire.send_bytes(method(queue_declare, 1))
        assert ended(wire) in (501, 502, None)


@pytest.mark.parametrize("depth", [33, 1000, 12000])
def test_tables_in_tables_before_the_login(broker, canary, depth):
    with Wire(broker.port) as wire:
        wire.send_bytes(PROTOCOL_HEADER)
        wire.expect(commands.Connection.Start)
        wire.send_bytes(
            method(struct.pack(">HH", 10, 11) + nested(depth) + b"\x05PLAIN\x00\x00\x00\x0c\x00guest\x00guest\x05en_US")
        )
        answer = wire.receive()
        assert answer is None or isinstance(answer[1], (commands.Connection.Close, commands.Connection.Tune))


def test_a_table_that_claims_four_gigabytes_before_the_login(broker, canary):
    with Wire(broker.port) as wire:
        wire.send_bytes(PROTOCOL_HEADER)
        wire.expect(commands.Connection.Start)
        wire.send_bytes(method(struct.pack(">HH", 10, 11) + b"\xff\xff\xff\xff" + b"x" * 60))
        assert ended(wire) in (501, 502, None)


@pytest.mark.only("cauce")
def test_a_body_larger_than_is_taken(broker, canary):
    """RabbitMQ says so too, once all of it has come."""
    with Wire(broker.port) as wire:
        wire.login()
        wire.open_channel()
        wire.send_bytes(announcement(2**40))
        close = wire.expect(commands.Channel.Close)
        text = "PRECONDITION_FAILED - message size 1099511627776 is larger than configured max size 134217728"
        assert_reply((close.reply_code, close.reply_text), 406, text)


@pytest.mark.only("cauce")
def test_a_body_of_the_configured_size_is_taken_and_no_larger(tmp_path, broker):
    with Cauce(tmp_path / "cauce", "--max-message-size", "1M") as small, contextlib.ExitStack() as stack:
        wire = opened(small, stack)
        wire.send(commands.Confirm.Select(), 1)
        wire.expect(commands.Confirm.SelectOk)
        wire.send_bytes(announcement(MIB) + body(FRAME_BODY) * 8 + body(MIB - 8 * FRAME_BODY))
        wire.expect(commands.Basic.Ack)
        wire.send_bytes(announcement(MIB + 1))
        close = wire.expect(commands.Channel.Close)
        text = "PRECONDITION_FAILED - message size 1048577 is larger than configured max size 1048576"
        assert_reply((close.reply_code, close.reply_text), 406, text)
        assert "message size 1048577" in small.log()


@pytest.mark.only("cauce")
def test_the_limits_that_are_configured_are_proposed(tmp_path, broker):
    options = ("--frame-max", "8192", "--channel-max", "7", "--heartbeat", "9")
    with Cauce(tmp_path / "cauce", *options) as small, Wire(small.port) as wire:
        _, tune = wire.login(frame_max=8192)
        assert (tune.frame_max, tune.channel_max, tune.heartbeat) == (8192, 7, 9)
        wire.send_bytes(b"\x08\x00\x00" + struct.pack(">I", 8193))
        assert ended(wire) == 501


@pytest.mark.only("cauce")
def test_bodies_that_are_announced_cost_nothing_until_they_come(broker, canary):
    with no_more_memory_than(broker, 60 * MIB), contextlib.ExitStack() as stack:
        wires = [opened(broker, stack) for _ in range(200)]
        for wire in wires:
            wire.send_bytes(announcement(128 * MIB))
        for wire in wires:
            wire.send_bytes(body(100_000))
        time.sleep(1)


@pytest.mark.only("cauce")
def test_bodies_that_never_end_are_refused_before_memory_is(tmp_path, broker):
    """Forty clients send 4 MiB each of bodies that go on, to a broker that may use 64 MiB."""
    with Cauce(tmp_path / "cauce", "--memory", "64M") as small, contextlib.ExitStack() as stack:
        stack.enter_context(watched(small, "canary"))
        stack.enter_context(no_more_memory_than(small, 120 * MIB))
        codes = []
        for _ in range(40):
            wire = opened(small, stack)
            with contextlib.suppress(OSError):
                wire.send_bytes(announcement(64 * MIB) + body(FRAME_BODY) * 32)
            wire.socket.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                codes.append(ended(wire))
        assert 506 in codes, codes
        assert "half of the memory budget" in small.log()


@pytest.mark.only("cauce")
def test_a_handshake_that_takes_forever_is_ended(broker, canary):
    with Wire(broker.port) as slow, Wire(broker.port) as silent:
        began = time.monotonic()
        silent.socket.settimeout(20)
        for byte in PROTOCOL_HEADER:
            slow.send_bytes(bytes([byte]))
        slow.expect(commands.Connection.Start)
        start_ok = frame.marshal(commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"), 0)
        with contextlib.suppress(OSError):
            for byte in start_ok[:-1] * 9:
                slow.send_bytes(bytes([byte]))
                time.sleep(0.1)
                if time.monotonic() - began > 20:
                    break
        assert silent.rest() == b""
        assert 9 < time.monotonic() - began < 15
        assert "did not open its connection in time" in broker.log()


@pytest.mark.only("cauce")
def test_a_thousand_idle_connections(broker, canary):
    with no_more_memory_than(broker, 100 * MIB), contextlib.ExitStack() as stack:
        wires = [opened(broker, stack) for _ in range(1000)]
        for wire in wires[::100]:
            wire.send(commands.Basic.Qos(0, 1, False), 1)
            wire.expect(commands.Basic.QosOk)


def test_every_channel_there_is(broker, canary):
    with Wire(broker.port) as wire:
        _, tune = wire.login()
        for number in range(1, tune.channel_max + 1):
            wire.send(commands.Channel.Open(), number)
        for _ in range(tune.channel_max):
            wire.expect(commands.Channel.OpenOk)
        wire.send(commands.Channel.Open(), tune.channel_max + 1)
        assert ended(wire) == 530


@pytest.mark.only("cauce")
def test_thousands_of_consumers(broker, canary, name):
    with no_more_memory_than(broker, 60 * MIB), contextlib.ExitStack() as stack:
        wire = opened(broker, stack)
        wire.send(commands.Queue.Declare(queue=name(), exclusive=True), 1)
        wire.expect(commands.Queue.DeclareOk)
        for _ in range(2000):
            wire.send(commands.Basic.Consume(queue=name(), no_ack=True), 1)
        for _ in range(2000):
            wire.expect(commands.Basic.ConsumeOk)
        wire.send_bytes(
            frame.marshal(commands.Basic.Publish(routing_key=name()), 1) + frame.marshal(content(1), 1) + body(1)
        )
        wire.expect(commands.Basic.Deliver)


@pytest.mark.only("cauce")
def test_a_client_that_stops_reading(broker, canary, connect, name):
    """Its deliveries stay in their queue, its heartbeats are missed in the end, and what it had comes back."""
    channel = connect().channel()
    channel.queue_declare(name())
    with no_more_memory_than(broker, 200 * MIB), contextlib.ExitStack() as stack:
        wire = opened(broker, stack, heartbeat=2)
        wire.send(commands.Basic.Consume(queue=name()), 1)
        wire.expect(commands.Basic.ConsumeOk)
        for _ in range(60):
            channel.basic_publish("", name(), b"x" * MIB)
        wire.send(commands.Basic.Qos(0, 1, False), 1)
        assert eventually(lambda: ready(channel, name()) == 60, within=15)
        assert "missed heartbeats" in broker.log()
    channel.queue_delete(name())


@pytest.mark.only("cauce")
def test_a_client_that_asks_again_and_again_and_never_reads(broker, canary, connect, name):
    channel = connect().channel()
    channel.queue_declare(name())
    channel.basic_publish("", name(), b"x" * MIB)
    got = frame.marshal(commands.Basic.Get(queue=name()), 1) + frame.marshal(commands.Basic.RecoverAsync(True), 1)
    unroutable = frame.marshal(commands.Basic.Publish(routing_key="nowhere", mandatory=True), 1)
    unroutable += frame.marshal(content(100_000), 1) + body(100_000)
    with no_more_memory_than(broker, 30 * MIB), contextlib.ExitStack() as stack:
        for request in (got, unroutable):
            wire = opened(broker, stack)
            wire.socket.settimeout(1)
            with pytest.raises(TimeoutError):
                for _ in range(64):
                    wire.send_bytes(request * (MIB // len(request) + 1))
    channel.queue_delete(name())


def ready(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count
