"""Users, virtual hosts and permissions, brought by one definitions file to both brokers."""

import base64
import copy
import hashlib
import json
import subprocess

import pika
import pytest

import brokers
from clients import channel_closed, connection_closed, flush, publish, queue, take, waiting

SALT = b"\x90\x8d\xc6\x0a"


def hashed(password, algorithm="sha256"):
    digest = hashlib.new(algorithm, SALT + password.encode()).digest()
    return {
        "password_hash": base64.b64encode(SALT + digest).decode(),
        "hashing_algorithm": f"rabbit_password_hashing_{algorithm}",
    }


def grant(user, vhost, configure=".*", write=".*", read=".*"):
    return {"user": user, "vhost": vhost, "configure": configure, "write": write, "read": read}


def shop_queue(name, **arguments):
    return {"name": name, "vhost": "shop", "durable": True, "auto_delete": False, "arguments": arguments}


def shop_exchange(name, kind, **more):
    return {
        "name": name,
        "vhost": "shop",
        "type": kind,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    } | more


DEFINITIONS = {
    "rabbit_version": "3.10.8",
    "users": [
        {"name": "guest", "password": "guest", "tags": "administrator"},
        # This hash came out of a RabbitMQ 3.10.
        {
            "name": "ana",
            "password_hash": "BxkF4u5MAbJ5OTLCD0ETBqrKrZi5WIi1qODWioMtUNJFjXNb",
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": ["management", "mine"],
        },
        {"name": "leo", **hashed("pw", "sha512"), "tags": "impersonator,monitoring"},
        {"name": "old", **hashed("pw", "md5"), "tags": []},
        {"name": "out", "password": "pw", "tags": ""},
        {"name": "shut", "password_hash": "", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ""},
    ],
    "vhosts": [{"name": "/"}, {"name": "shop"}, {"name": "a/b c"}],
    "permissions": [
        grant("guest", "/"),
        grant("guest", "shop"),
        grant("leo", "shop"),
        grant("leo", "a/b c"),
        grant("old", "shop", "", "", ""),
        grant("shut", "shop"),
        grant("ana", "shop", "^(ana|both)", "^(ana|both|amq.topic)", "^(ana|both|amq.topic|(?!x-)x)"),
    ],
    "topic_permissions": [
        {"user": "ana", "vhost": "shop", "exchange": "amq.topic", "write": "^{username}\\.", "read": "^{vhost}\\."},
    ],
    "exchanges": [
        shop_exchange("ana.x", "topic"),
        shop_exchange("x", "fanout"),
        shop_exchange("audit", "fanout"),
    ],
    "queues": [
        shop_queue("ana.q", **{"x-max-length": 5}),
        shop_queue("x"),
    ],
    "bindings": [
        {
            "source": "ana.x",
            "vhost": "shop",
            "destination": destination,
            "destination_type": kind,
            "routing_key": "a.#",
            "arguments": {},
        }
        for kind, destination in (("queue", "ana.q"), ("exchange", "audit"), ("queue", "nobody.has.it"))
    ],
}


def written(home, definitions):
    path = home / "definitions.json"
    path.write_text(json.dumps(definitions))
    return path


@pytest.fixture(scope="module")
def shop(broker_class, tmp_path_factory):
    """A broker that many users share."""
    home = tmp_path_factory.mktemp(f"shop-{broker_class.name}")
    shop = broker_class(home)
    shop.definitions = written(home, DEFINITIONS)
    with shop:
        yield shop


@pytest.fixture
def own_shop(broker_class, tmp_path):
    shop = broker_class(tmp_path / "shop")
    shop.definitions = written(tmp_path, DEFINITIONS)
    with shop:
        yield shop


def enter(broker, user="ana", password="pw", vhost="shop"):
    return pika.BlockingConnection(broker.parameters(user=user, password=password, vhost=vhost))


def may_log_in(broker, user, password="pw", vhost="shop"):
    try:
        enter(broker, user, password, vhost).close()
    except pika.exceptions.ProbableAuthenticationError:
        return False
    return True


@pytest.fixture
def ana(shop):
    connection = enter(shop)
    yield connection.channel()
    if connection.is_open:
        connection.close()


@pytest.fixture
def boss(shop):
    connection = enter(shop, "guest", "guest")
    yield connection.channel()
    connection.close()


@pytest.fixture
def refused(shop):
    """RabbitMQ 3.10 does not say which permission is missing, newer ones do."""

    def refused(operation, what, user="ana", vhost="shop"):
        word = "" if shop.name == "rabbitmq" else f"{operation} "
        text = f"{word}access to {what} in vhost '{vhost}' refused for user '{user}'"
        return channel_closed(403, f"ACCESS_REFUSED - {text}")

    return refused


@pytest.mark.parametrize("user", ["ana", "leo", "old"])
def test_a_hash_of_any_algorithm_opens_to_its_password_alone(shop, user):
    assert may_log_in(shop, user)
    assert not may_log_in(shop, user, "PW")
    assert not may_log_in(shop, user, "")


def test_a_plain_password_in_the_file_is_hashed(shop):
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError):
        enter(shop, "out")
    assert not may_log_in(shop, "out", "other")


def test_without_a_hash_no_password_is_right(shop):
    assert not may_log_in(shop, "shut") and not may_log_in(shop, "shut", "")


@pytest.mark.parametrize(
    "user, vhost, text",
    [
        ("out", "shop", "NOT_ALLOWED - access to vhost 'shop' refused for user 'out'"),
        ("ana", "/", "NOT_ALLOWED - access to vhost '/' refused for user 'ana'"),
        ("ana", "missing", "NOT_ALLOWED - vhost missing not found"),
    ],
)
def test_a_vhost_is_closed_to_who_has_no_permissions_there(shop, user, vhost, text):
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError) as caught:
        enter(shop, user, vhost=vhost)
    assert f"(530) {text!r}" in str(caught.value)


def test_permissions_for_nothing_open_the_vhost_all_the_same(shop, refused):
    connection = enter(shop, "old")
    with refused("read", "queue 'x'", user="old"):
        connection.channel().basic_get("x")
    connection.close()


def test_vhosts_keep_their_queues_and_names_apart(shop):
    connections = [enter(shop, "leo"), enter(shop, "leo", vhost="a/b c")]
    here, there = (connection.channel() for connection in connections)
    queue(here, "both.places", max_length=1)
    queue(there, "both.places", max_length=2)
    publish(here, "", "both.places", "here")
    assert take(here, "both.places").body == b"here"
    assert waiting(there, "both.places") == 0
    with channel_closed(404, "NOT_FOUND - no queue 'ana.q' in vhost 'a/b c'"):
        there.basic_get("ana.q")
    for connection in connections:
        connection.close()


REFUSED = {
    "declare queue": ("configure", "queue 'q'", lambda channel: channel.queue_declare("q")),
    "declare queue that is there": ("configure", "queue 'x'", lambda channel: queue(channel, "x")),
    "delete queue": ("configure", "queue 'x'", lambda channel: channel.queue_delete("x")),
    "delete queue that is not there": ("configure", "queue 'q'", lambda channel: channel.queue_delete("q")),
    "declare exchange": ("configure", "exchange 'e'", lambda channel: channel.exchange_declare("e")),
    "declare reserved exchange": ("configure", "exchange 'amq.e'", lambda channel: channel.exchange_declare("amq.e")),
    "delete exchange": ("configure", "exchange 'x'", lambda channel: channel.exchange_delete("x")),
    "alternate exchange": (
        "write",
        "exchange 'x'",
        lambda channel: channel.exchange_declare("ana.ae", arguments={"alternate-exchange": "x"}),
    ),
    "dead letter exchange": (
        "write",
        "exchange 'x'",
        lambda channel: queue(channel, "ana.dlx", dead_letter_exchange="x"),
    ),
    "dead letters to the default exchange": (
        "write",
        "exchange 'amq.default'",
        lambda channel: queue(channel, "ana.dlx", dead_letter_exchange=""),
    ),
    "bind queue": ("write", "queue 'x'", lambda channel: channel.queue_bind("x", "ana.x", "k")),
    "bind to exchange": (
        "read",
        "exchange 'amq.fanout'",
        lambda channel: channel.queue_bind("ana.q", "amq.fanout", "k"),
    ),
    "bind queue that is not there": ("write", "queue 'q'", lambda channel: channel.queue_bind("q", "ana.x", "k")),
    "unbind queue": ("write", "queue 'x'", lambda channel: channel.queue_unbind("x", "ana.x", "k")),
    "unbind from exchange": (
        "read",
        "exchange 'amq.fanout'",
        lambda channel: channel.queue_unbind("ana.q", "amq.fanout", "k"),
    ),
    "bind exchange": ("write", "exchange 'x'", lambda channel: channel.exchange_bind("x", "ana.x", "k")),
    "bind exchange to exchange": (
        "read",
        "exchange 'amq.fanout'",
        lambda channel: channel.exchange_bind("ana.x", "amq.fanout", "k"),
    ),
    "unbind exchange": ("write", "exchange 'x'", lambda channel: channel.exchange_unbind("x", "ana.x", "k")),
    "bind to the default exchange": ("write", "queue 'x'", lambda channel: channel.queue_bind("x", "", "k")),
    "publish": ("write", "exchange 'x'", lambda channel: (publish(channel, "x", "k"), flush(channel))),
    "publish to the default exchange": (
        "write",
        "exchange 'amq.default'",
        lambda channel: (publish(channel, "", "ana.q"), flush(channel)),
    ),
    "publish to what is not there": (
        "write",
        "exchange 'e'",
        lambda channel: (publish(channel, "e", "k"), flush(channel)),
    ),
    "get": ("read", "queue 'q'", lambda channel: channel.basic_get("q")),
    "consume": ("read", "queue 'q'", lambda channel: channel.basic_consume("q", lambda *_: None)),
    "purge": ("read", "queue 'q'", lambda channel: channel.queue_purge("q")),
}


@pytest.mark.parametrize("operation, what, use", REFUSED.values(), ids=REFUSED)
def test_an_operation_without_its_permission_is_refused(ana, refused, operation, what, use):
    with refused(operation, what):
        use(ana)


ALLOWED = {
    "declare, use and delete": lambda channel: (
        channel.exchange_declare("ana.e", arguments={"alternate-exchange": "both"}),
        queue(channel, "ana.own", dead_letter_exchange="ana.x"),
        channel.queue_bind("ana.own", "ana.e", "k"),
        channel.exchange_bind("ana.x", "ana.e", "k"),
        publish(channel, "ana.e", "k"),
        take(channel, "ana.own"),
        channel.queue_purge("ana.own"),
        channel.queue_unbind("ana.own", "ana.e", "k"),
        channel.exchange_unbind("ana.x", "ana.e", "k"),
        channel.queue_delete("ana.own"),
        channel.exchange_delete("ana.e"),
    ),
    "look at a queue": lambda channel: channel.queue_declare("x", passive=True),
    "look at an exchange": lambda channel: channel.exchange_declare("amq.fanout", passive=True),
    "read alone": lambda channel: (channel.basic_get("x"), channel.queue_purge("x")),
    "look around in the pattern": lambda channel: channel.queue_bind("ana.q", "x", ""),
    "direct reply-to": lambda channel: channel.basic_consume("amq.rabbitmq.reply-to", lambda *_: None, auto_ack=True),
}


@pytest.mark.parametrize("use", ALLOWED.values(), ids=ALLOWED)
def test_an_operation_with_its_permission_goes_through(ana, use):
    use(ana)
    flush(ana)


def test_a_publish_in_a_transaction_is_refused_before_the_commit(ana, refused):
    ana.tx_select()
    with refused("write", "exchange 'x'"):
        publish(ana, "x", "k")
        flush(ana)


def test_a_claimed_user_is_looked_at_after_the_permission(ana, refused):
    with refused("write", "exchange 'x'"):
        publish(ana, "x", "k", user_id="guest")
        flush(ana)


def test_a_name_of_the_brokers_choice_needs_permission_too(ana, shop):
    word = "" if shop.name == "rabbitmq" else "configure "
    with channel_closed(403, f"ACCESS_REFUSED - {word}access to queue 'amq.gen-…"):
        ana.queue_declare("")


@pytest.mark.parametrize(
    "text, use",
    [
        ("operation not permitted on the default exchange", lambda channel: channel.exchange_declare("", "direct")),
        ("operation not permitted on the default exchange", lambda channel: channel.exchange_delete("")),
        ("operation not permitted on the default exchange", lambda channel: channel.queue_bind("ana.q", "", "k")),
        (
            "deletion of system exchange 'amq.direct' in vhost 'shop' not allowed",
            lambda channel: channel.exchange_delete("amq.direct"),
        ),
        ("queue name 'amq.mine' contains reserved prefix 'amq.*'", lambda channel: channel.queue_declare("amq.mine")),
    ],
    ids=["declare", "delete", "bind", "system", "reserved"],
)
def test_what_nobody_may_is_said_before_what_this_user_may_not(ana, text, use):
    with channel_closed(403, f"ACCESS_REFUSED - {text}"):
        use(ana)


def test_a_dead_letter_exchange_is_asked_about_only_for_a_new_queue(boss, ana, name):
    queue(boss, "both.dlx", dead_letter_exchange="x")
    queue(ana, "both.dlx", dead_letter_exchange="x")
    boss.queue_delete("both.dlx")


TOPICS = {
    "publish": ("write", "eva.x", lambda channel, key: (publish(channel, "amq.topic", key), flush(channel))),
    "bind": ("read", "ana.x", lambda channel, key: channel.queue_bind("ana.q", "amq.topic", key)),
    "bind what is not there": ("read", "ana.x", lambda channel, key: channel.queue_bind("ana.none", "amq.topic", key)),
    "unbind": ("read", "ana.x", lambda channel, key: channel.queue_unbind("ana.q", "amq.topic", key)),
}


@pytest.mark.parametrize("operation, key, use", TOPICS.values(), ids=TOPICS)
def test_a_routing_key_of_a_topic_exchange_needs_its_permission(ana, refused, operation, key, use):
    with refused(operation, f"topic '{key}' in exchange 'amq.topic'"):
        use(ana, key)


def test_topic_patterns_know_the_user_and_the_vhost(ana, boss):
    ana.queue_bind("ana.q", "amq.topic", "shop.#")
    publish(ana, "amq.topic", "ana.x")
    flush(ana)
    publish(boss, "amq.topic", "shop.free", "from somebody without topic permissions")
    assert take(ana, "ana.q").method.routing_key == "shop.free"
    ana.queue_unbind("ana.q", "amq.topic", "shop.#")


def test_other_exchanges_have_no_topic_permissions(ana, boss):
    boss.queue_purge("ana.q")
    publish(ana, "ana.x", "a.b", "any key")
    assert take(ana, "ana.q").body == b"any key"


@pytest.mark.only("cauce")
def test_a_copy_needs_permission_for_its_key_too(ana, refused):
    """As in newer RabbitMQ; in 3.10 copies go past topic permissions."""
    with refused("write", "topic 'eva.x' in exchange 'amq.topic'"):
        publish(ana, "amq.topic", "ana.x", headers={"CC": ["eva.x"]})
        flush(ana)


def test_a_tag_from_the_file_counts(shop):
    connection = enter(shop, "leo")
    channel = connection.channel()
    publish(channel, "audit", "k", user_id="guest")
    flush(channel)
    connection.close()


def test_the_exchanges_queues_and_bindings_of_the_file_are_there(boss):
    boss.queue_purge("ana.q")
    with channel_closed(
        406,
        "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'ana.q' in vhost 'shop': "
        "received '6' but current is '5'",
    ):
        queue(boss.connection.channel(), "ana.q", max_length=6)
    for number in range(7):
        publish(boss, "ana.x", "a.b", str(number))
    assert take(boss, "ana.q").body == b"2"
    boss.queue_purge("ana.q")
    boss.exchange_declare("audit", "fanout", durable=True)


def test_all_of_it_survives_a_restart_without_the_file(own_shop):
    connection = enter(own_shop)
    publish(connection.channel(), "ana.x", "a.b", "kept", delivery_mode=2)
    connection.close()
    own_shop.definitions = None
    own_shop.stop()
    own_shop.start()
    assert all(may_log_in(own_shop, user) for user in ("ana", "leo", "old")) and not may_log_in(own_shop, "shut")
    channel = enter(own_shop).channel()
    assert take(channel, "ana.q").body == b"kept"
    with channel_closed(403, "ACCESS_REFUSED - …"):
        publish(channel, "amq.topic", "eva.x")
        flush(channel)
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError):
        enter(own_shop, vhost="/")
    assert may_log_in(own_shop, "leo", vhost="a/b c")


def test_the_file_again_updates_users_and_leaves_queues_and_removes_nothing(own_shop):
    changed = copy.deepcopy(DEFINITIONS)
    changed["users"] = [changed["users"][0], changed["users"][1] | hashed("new")]
    changed["permissions"] = [grant("guest", "/"), grant("ana", "shop", read="^nothing$")]
    changed["queues"] = [shop_queue("ana.q", **{"x-max-length": 6}), shop_queue("more")]
    own_shop.definitions.write_text(json.dumps(changed))
    own_shop.stop()
    own_shop.start()
    assert may_log_in(own_shop, "ana", "new") and not may_log_in(own_shop, "ana") and may_log_in(own_shop, "leo")
    channel = enter(own_shop, password="new").channel()
    queue(channel, "ana.q", max_length=5)
    queue(channel, "more")
    with channel_closed(403, "ACCESS_REFUSED - …"):
        channel.basic_get("ana.q")


@pytest.mark.only("rabbitmq")
def test_definitions_move_from_rabbitmq_to_cauce_and_back(own_shop, tmp_path):
    own_shop.control("add_user", "made.here", "contraseña")
    own_shop.control("set_permissions", "--vhost", "shop", "made.here", ".*", ".*", ".*")
    exported = tmp_path / "rabbitmq.json"
    own_shop.control("export_definitions", str(exported))
    own_shop.stop()
    cauce = brokers.Cauce(tmp_path / "cauce")
    cauce.definitions = exported
    with cauce:
        the_same_as_ever(cauce)
    back = tmp_path / "cauce.json"
    subprocess.run([cauce.executable(), "definitions", "export", "--data", cauce.data, back], check=True)
    other = brokers.RabbitMQ(tmp_path / "other")
    other.definitions = back
    with other:
        the_same_as_ever(other)


def the_same_as_ever(broker):
    for user, password in (("ana", "pw"), ("leo", "pw"), ("old", "pw"), ("made.here", "contraseña")):
        assert may_log_in(broker, user, password), user
    channel = enter(broker).channel()
    publish(channel, "ana.x", "a.b", "moved")
    assert take(channel, "ana.q").body == b"moved"
    with channel_closed(403, "ACCESS_REFUSED - …"):
        publish(channel, "amq.topic", "eva.x")
        flush(channel)


def cauce(*words, **more):
    return subprocess.run([brokers.Cauce.executable(), *words], capture_output=True, text=True, timeout=60, **more)


@pytest.mark.only("cauce")
def test_a_file_with_a_mistake_ends_the_start_and_nothing_of_it_is_taken(broker_class, tmp_path):
    wrong = copy.deepcopy(DEFINITIONS)
    wrong["permissions"].append(grant("eva", "shop"))
    path = written(tmp_path, wrong)
    started = cauce("serve", "--data", tmp_path / "data", "--amqp", "127.0.0.1:0", "--kafka", "none", "--definitions", path)
    assert started.returncode == 1
    expected = f"cauce: definitions file {path}: permissions of user 'eva' in vhost 'shop': no user 'eva'"
    assert started.stderr.splitlines()[-1] == expected
    exported = json.loads(cauce("definitions", "export", "--data", tmp_path / "data").stdout)
    assert not any(exported[kind] for kind in ("users", "vhosts", "permissions", "queues", "exchanges"))


@pytest.mark.only("cauce")
def test_what_is_not_served_is_named_in_the_log(broker_class, tmp_path):
    policy = {"vhost": "shop", "name": "short", "pattern": ".*", "definition": {"max-length": 3}, "priority": 0}
    shop = broker_class(tmp_path)
    shop.definitions = written(tmp_path, DEFINITIONS | {"policies": [policy]})
    with shop:
        assert may_log_in(shop, "ana")
    assert "policies are not served and left out: 'short' in vhost 'shop'" in shop.log()
    assert "bindings of what does not exist are left out: binding from 'ana.x' to queue 'nobody.has.it'" in shop.log()


@pytest.mark.only("cauce")
def test_the_data_directory_of_a_running_broker_is_left_alone(shop, tmp_path):
    for words in (["export"], ["import", shop.definitions]):
        done = cauce("definitions", words[0], "--data", shop.data, *words[1:])
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"cauce: data directory {shop.data} is used by another process\n"


@pytest.mark.only("cauce")
def test_definitions_can_be_imported_before_the_first_start(broker_class, tmp_path):
    shop = broker_class(tmp_path / "cauce")
    done = cauce("definitions", "import", "--data", shop.data, written(tmp_path, DEFINITIONS))
    assert done.returncode == 0, done.stderr
    with shop:
        assert may_log_in(shop, "ana")
        queue(enter(shop).channel(), "ana.q", max_length=5)


@pytest.mark.only("cauce")
def test_a_password_hashed_by_hand_opens(broker_class, tmp_path):
    done = cauce("hash-password", input="correct horse\n")
    user = {"name": "ana", "password_hash": done.stdout.strip(), "tags": ""}
    shop = broker_class(tmp_path)
    shop.definitions = written(
        tmp_path, {"users": [user], "vhosts": [{"name": "shop"}], "permissions": [grant("ana", "shop")]}
    )
    with shop:
        assert may_log_in(shop, "ana", "correct horse")
        assert not may_log_in(shop, "guest", "guest"), "no guest beside users of one's own"


@pytest.mark.only("cauce")
def test_the_first_start_defines_the_user_and_vhost_that_were_asked_for(broker_class, tmp_path):
    words = ["--default-user", "ana", "--default-pass", "pw", "--default-vhost", "shop", "--default-configure", "^ana"]
    first = broker_class(tmp_path, *words)
    with first:
        connection = enter(first)
        text = "ACCESS_REFUSED - configure access to queue 'q' in vhost 'shop' refused for user 'ana'"
        with channel_closed(403, text):
            connection.channel().queue_declare("q")
        assert not may_log_in(first, "guest", "guest")
    again = broker_class(tmp_path)
    with again:
        assert may_log_in(again, "ana") and not may_log_in(again, "guest", "guest")
