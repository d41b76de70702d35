"""The three deaths of a message (rejected, expired, too many) and where the dead go."""

import pytest

from clients import drained, eventually, publish, queue, take, take_bodies, waiting


@pytest.fixture
def graveyard(channel, name):
    """A fanout that keeps every dead message in the queue `dead`."""
    channel.exchange_declare(name("dlx"), "fanout", durable=True)
    queue(channel, name("dead"))
    channel.queue_bind(name("dead"), name("dlx"))
    return name("dlx")


def test_a_rejected_message_is_buried(channel, name, graveyard):
    queue(channel, name(), dead_letter_exchange=graveyard)
    for settle in (channel.basic_reject, channel.basic_nack):
        publish(channel, "", name(), "bad")
        settle(take(channel, name(), auto_ack=False).method.delivery_tag, requeue=False)
        dead = take(channel, name("dead"))
        assert (dead.body, dead.method.exchange, dead.method.routing_key) == (b"bad", graveyard, name())
        assert death_of(dead) == ("rejected", name(), 1)


def test_nacking_many_buries_them_in_order(channel, name, graveyard):
    queue(channel, name(), dead_letter_exchange=graveyard)
    for body in "abc":
        publish(channel, "", name(), body)
    for _ in range(3):
        last = take(channel, name(), auto_ack=False)
    channel.basic_nack(last.method.delivery_tag, multiple=True, requeue=False)
    assert take_bodies(channel, name("dead"), 3) == ["a", "b", "c"]


def test_a_message_past_the_queues_ttl_is_buried(channel, name, graveyard):
    queue(channel, name(), dead_letter_exchange=graveyard, message_ttl=20)
    publish(channel, "", name(), "late")
    dead = take(channel, name("dead"))
    assert death_of(dead) == ("expired", name(), 1)


def test_a_message_past_its_own_expiration_is_buried_without_it(channel, name, graveyard):
    queue(channel, name(), dead_letter_exchange=graveyard)
    publish(channel, "", name(), "late", expiration="20")
    dead = take(channel, name("dead"))
    assert dead.properties.expiration is None
    assert dead.properties.headers["x-death"][0]["original-expiration"] == "20"


def test_the_oldest_is_buried_when_the_queue_is_full(channel, name, graveyard):
    queue(channel, name(), dead_letter_exchange=graveyard, max_length=2)
    for body in "abcd":
        publish(channel, "", name(), body)
    assert take_bodies(channel, name("dead"), 2) == ["a", "b"]
    assert drained(channel, name()) == ["c", "d"]


def test_a_death_by_length_says_maxlen(channel, name, graveyard):
    queue(channel, name(), dead_letter_exchange=graveyard, max_length=0)
    publish(channel, "", name(), "none")
    assert death_of(take(channel, name("dead"))) == ("maxlen", name(), 1)


def test_a_full_queue_that_rejects_buries_the_newcomer(channel, name, graveyard):
    queue(channel, name(), dead_letter_exchange=graveyard, max_length=1, overflow="reject-publish-dlx")
    publish(channel, "", name(), "first")
    publish(channel, "", name(), "second")
    dead = take(channel, name("dead"))
    assert (dead.body, death_of(dead)) == (b"second", ("maxlen", name(), 1))
    assert drained(channel, name()) == ["first"]


def test_the_dead_letter_routing_key_replaces_the_original(channel, name):
    queue(channel, name("dead"))
    queue(channel, name(), dead_letter_exchange="", dead_letter_routing_key=name("dead"), message_ttl=1)
    publish(channel, "", name(), "moved")
    dead = take(channel, name("dead"))
    assert (dead.method.exchange, dead.method.routing_key) == ("", name("dead"))
    assert dead.properties.headers["x-death"][0]["routing-keys"] == [name()]


def test_without_a_dead_letter_exchange_the_dead_are_gone(channel, name):
    queue(channel, name(), message_ttl=1)
    publish(channel, "", name(), "gone")
    assert eventually(lambda: waiting(channel, name()) == 0)


def test_a_dead_letter_exchange_that_does_not_exist_loses_the_dead_quietly(channel, name):
    queue(channel, name(), dead_letter_exchange=name("missing"))
    publish(channel, "", name(), "gone")
    channel.basic_reject(take(channel, name(), auto_ack=False).method.delivery_tag, requeue=False)
    assert waiting(channel, name()) == 0


def test_a_circle_of_expiry_is_cut(channel, name):
    """A message that would come back to the same queue with nobody having refused it in between is dropped."""
    queue(channel, name("a"), dead_letter_exchange="", dead_letter_routing_key=name("b"), message_ttl=1)
    queue(channel, name("b"), dead_letter_exchange="", dead_letter_routing_key=name("a"), message_ttl=1)
    publish(channel, "", name("a"), "dizzy")
    assert eventually(lambda: waiting(channel, name("a")) + waiting(channel, name("b")) == 0)


def test_a_ttl_of_zero_delivers_only_to_who_already_waits(channel, name):
    queue(channel, name(), message_ttl=0)
    publish(channel, "", name(), "nobody here")
    assert drained(channel, name()) == []


def death_of(dead):
    first = dead.properties.headers["x-death"][0]
    return first["reason"], first["queue"], first["count"]
