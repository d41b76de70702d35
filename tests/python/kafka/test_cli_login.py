"""`cauce topic` and `cauce group` where everybody logs in."""

import subprocess

import pytest
from brokers import Cauce
from logins import strict_broker

FAILED, UNREACHABLE = 1, 3
SECONDS_MAX = 60


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    with strict_broker(tmp_path_factory.mktemp("strict")) as broker:
        yield broker


@pytest.fixture
def cauce(strict):
    """Runs a command as a user; what it printed, or why it failed."""

    def cauce(login, *words, status=0, stdin=""):
        login = dict(zip(("CAUCE_USER", "CAUCE_PASSWORD"), login, strict=False))
        command = [Cauce.executable(), *words, "--bootstrap", f"127.0.0.1:{strict.ports['kafka']}"]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=SECONDS_MAX, env=login)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stderr if status else done.stdout

    return cauce


GUEST, ANA = ("guest", "guest"), ("ana", "ana's")


def test_a_user_does_what_it_may(cauce):
    cauce(GUEST, "topic", "create", "shop.orders", "secret")
    cauce(ANA, "topic", "produce", "shop.orders", stdin="one coffee\n")
    assert "one coffee" in cauce(ANA, "topic", "consume", "shop.orders", "--from-beginning", "--max", "1")
    assert "secret" not in cauce(ANA, "topic", "list")
    assert "secret" in cauce(GUEST, "topic", "list")
    assert "TOPIC_AUTHORIZATION_FAILED" in cauce(ANA, "topic", "create", "more", status=FAILED)
    assert "GROUP_AUTHORIZATION_FAILED" in cauce(ANA, "group", "delete", "ana-readers", status=FAILED)


def test_flags_weigh_more_than_the_environment(cauce):
    cauce(ANA, "topic", "list", "--user", "guest", "--password", "guest")
    cauce(ANA, "topic", "list", "--password", "wrong", status=UNREACHABLE)


@pytest.mark.parametrize("login", [("ana", "wrong"), ("nobody", "ana's"), ("ana",)])
def test_a_refused_login_is_said(cauce, login):
    said = cauce(login, "topic", "list", status=UNREACHABLE)
    assert said.startswith("cauce: ") and "nvalid" in said
    assert "wrong" not in said


def test_who_does_not_log_in_is_not_served(cauce):
    assert cauce((), "topic", "list", "--timeout", "5", status=UNREACHABLE).startswith("cauce: ")
