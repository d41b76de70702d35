"""Short memory and short disk: who publishes waits and is told, all others go on, and nothing confirmed is lost."""

import os
import subprocess
import time
from contextlib import contextmanager

import pika
import pytest
from pamqp import commands, heartbeat

import brokers
from clients import eventually, queue, take, waiting
from wire import Wire, content

pytestmark = pytest.mark.only("cauce")

BIG = b"x" * 300_000


class Watched:
    """A connection of pika's that remembers what it was told of alarms."""

    def __init__(self, broker):
        self.connection = pika.BlockingConnection(broker.parameters(blocked_connection_timeout=60))
        self.told = []
        self.connection.add_on_connection_blocked_callback(
            lambda _, frame: self.told.append(frame.method.reason)
        )
        self.connection.add_on_connection_unblocked_callback(lambda *_: self.told.append("unblocked"))
        self.channel = self.connection.channel()

    def publish(self, name, body=b"x"):
        self.channel.basic_publish("", name, body, pika.BasicProperties(delivery_mode=2))

    def hears(self, *expected, within=5):
        def look():
            self.connection.process_data_events(0.02)
            return self.told == list(expected)

        eventually(look, within)
        assert self.told == list(expected)


@pytest.fixture
def short_of_memory(tmp_path):
    """One more large message is more than its budget, and the head of a queue is always in memory."""
    with brokers.Cauce(tmp_path / "short", "--memory", "1MiB") as broker:
        with pika.BlockingConnection(broker.parameters()) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for number in range(3):
                name = queue(channel, f"full.{number}")
                channel.basic_publish("", name, BIG, pika.BasicProperties(delivery_mode=2))
        yield broker


def test_publishers_are_told_of_short_memory_and_consumers_go_on(broker, short_of_memory):
    publisher, consumer, newcomer = (Watched(short_of_memory) for _ in range(3))
    queue(consumer.channel, "q")
    queue(consumer.channel, "other")
    publisher.publish("q", BIG)
    publisher.hears("low on memory")
    publisher.publish("other")
    newcomer.hears()
    newcomer.publish("other")
    newcomer.hears("low on memory")
    time.sleep(0.2)
    # What a publisher sends first says that it is one; all behind that waits.
    assert waiting(consumer.channel, "other") == 1
    assert take(consumer.channel, "q").body == BIG
    publisher.hears("low on memory", "unblocked")
    newcomer.hears("low on memory", "unblocked")
    assert eventually(lambda: waiting(consumer.channel, "other") == 2)
    consumer.hears()
    publisher.publish("q", BIG)
    publisher.hears("low on memory", "unblocked", "low on memory")


def test_a_client_that_cannot_hear_of_it_is_just_not_read(broker, short_of_memory):
    consumer = Watched(short_of_memory)
    queue(consumer.channel, "q")
    with Wire(short_of_memory.port) as wire:
        wire.login(heartbeat=1)
        wire.open_channel()
        wire.send(commands.Basic.Publish(0, "", "q"), 1)
        wire.send(content(len(BIG), delivery_mode=2), 1)
        for at in range(0, len(BIG), 100_000):
            part = BIG[at : at + 100_000]
            wire.send_bytes(b"\x03\x00\x01" + len(part).to_bytes(4, "big") + part + b"\xce")
        assert eventually(lambda: waiting(consumer.channel, "q") == 1)
        time.sleep(0.1)
        wire.send(commands.Queue.Declare(0, "q", passive=True), 1)
        # Nothing but heartbeats, here and there, for longer than the broker would bear a silent client.
        until = time.monotonic() + 3
        while time.monotonic() < until:
            _, what = wire.receive()
            assert isinstance(what, heartbeat.Heartbeat), what
            wire.send(heartbeat.Heartbeat())
        take(consumer.channel, "q")
        assert wire.expect(commands.Queue.DeclareOk).message_count == 0


@pytest.fixture
def small_memory(tmp_path):
    with brokers.Cauce(tmp_path / "small", "--memory", "1MiB") as broker:
        yield broker


def test_transactions_are_bounded(broker, small_memory):
    connection = pika.BlockingConnection(small_memory.parameters())
    channel = connection.channel()
    name = queue(channel, "q")
    channel.tx_select()
    for _ in range(3):
        channel.basic_publish("", name, b"x" * 10_000)
    channel.tx_commit()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        for _ in range(100):
            channel.basic_publish("", name, b"x" * 10_000)
        channel.tx_commit()
    assert closed.value.reply_code == 406
    assert "all they may have together" in closed.value.reply_text
    channel = connection.channel()
    assert waiting(channel, name) == 3
    # What the refused one held is free again.
    channel.tx_select()
    channel.basic_publish("", name, b"x" * 10_000)
    channel.tx_commit()
    assert waiting(channel, name) == 4


@contextmanager
def small_disk(path, size):
    """A file system of its own; with it, a way to change its size."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", str(path)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_publishers_wait_while_the_disk_is_short(broker, tmp_path):
    with small_disk(tmp_path / "disk", "64m") as resize:
        with brokers.Cauce(tmp_path / "disk" / "cauce", "--disk-free-limit", "40MB") as own:
            publisher, consumer = Watched(own), Watched(own)
            name = queue(consumer.channel, "q")
            publisher.channel.confirm_delivery()
            publisher.publish(name, b"before")
            resize("32m")
            time.sleep(1.5)
            publisher.hears("low on disk")
            assert take(consumer.channel, name).body == b"before"
            resize("64m")
            publisher.hears("low on disk", "unblocked")
            publisher.publish(name, b"after")
            assert take(consumer.channel, name).body == b"after"
            consumer.hears()


def test_a_disk_that_is_full_all_the_same_loses_nothing_confirmed(broker, tmp_path):
    with small_disk(tmp_path / "disk", "4m") as resize:
        own = brokers.Cauce(tmp_path / "disk" / "cauce", "--disk-free-limit", "0")
        own.start()
        channel = pika.BlockingConnection(own.parameters()).channel()
        name = queue(channel, "q")
        channel.confirm_delivery()
        confirmed = []
        with pytest.raises((pika.exceptions.AMQPError, OSError)):
            for number in range(1000):
                body = f"{number}.".encode() + b"x" * 20_000
                channel.basic_publish("", name, body, pika.BasicProperties(delivery_mode=2))
                confirmed.append(body)
        assert own.process.wait(10) != 0
        assert len(confirmed) > 100
        resize("64m")
        own.process = None
        own.start()
        try:
            assert "writing to the data directory failed" in own.log()
            channel = pika.BlockingConnection(own.parameters()).channel()
            found = [take(channel, name).body for _ in confirmed]
            assert found == confirmed
        finally:
            own.stop()
