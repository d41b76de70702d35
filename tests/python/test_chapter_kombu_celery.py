"""The chapter's kombu program (9.9), and Celery, which is built on kombu, with a real worker process."""

import os
import socket
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import kombu
import pytest

from celery_orders import order_service
from clients import eventually

HERE = Path(__file__).resolve().parent
PATIENCE_SECONDS = 20


@pytest.fixture
def media(broker, name):
    with kombu.Connection(broker.url(), heartbeat=30) as connection:
        exchange = kombu.Exchange(name("media"), type="direct", durable=True)
        yield connection, exchange, kombu.Queue(name("video"), exchange=exchange, routing_key="video")


def test_a_producer_declares_what_it_needs_and_a_consumer_drains_it(media):
    connection, exchange, videos = media
    with connection.Producer(serializer="json") as producer:
        producer.publish(
            {"file": "/videos/film.mp4", "codec": "h264"}, exchange=exchange, routing_key="video", declare=[videos]
        )

    seen = []

    def play(body, message):
        seen.append((body["file"], message.delivery_info["routing_key"], message.properties["delivery_mode"]))
        message.ack()

    with connection.Consumer(queues=[videos], callbacks=[play], accept=["json"]):
        connection.drain_events(timeout=PATIENCE_SECONDS)
    assert seen == [("/videos/film.mp4", "video", 2)]


def test_draining_an_empty_queue_times_out(media):
    connection, _exchange, videos = media
    with connection.Consumer(queues=[videos], callbacks=[lambda body, message: None]):
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=0.2)


def test_a_rejected_or_requeued_message_goes_where_the_consumer_said(media):
    connection, exchange, videos = media
    with connection.Producer() as producer:
        for body in ("bad", "good"):
            producer.publish(body, exchange=exchange, routing_key="video", declare=[videos])

    seen = []

    def judge(body, message):
        seen.append((body, bool(message.delivery_info["redelivered"])))
        if body == "bad":
            message.reject()
        elif len(seen) < 3:
            message.requeue()
        else:
            message.ack()

    with connection.Consumer(queues=[videos], callbacks=[judge]):
        while len(seen) < 3:
            connection.drain_events(timeout=PATIENCE_SECONDS)
    assert seen == [("bad", False), ("good", False), ("good", True)]


def test_a_simple_queue_is_a_list_with_two_ends(media, name):
    connection, *_ = media
    with connection.SimpleQueue(name("simple")) as numbers:
        for number in range(3):
            numbers.put({"n": number})
        assert eventually(lambda: numbers.qsize() == 3)
        for number in range(3):
            message = numbers.get(timeout=PATIENCE_SECONDS)
            assert message.payload == {"n": number}
            message.ack()
        with pytest.raises(numbers.Empty):
            numbers.get_nowait()


def test_compressed_messages_and_confirms_work(broker, name):
    with kombu.Connection(broker.url(), transport_options={"confirm_publish": True}) as connection:
        big = kombu.Queue(name(), kombu.Exchange(name("ex"), type="topic"), routing_key="a.#")
        with connection.Producer(serializer="json", compression="zlib") as producer:
            producer.publish(["ñ" * 1000] * 100, exchange=big.exchange, routing_key="a.b", declare=[big])
        message = big(connection.channel()).get(no_ack=True)
        assert message.decode() == ["ñ" * 1000] * 100


@pytest.fixture(scope="module")
def orders(broker, tmp_path_factory):
    """A Celery worker in a process of its own, with gossip, mingle and heartbeats as it comes."""
    log = tmp_path_factory.mktemp("celery") / "worker.log"
    environment = os.environ | {"CELERY_BROKER": broker.url(), "PYTHONPATH": str(HERE)}
    node = f"orders-{broker.name}@test"
    with open(log, "wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "celery_orders", "worker"]
            + ["--pool", "solo", "--loglevel", "info", "--hostname", node],
            cwd=log.parent,
            env=environment,
            stdout=output,
            stderr=output,
        )
    app = order_service(broker.url())
    try:
        wait_until_ready(worker, log)
        yield app
    finally:
        app.close()
        worker.terminate()
        try:
            worker.wait(PATIENCE_SECONDS)
        finally:
            worker.kill()


def test_a_task_runs_in_the_worker_and_answers(orders):
    assert orders.tasks["orders.total"].delay([10, 20, 12]).get(timeout=PATIENCE_SECONDS) == 42


def test_many_tasks_answer_each_to_its_caller(orders):
    results = [orders.tasks["orders.total"].delay([number, number]) for number in range(20)]
    assert [result.get(timeout=PATIENCE_SECONDS) for result in results] == [2 * number for number in range(20)]


def test_a_task_that_fails_twice_is_retried_until_it_works(orders):
    assert orders.tasks["orders.flaky"].delay(fails=2).get(timeout=PATIENCE_SECONDS) == "worked at attempt 3"


def test_a_task_with_an_eta_waits_for_its_hour(orders):
    sent = time.time()
    due = datetime.now(timezone.utc) + timedelta(seconds=0.5)
    ran = orders.tasks["orders.clock"].apply_async(eta=due).get(timeout=PATIENCE_SECONDS)
    assert ran - sent >= 0.45


def test_an_error_of_a_task_travels_back_to_the_caller(orders):
    with pytest.raises(ValueError, match="no such order"):
        orders.tasks["orders.fail"].delay("no such order").get(timeout=PATIENCE_SECONDS)


def test_a_chain_hands_the_result_of_one_task_to_the_next(orders):
    total = orders.tasks["orders.total"]
    chain = total.s([1, 2]) | orders.tasks["orders.add"].s(10)
    assert chain.apply_async().get(timeout=PATIENCE_SECONDS) == 13


def test_the_worker_answers_remote_control(orders):
    """Control commands travel through a fanout of their own and answer on an expiring reply queue."""
    answers = orders.control.ping(timeout=5, limit=1)
    assert [list(answer.values()) for answer in answers] == [[{"ok": "pong"}]]


def wait_until_ready(worker, log):
    deadline = time.monotonic() + 40
    while b" ready." not in log.read_bytes():
        assert worker.poll() is None, f"the worker ended\n{log.read_text()}"
        assert time.monotonic() < deadline, f"the worker is not ready\n{log.read_text()}"
        time.sleep(0.05)
