"""`cauce bench amqp` against any broker: what it publishes arrives, and it cleans up."""

import json
import subprocess

import pytest

import brokers


def bench(broker, options):
    command = [brokers.Cauce.executable(), "bench", "amqp", "--uri", broker.url(), "--json", "--warmup", "0.1"]
    done = subprocess.run([*command, "--duration", "0.5", *options.split()], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_every_message_reaches_its_queues(broker, kind):
    report = bench(broker, f"--exchange-type {kind} --queues 3 --publishers 2 --consumers 3 --rate 200")
    published, consumed = report["published"]["total"], report["consumed"]["total"]
    assert published > 0
    assert consumed == published * (3 if kind == "fanout" else 1)
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]


def test_confirms_and_acks_are_counted_and_the_rate_is_kept(broker):
    report = bench(
        broker,
        "--persistent --durable --confirm-window 50 --prefetch 20 --ack-every 10 --size 100 --rate 400",
    )
    assert report["confirmed"]["total"] == report["published"]["total"] == report["consumed"]["total"]
    assert 0 < report["confirm_latency_ms"]["p50"] <= report["confirm_latency_ms"]["p99"]
    assert report["published"]["per_second"] < 500


def test_nothing_is_left_behind(broker, channel):
    with subprocess.Popen(
        [brokers.Cauce.executable(), "bench", "amqp", "--uri", broker.url(), "--duration", "0.2", "--warmup", "0"],
        stdout=subprocess.DEVNULL,
    ) as process:
        assert process.wait(timeout=60) == 0
        with pytest.raises(Exception, match="no queue"):
            channel.queue_declare(f"cauce-bench-{process.pid}.00000", passive=True)
