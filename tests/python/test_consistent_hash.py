"""The exchange that gives each message to exactly one of its queues, the same for the same key."""

import pytest

from clients import channel_closed, drained, publish, queue, returns

KEYS = [f"customer.{number}" for number in range(400)]


def test_each_message_goes_to_one_queue_and_a_key_stays_where_it_is(channel, name):
    exchange = hashing(channel, name, weights={"a": "1", "b": "1", "c": "1"})
    for lap in range(2):
        for key in KEYS:
            publish(channel, exchange, key, key)
    shares = {part: drained(channel, name(part)) for part in "abc"}
    assert sorted(sum(shares.values(), [])) == sorted(KEYS * 2)
    assert all(shares.values()), "400 keys leave no queue of three without any"
    for share in shares.values():
        half = len(share) // 2
        assert share[:half] == share[half:], "both laps in the same order to the same queue"


def test_the_binding_key_is_the_weight(channel, name):
    exchange = hashing(channel, name, weights={"light": "10", "heavy": "30"})
    for key in KEYS * 3:
        publish(channel, exchange, key)
    light, heavy = (len(drained(channel, name(part))) for part in ("light", "heavy"))
    assert light + heavy == len(KEYS) * 3
    assert 1.8 < heavy / light < 5, f"{light} and {heavy} are not about one to three"


def test_a_new_queue_takes_keys_and_moves_no_others(channel, name):
    exchange = hashing(channel, name, weights={"a": "1", "b": "1"})
    before = homes(channel, name, exchange, "ab")
    queue(channel, name("c"))
    channel.queue_bind(name("c"), exchange, "1")
    after = homes(channel, name, exchange, "abc")
    moved = {key for key in KEYS if before[key] != after[key]}
    assert moved and {after[key] for key in moved} == {"c"}


@pytest.mark.parametrize(
    "arguments, properties",
    [
        ({"hash-header": "customer"}, lambda key: {"headers": {"customer": key}}),
        ({"hash-property": "message_id"}, lambda key: {"message_id": key}),
        ({"hash-property": "correlation_id"}, lambda key: {"correlation_id": key}),
        ({"hash-property": "timestamp"}, lambda key: {"timestamp": int(key.rsplit(".")[-1]) * 7919}),
    ],
    ids=lambda case: "-".join(case.values()) if isinstance(case, dict) else "",
)
def test_a_header_or_a_property_can_be_hashed_instead_of_the_key(channel, name, arguments, properties):
    exchange = hashing(channel, name, weights={"a": "1", "b": "1"}, **arguments)
    for routing_key in ("one", "two"):
        for key in KEYS:
            publish(channel, exchange, routing_key, key, **properties(key))
    shares = [drained(channel, name(part)) for part in "ab"]
    assert all(shares)
    for share in shares:
        half = len(share) // 2
        assert share[:half] == share[half:], "the routing key makes no difference"


def test_what_lacks_the_header_stays_together(channel, name):
    exchange = hashing(channel, name, weights={"a": "1", "b": "1"}, **{"hash-header": "customer"})
    for key in KEYS[:50]:
        publish(channel, exchange, key, headers={"other": key})
    assert sorted(len(drained(channel, name(part))) for part in "ab") == [0, 50]


def test_weights_are_numbers_above_zero(connection, name):
    hashing(connection.channel(), name, weights={"a": "1"})
    for weight in ("0", "-1", "much", ""):
        with channel_closed(406, "PRECONDITION_FAILED - …"):
            connection.channel().queue_bind(name("a"), name("ex"), weight)


def test_a_header_and_a_property_at_once_are_refused(connection, name):
    for arguments in ({"hash-header": "h", "hash-property": "message_id"}, {"hash-property": "reply_to"}):
        with channel_closed(406, "PRECONDITION_FAILED - …"):
            connection.channel().exchange_declare(name("ex"), "x-consistent-hash", durable=True, arguments=arguments)


def test_it_routes_to_exchanges_and_without_queues_returns(channel, name):
    returned = returns(channel)
    exchange = hashing(channel, name, weights={})
    publish(channel, exchange, "k", "nobody", mandatory=True)
    channel.exchange_declare(name("next"), "fanout")
    channel.exchange_bind(name("next"), exchange, "1")
    queue(channel, name("q"))
    channel.queue_bind(name("q"), name("next"))
    publish(channel, exchange, "k", "through", mandatory=True)
    assert (returned(), drained(channel, name("q"))) == ([b"nobody"], ["through"])


def hashing(channel, name, weights, **arguments):
    channel.exchange_declare(name("ex"), "x-consistent-hash", durable=True, arguments=arguments)
    for part, weight in weights.items():
        queue(channel, name(part))
        channel.queue_bind(name(part), name("ex"), weight)
    return name("ex")


def homes(channel, name, exchange, parts):
    """Which queue each key goes to."""
    for key in KEYS:
        publish(channel, exchange, key, key)
    return {key: part for part in parts for key in drained(channel, name(part))}
