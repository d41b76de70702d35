"""`cauce serve` as whoever starts it sees it: where settings come from, what it prints, how it ends."""

import contextlib
import json
import os
import signal
import subprocess

import pytest

import brokers
from wire import Wire

pytestmark = pytest.mark.only("cauce")


@contextlib.contextmanager
def serving(home, *flags, **environment):
    """A broker, and the port it printed."""
    command = [brokers.Cauce.executable(), "serve", "--data", home / "data", "--amqp", "127.0.0.1:0", "--print-ports"]
    with subprocess.Popen(
        [*command, *flags],
        cwd=home,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process, brokers.port_of(json.loads(process.stdout.readline())["amqp"])
        finally:
            process.kill()


def refusal(home, *flags):
    """What a broker says that does not start."""
    command = [brokers.Cauce.executable(), "serve", "--data", home / "data", "--amqp", "127.0.0.1:0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=brokers.START_SECONDS_MAX)
    assert done.returncode != 0 and not done.stdout
    return done.stderr


def proposed_heartbeat(port):
    with Wire(port) as wire:
        return wire.login()[1].heartbeat


def test_a_flag_weighs_more_than_the_environment_and_that_more_than_the_file(broker_class, tmp_path):
    (tmp_path / "cauce.toml").write_text("heartbeat = 11")
    file = {"CAUCE_CONFIG": "cauce.toml"}
    with serving(tmp_path, **file) as (_, port):
        assert proposed_heartbeat(port) == 11
    with serving(tmp_path, **file, CAUCE_HEARTBEAT="22") as (_, port):
        assert proposed_heartbeat(port) == 22
    with serving(tmp_path, "--heartbeat", "33", **file, CAUCE_HEARTBEAT="22") as (_, port):
        assert proposed_heartbeat(port) == 33


def test_what_cannot_be_meant_is_refused_with_its_name(broker_class, tmp_path):
    (tmp_path / "cauce.toml").write_text("memroy = '1G'")
    assert "memroy" in refusal(tmp_path, "--config", tmp_path / "cauce.toml")
    assert "memory is 512 bytes" in refusal(tmp_path, "--memory", "512")
    assert "frame-max is 100" in refusal(tmp_path, "--frame-max", "100")


def test_the_log_is_json_where_there_is_no_terminal_and_names_what_is_not_served(broker_class, tmp_path):
    with serving(tmp_path, "--http", "127.0.0.1:0") as (process, _):
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=brokers.STOP_SECONDS_MAX)
        assert process.returncode == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert ["WARN", "http"] in [[line["level"], line["fields"].get("what")] for line in lines]
