"""The chapter's retries (9.8): a work queue, rungs that wait ever longer, and the dead letters at the end.

orders ──> work ──(failed)──> retry exchange ──> wait.1 (50 ms) ──┐
            ^                              └───> wait.2 (100 ms) ─┤
            └──────────────── orders <──────────(expired)─────────┘
                    after the last rung ──> dead
"""

import pytest

from clients import Subscriber, eventually, publish, queue, take, waiting

RUNGS = {"wait.1": 50, "wait.2": 100}


@pytest.fixture
def ladder(channel, name):
    channel.exchange_declare(name("orders"), "direct", durable=True)
    channel.exchange_declare(name("retry"), "direct", durable=True)
    queue(channel, name("dead"))
    queue(channel, name("work"), dead_letter_exchange=name("retry"), dead_letter_routing_key="wait.1")
    channel.queue_bind(name("work"), name("orders"), "order")
    for rung, wait in RUNGS.items():
        queue(
            channel,
            name(rung),
            message_ttl=wait,
            dead_letter_exchange=name("orders"),
            dead_letter_routing_key="order",
        )
        channel.queue_bind(name(rung), name("retry"), rung)
    return channel


def test_a_failing_order_climbs_every_rung_and_ends_in_the_dead_letters(ladder, name):
    """The consumer counts its attempts in a header and republishes, as the chapter's recipe says."""
    attempts = []

    def work(channel, method, properties, body):
        attempt = (properties.headers or {}).get("x-retry-count", 0)
        attempts.append(attempt)
        properties.headers = (properties.headers or {}) | {"x-retry-count": attempt + 1}
        rung = f"wait.{attempt + 1}"
        exchange, key = (name("retry"), rung) if rung in RUNGS else ("", name("dead"))
        channel.basic_publish(exchange, key, body, properties)
        channel.basic_ack(method.delivery_tag)

    ladder.basic_qos(prefetch_count=1)
    tag = ladder.basic_consume(name("work"), work)
    publish(ladder, name("orders"), "order", "order 7", delivery_mode=2, message_id="7")
    connection = ladder.connection
    eventually(lambda: connection.process_data_events(time_limit=0.01) or len(attempts) == 3)
    ladder.basic_cancel(tag)

    assert attempts == [0, 1, 2]
    dead = take(ladder, name("dead"))
    assert (dead.body, dead.properties.message_id, dead.properties.delivery_mode) == (b"order 7", "7", 2)
    deaths = {death["queue"]: death for death in dead.properties.headers["x-death"]}
    assert set(deaths) == {name("wait.1"), name("wait.2")}
    assert all(death["reason"] == "expired" and death["count"] == 1 for death in deaths.values())
    assert waiting(ladder, name("work")) == 0


def test_a_rejected_order_counts_its_own_deaths(ladder, name):
    """The broker's own counter: every lap adds one to the count of each queue it died in."""
    publish(ladder, name("orders"), "order", "order 8")
    for lap in range(3):
        order = take(ladder, name("work"), auto_ack=False)
        deaths = (order.properties.headers or {}).get("x-death", [])
        assert [(death["queue"], death["reason"], death["count"]) for death in deaths] == (
            [(name("wait.1"), "expired", lap), (name("work"), "rejected", lap)] if lap else []
        )
        ladder.basic_reject(order.method.delivery_tag, requeue=False)


def test_x_death_tells_when_where_and_why(ladder, name):
    publish(ladder, name("orders"), "order", "order 9", headers={"own": "kept"}, expiration="60000")
    order = take(ladder, name("work"), auto_ack=False)
    ladder.basic_nack(order.method.delivery_tag, requeue=False)
    headers = take(ladder, name("work")).properties.headers

    expired, rejected = headers["x-death"]
    assert headers["own"] == "kept"
    assert rejected.pop("time") and expired.pop("time")
    assert rejected == {
        "count": 1,
        "reason": "rejected",
        "queue": name("work"),
        "exchange": name("orders"),
        "routing-keys": ["order"],
        "original-expiration": "60000",
    }
    assert expired == {
        "count": 1,
        "reason": "expired",
        "queue": name("wait.1"),
        "exchange": name("retry"),
        "routing-keys": ["wait.1"],
    }
    assert headers["x-first-death-queue"] == name("work")
    assert headers["x-first-death-exchange"] == name("orders")
    assert headers["x-first-death-reason"] == "rejected"


def test_a_short_wait_behind_a_long_one_in_the_same_queue_waits_too(channel, name):
    """Expiry happens at the head only: why the ladder has a queue for each rung."""
    queue(channel, name("late"))
    queue(channel, name("wait"), dead_letter_exchange="", dead_letter_routing_key=name("late"))
    publish(channel, "", name("wait"), "long", expiration="300")
    publish(channel, "", name("wait"), "short", expiration="1")
    late = Subscriber(channel, name("late"), auto_ack=True)
    late.wait_for(2)
    assert late.bodies == ["long", "short"]
