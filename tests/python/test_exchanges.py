"""Where a publish goes: the four kinds, bindings, alternates, copies, and what nobody wants."""

import pytest

from clients import channel_closed, connection_closed, drained, flush, publish, queue, returns, take


def test_a_direct_exchange_matches_the_whole_key(channel, name):
    exchange = declare(channel, name, "direct")
    bound(channel, name("one"), exchange, "one")
    bound(channel, name("both"), exchange, "one", "two")
    for key in ("one", "two", "One", "one.two", ""):
        publish(channel, exchange, key, key or "empty")
    assert drained(channel, name("one")) == ["one"]
    assert drained(channel, name("both")) == ["one", "two"]


def test_a_fanout_copies_to_everybody_whatever_the_key(channel, name):
    exchange = declare(channel, name, "fanout")
    queues = [bound(channel, name(str(number)), exchange, str(number)) for number in range(3)]
    publish(channel, exchange, "ignored", "news")
    assert [drained(channel, one) for one in queues] == [["news"]] * 3


@pytest.mark.parametrize(
    "pattern, matched",
    [
        ("stock.usd.nyse", ["stock.usd.nyse"]),
        ("stock.*.nyse", ["stock.usd.nyse", "stock..nyse"]),
        ("stock.#", ["stock", "stock.usd", "stock.usd.nyse", "stock..nyse", "stock.usd.nyse.x", "stock."]),
        ("#.nyse", ["stock.usd.nyse", "stock..nyse", "nyse"]),
        ("#", ["", "stock", "stock.usd", "stock.usd.nyse", "stock..nyse", "stock.usd.nyse.x", "nyse", "stock."]),
        ("*", ["stock", "nyse"]),
        ("*.*", ["stock.usd", "stock."]),
        ("#.usd.#", ["stock.usd", "stock.usd.nyse", "stock.usd.nyse.x"]),
        ("stock.#.#.nyse", ["stock.usd.nyse", "stock..nyse"]),
        ("*.#.x", ["stock.usd.nyse.x"]),
        ("st*", []),
    ],
)
def test_a_topic_pattern_matches_words(channel, name, pattern, matched):
    keys = ["", "stock", "stock.usd", "stock.usd.nyse", "stock..nyse", "stock.usd.nyse.x", "nyse", "stock."]
    exchange = declare(channel, name, "topic")
    bound(channel, name(), exchange, pattern)
    for key in keys:
        publish(channel, exchange, key, f"<{key}>")
    assert drained(channel, name()) == [f"<{key}>" for key in keys if key in matched]


def test_two_patterns_of_one_queue_give_it_one_copy(channel, name):
    exchange = declare(channel, name, "topic")
    bound(channel, name(), exchange, "a.#", "*.b", "a.b")
    publish(channel, exchange, "a.b", "once")
    assert drained(channel, name()) == ["once"]


@pytest.mark.parametrize(
    "wanted, taken",
    [
        ({"x-match": "all", "colour": "red", "size": 2}, ["red 2", "red 2 new"]),
        ({"colour": "red", "size": 2}, ["red 2", "red 2 new"]),
        ({"x-match": "any", "colour": "red", "size": 2}, ["red 2", "red 3", "blue 2", "red 2 new"]),
        ({"x-match": "any", "x-new": True}, []),
        ({"x-match": "any-with-x", "x-new": True}, ["red 2 new"]),
        ({"x-match": "all-with-x", "colour": "red", "x-new": True}, ["red 2 new"]),
        ({"x-match": "all"}, ["red 2", "red 3", "blue 2", "red 2 new", "none"]),
        ({"x-match": "any"}, []),
        ({"x-match": "all", "size": None}, ["red 2", "red 3", "blue 2", "red 2 new"]),
        ({"x-match": "all", "size": "2"}, []),
    ],
)
def test_a_headers_exchange_compares_what_the_binding_asks(channel, name, wanted, taken):
    messages = {
        "red 2": {"colour": "red", "size": 2},
        "red 3": {"colour": "red", "size": 3},
        "blue 2": {"colour": "blue", "size": 2},
        "red 2 new": {"colour": "red", "size": 2, "x-new": True},
        "none": None,
    }
    exchange = declare(channel, name, "headers")
    queue(channel, name())
    channel.queue_bind(name(), exchange, "ignored", wanted)
    for body, headers in messages.items():
        publish(channel, exchange, "any", body, headers=headers)
    assert drained(channel, name()) == taken


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_the_predeclared_exchanges_are_there(channel, name, kind):
    channel.exchange_declare(f"amq.{kind}", kind, durable=True)
    channel.exchange_declare(f"amq.{kind}", passive=True)


def test_amq_match_is_a_headers_exchange_too(channel):
    channel.exchange_declare("amq.match", "headers", durable=True)


def test_exchanges_chain(channel, name):
    first, second = declare(channel, name, "topic", "first"), declare(channel, name, "direct", "second")
    channel.exchange_bind(destination=second, source=first, routing_key="a.*")
    bound(channel, name(), second, "a.b")
    publish(channel, first, "a.b", "through")
    publish(channel, first, "a.c", "stopped at the second")
    assert drained(channel, name()) == ["through"]
    channel.exchange_unbind(destination=second, source=first, routing_key="a.*")
    publish(channel, first, "a.b", "no more")
    assert drained(channel, name()) == []


def test_a_circle_of_exchanges_delivers_once(channel, name):
    first, second = declare(channel, name, "fanout", "first"), declare(channel, name, "fanout", "second")
    channel.exchange_bind(second, first)
    channel.exchange_bind(first, second)
    bound(channel, name("one"), first, "")
    bound(channel, name("two"), second, "")
    publish(channel, first, "", "once")
    assert (drained(channel, name("one")), drained(channel, name("two"))) == (["once"], ["once"])


@pytest.mark.parametrize("kind, key, arguments", [("headers", "", {"x-match": "any", "a": 1}), ("topic", "#.b", None)])
def test_exchanges_bind_by_the_rules_of_their_source(channel, name, kind, key, arguments):
    source, target = declare(channel, name, kind, "source"), declare(channel, name, "fanout", "target")
    channel.exchange_bind(target, source, key, arguments)
    bound(channel, name(), target, "")
    publish(channel, source, "a.b", "wanted", headers={"a": 1})
    publish(channel, source, "a.c", "not wanted", headers={"a": 2})
    assert drained(channel, name()) == ["wanted"]


def test_a_queue_reached_over_two_ways_gets_one_copy(channel, name):
    source = declare(channel, name, "fanout", "source")
    queue(channel, name())
    for way in ("left", "right"):
        channel.exchange_bind(declare(channel, name, "fanout", way), source)
        channel.queue_bind(name(), name(way))
    channel.queue_bind(name(), source)
    publish(channel, source, "", "once")
    assert drained(channel, name()) == ["once"]


def test_bindings_between_exchanges_go_with_either_end(channel, name):
    for gone in ("source", "target"):
        source, target = declare(channel, name, "fanout", "source"), declare(channel, name, "fanout", "target")
        channel.exchange_bind(target, source)
        bound(channel, name(), target, "")
        channel.exchange_delete(name(gone))
        declare(channel, name, "fanout", gone)
        publish(channel, source, "", f"{gone} was new")
        assert drained(channel, name()) == []


def test_an_auto_delete_exchange_goes_with_its_last_binding_to_an_exchange(channel, name):
    target = declare(channel, name, "fanout", "target")
    channel.exchange_declare(name("brief"), "fanout", auto_delete=True)
    channel.exchange_bind(target, name("brief"))
    channel.exchange_delete(target)
    with channel_closed(404, f"NOT_FOUND - no exchange '{name('brief')}' in vhost '/'"):
        channel.exchange_declare(name("brief"), passive=True)


@pytest.mark.parametrize("missing", ["source", "destination"])
def test_a_binding_between_exchanges_needs_both(channel, name, missing):
    ends = dict.fromkeys(("source", "destination"), declare(channel, name, "fanout")) | {missing: name("gone")}
    with channel_closed(404, f"NOT_FOUND - no exchange '{name('gone')}' in vhost '/'"):
        channel.exchange_bind(routing_key="k", **ends)


def test_unbinding_stops_the_flow_and_twice_does_no_harm(channel, name):
    exchange = declare(channel, name, "direct")
    bound(channel, name(), exchange, "k")
    for _ in range(2):
        channel.queue_unbind(name(), exchange, "k")
    publish(channel, exchange, "k")
    assert drained(channel, name()) == []


def test_binding_twice_is_one_binding(channel, name):
    exchange = declare(channel, name, "direct")
    bound(channel, name(), exchange, "k", "k")
    publish(channel, exchange, "k", "one")
    assert drained(channel, name()) == ["one"]
    channel.queue_unbind(name(), exchange, "k")
    publish(channel, exchange, "k", "none")
    assert drained(channel, name()) == []


def test_what_no_binding_wants_goes_to_the_alternate_exchange(channel, name):
    declare(channel, name, "fanout", "alternate")
    exchange = declare(channel, name, "direct", **{"alternate-exchange": name("alternate")})
    bound(channel, name("known"), exchange, "known")
    bound(channel, name("rest"), name("alternate"), "")
    publish(channel, exchange, "known", "a")
    publish(channel, exchange, "unknown", "b")
    assert drained(channel, name("known")) == ["a"]
    rest = take(channel, name("rest"))
    assert (rest.body, rest.method.exchange, rest.method.routing_key) == (b"b", exchange, "unknown")


def test_alternates_chain_and_end_the_search_for_a_mandatory_message(channel, name):
    returned = returns(channel)
    declare(channel, name, "direct", "last")
    declare(channel, name, "direct", "middle", **{"alternate-exchange": name("last")})
    exchange = declare(channel, name, "direct", **{"alternate-exchange": name("middle")})
    bound(channel, name(), name("last"), "far")
    publish(channel, exchange, "far", "found", mandatory=True)
    publish(channel, exchange, "nowhere", "lost", mandatory=True)
    assert (drained(channel, name()), returned()) == (["found"], [b"lost"])


def test_an_alternate_that_is_not_there_is_no_error(channel, name):
    returned = returns(channel)
    exchange = declare(channel, name, "direct", **{"alternate-exchange": name("later")})
    publish(channel, exchange, "k", "too early", mandatory=True)
    flush(channel)
    declare(channel, name, "fanout", "later")
    bound(channel, name(), name("later"), "")
    publish(channel, exchange, "k", "now", mandatory=True)
    assert (drained(channel, name()), returned()) == (["now"], [b"too early"])


def test_alternates_in_a_circle_end(channel, name):
    returned = returns(channel)
    first = declare(channel, name, "direct", "first", **{"alternate-exchange": name("second")})
    declare(channel, name, "direct", "second", **{"alternate-exchange": first})
    publish(channel, first, "k", "round", mandatory=True)
    assert returned() == [b"round"]


def test_an_alternate_helps_behind_a_binding_between_exchanges_too(channel, name):
    """The second exchange is reached and finds nobody: its own alternate gets the message, not the first one's."""
    for part in ("alternate of first", "alternate of second"):
        declare(channel, name, "fanout", part)
        bound(channel, name(f"q {part}"), name(part), "")
    first = declare(channel, name, "fanout", "first", **{"alternate-exchange": name("alternate of first")})
    second = declare(channel, name, "direct", "second", **{"alternate-exchange": name("alternate of second")})
    channel.exchange_bind(second, first)
    publish(channel, first, "k", "once")
    assert drained(channel, name("q alternate of first")) == []
    assert drained(channel, name("q alternate of second")) == ["once"]


def test_cc_and_bcc_send_copies_and_bcc_is_secret(channel, name):
    for part in ("to", "cc", "bcc"):
        queue(channel, name(part))
    publish(channel, "", name("to"), "copied", headers={"CC": [name("cc")], "BCC": [name("bcc")], "own": 1})
    for part in ("to", "cc", "bcc"):
        got = take(channel, name(part))
        assert got.method.routing_key == name("to")
        assert got.properties.headers == {"CC": [name("cc")], "own": 1}


def test_cc_naming_the_same_queue_gives_one_copy(channel, name):
    queue(channel, name())
    publish(channel, "", name(), "once", headers={"CC": [name(), name()]})
    assert drained(channel, name()) == ["once"]


def test_cc_must_be_a_list(channel, name):
    with channel_closed(406, "PRECONDITION_FAILED - invalid message: …"):
        publish(channel, "", name(), headers={"CC": "one"})
        flush(channel)


def test_a_mandatory_message_without_a_route_comes_back(channel, name):
    returned = []
    channel.add_on_return_callback(
        lambda _channel, method, properties, body: returned.append((method, properties, body))
    )
    exchange = declare(channel, name, "direct")
    publish(channel, exchange, "nobody", "lost", mandatory=True, message_id="m-1")
    publish(channel, exchange, "nobody", "dropped")
    channel.connection.process_data_events(time_limit=0.2)
    flush(channel)
    [(method, properties, body)] = returned
    assert (method.reply_code, method.reply_text) == (312, "NO_ROUTE")
    assert (method.exchange, method.routing_key, properties.message_id, body) == (exchange, "nobody", "m-1", b"lost")


def test_an_internal_exchange_takes_nothing_from_publishers(channel, name):
    channel.exchange_declare(name("inner"), "fanout", internal=True)
    with channel_closed(403, f"ACCESS_REFUSED - cannot publish to internal exchange '{name('inner')}' in vhost '/'"):
        publish(channel, name("inner"), "")
        flush(channel)


def test_an_auto_delete_exchange_goes_with_its_last_binding(channel, name):
    channel.exchange_declare(name("brief"), "fanout", auto_delete=True)
    bound(channel, name(), name("brief"), "")
    channel.queue_unbind(name(), name("brief"), "")
    with channel_closed(404, f"NOT_FOUND - no exchange '{name('brief')}' in vhost '/'"):
        channel.exchange_declare(name("brief"), passive=True)


def test_deleting_an_exchange_takes_its_bindings_and_twice_does_no_harm(channel, name):
    exchange = declare(channel, name, "direct")
    bound(channel, name(), exchange, "k")
    for _ in range(2):
        channel.exchange_delete(exchange)
    declare(channel, name, "direct")
    publish(channel, exchange, "k", "unbound now")
    assert drained(channel, name()) == []


def test_if_unused_spares_an_exchange_with_bindings(channel, name):
    exchange = declare(channel, name, "direct")
    bound(channel, name(), exchange, "k")
    with channel_closed(406, f"PRECONDITION_FAILED - exchange '{exchange}' in vhost '/' in use"):
        channel.exchange_delete(exchange, if_unused=True)


def test_declaring_an_exchange_otherwise_is_refused_with_the_difference(connection, name):
    exchange = declare(connection.channel(), name, "direct")
    for text, arguments in {
        "inequivalent arg 'type' for exchange '{0}' in vhost '/': received 'topic' but current is 'direct'": dict(
            exchange_type="topic", durable=True
        ),
        "inequivalent arg 'durable' for exchange '{0}' in vhost '/': received 'false' but current is 'true'": dict(
            exchange_type="direct"
        ),
        "inequivalent arg 'auto_delete' for exchange '{0}' in vhost '/': received 'true' but current is 'false'": dict(
            exchange_type="direct", durable=True, auto_delete=True
        ),
        "inequivalent arg 'internal' for exchange '{0}' in vhost '/': received 'true' but current is 'false'": dict(
            exchange_type="direct", durable=True, internal=True
        ),
        "inequivalent arg 'alternate-exchange' for exchange '{0}' in vhost '/': "
        "received the value 'other' of type 'longstr' but current is none": dict(
            exchange_type="direct", durable=True, arguments={"alternate-exchange": "other"}
        ),
    }.items():
        with channel_closed(406, "PRECONDITION_FAILED - " + text.format(exchange)):
            connection.channel().exchange_declare(exchange, **arguments)


def test_declaring_an_exchange_again_the_same_changes_nothing(channel, name):
    """Of the arguments only the alternate exchange is compared, and the first declaration stays in force."""
    declare(channel, name, "fanout", "alternate")
    bound(channel, name(), name("alternate"), "")
    for more in ({}, {"x-note": "first"}, {"x-note": "second"}):
        exchange = declare(channel, name, "headers", **{"alternate-exchange": name("alternate")}, **more)
    publish(channel, exchange, "k", "still there")
    assert drained(channel, name()) == ["still there"]


def test_declaring_an_exchange_without_its_alternate_is_refused(connection, name):
    exchange = declare(connection.channel(), name, "direct", **{"alternate-exchange": "first"})
    for arguments in ({"alternate-exchange": "second"}, {"alternate-exchange": 2}, {}):
        with channel_closed(406, "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange …"):
            connection.channel().exchange_declare(exchange, "direct", durable=True, arguments=arguments)


def test_an_unknown_kind_of_exchange_ends_the_connection(channel, name):
    with connection_closed(503, "COMMAND_INVALID - unknown exchange type 'carrier-pigeon'"):
        channel.exchange_declare(name("ex"), "carrier-pigeon")


def test_names_that_start_with_amq_are_the_brokers(connection):
    with channel_closed(403, "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'"):
        connection.channel().exchange_declare("amq.mine", "direct")


def test_the_default_exchange_cannot_be_touched(connection, name):
    queue(connection.channel(), name())
    for touch in (
        lambda channel: channel.exchange_declare("", "direct", durable=True),
        lambda channel: channel.exchange_delete(""),
        lambda channel: channel.queue_bind(name(), "", "k"),
        lambda channel: channel.queue_unbind(name(), "", name()),
    ):
        with channel_closed(403, "ACCESS_REFUSED - operation not permitted on the default exchange"):
            touch(connection.channel())


def test_predeclared_exchanges_cannot_be_deleted(connection):
    with channel_closed(403, "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed"):
        connection.channel().exchange_delete("amq.topic")


def test_a_headers_binding_must_match_in_a_way_there_is(connection, name):
    queue(connection.channel(), name())
    for how in ("none", 5):
        with channel_closed(406, "PRECONDITION_FAILED - …"):
            connection.channel().queue_bind(name(), "amq.headers", "", {"x-match": how})


@pytest.mark.parametrize("missing", ["queue", "exchange"])
def test_binding_needs_both_ends(channel, name, missing):
    queue(channel, name("there"))
    ends = {"queue": name("there"), "exchange": "amq.direct"} | {missing: name("gone")}
    with channel_closed(404, f"NOT_FOUND - no {missing} '{name('gone')}' in vhost '/'"):
        channel.queue_bind(routing_key="k", **ends)


def declare(channel, name, kind, part="ex", **arguments):
    channel.exchange_declare(name(part), kind, durable=True, arguments=arguments)
    return name(part)


def bound(channel, queue_name, exchange, *keys):
    queue(channel, queue_name)
    for key in keys:
        channel.queue_bind(queue_name, exchange, key)
    return queue_name
