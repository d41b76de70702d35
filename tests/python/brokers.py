"""The brokers under test, each a process of ours with its own ports and its own data.

    with Cauce(tmp / "cauce") as broker:
        pika.BlockingConnection(broker.parameters())

`stop` asks politely, `kill` is SIGKILL, and `start` after either continues on the same data.
"""

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pika

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30


class Broker:
    """What a test may ask of any broker; the subclasses know how to start one."""

    name = "broker"
    # With what the process may end when it is asked to.
    status_stopped = (0,)

    def __init__(self, home):
        self.home = Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.process = None
        self.port = None
        # A file in RabbitMQ's format that every start imports.
        self.definitions = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        raise NotImplementedError

    def stop(self):
        """Asks the broker to end, and insists when it does not."""
        if self.process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} ignored SIGTERM for {STOP_SECONDS_MAX} s\n{self.log()}") from None
        status, self.process = self.process.returncode, None
        assert status in self.status_stopped, f"{self.name} ended with status {status} on SIGTERM\n{self.log()}"

    def kill(self):
        """Ends the broker as a power cut would: it gets no chance to write anything."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def parameters(self, user="guest", password="guest", vhost="/", **more):
        more.setdefault("heartbeat", 30)
        more.setdefault("socket_timeout", 10)
        more.setdefault("blocked_connection_timeout", 20)
        return pika.ConnectionParameters(
            host="127.0.0.1",
            port=self.port,
            virtual_host=vhost,
            credentials=pika.PlainCredentials(user, password),
            **more,
        )

    def url(self, user="guest", password="guest", vhost="/"):
        return f"amqp://{user}:{password}@127.0.0.1:{self.port}/{quote(vhost, safe='')}"

    def log(self):
        """The end of what the broker printed, to read when a test fails."""
        path = self.home / "output.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def _spawn(self, command, environment=None, stdout=None):
        output = open(self.home / "output.log", "ab")
        self.process = subprocess.Popen(
            command,
            cwd=self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout or output,
            stderr=output,
            start_new_session=True,
        )
        output.close()

    def _signal(self, number):
        # The group is ours alone (start_new_session), so this reaches the children and nobody else.
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass


class Cauce(Broker):
    """The real binary. It prints one JSON line with its ports when all of them accept."""

    name = "cauce"

    def __init__(self, home, *options):
        super().__init__(home)
        self.data = self.home / "data"
        self.options = options
        self.ports = {}

    @staticmethod
    def executable():
        target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
        return Path(os.environ.get("CAUCE_BINARY", target / "release" / "cauce"))

    def start(self):
        # Any free ports the first time, the same ones ever after: clients come back to where they were.
        listeners = []
        for plane in self._planes():
            listeners += [f"--{plane}", f"127.0.0.1:{self.ports.get(plane, 0)}"]
        definitions = ["--definitions", self.definitions] if self.definitions else []
        self._spawn(
            [self.executable(), "serve", "--data", self.data, *listeners, "--print-ports", *definitions, *self.options],
            stdout=subprocess.PIPE,
        )
        self.ports = self._read_ports()
        self.port = self.ports["amqp"]

    def _planes(self):
        """The listeners this build has: none may take a default port, which somebody else may be using."""
        usage = subprocess.run([self.executable(), "serve", "--help"], capture_output=True, text=True).stdout
        return [plane for plane in ("amqp", "kafka", "http", "metrics") if f"--{plane} " in usage]

    def _read_ports(self):
        lines = queue.SimpleQueue()
        threading.Thread(target=self._copy_output, args=(self.process.stdout, lines), daemon=True).start()
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self.kill()
                raise AssertionError(f"cauce printed no ports in {START_SECONDS_MAX} s\n{self.log()}") from None
            if line is None:
                status = self.process.wait()
                self.process = None
                raise AssertionError(f"cauce ended with status {status} before it accepted\n{self.log()}")
            if line.lstrip().startswith(b"{"):
                return {plane: port_of(address) for plane, address in json.loads(line).items()}

    def _copy_output(self, stdout, lines):
        # Somebody must keep reading, or a broker that prints much would block on a full pipe.
        with stdout, open(self.home / "output.log", "ab", buffering=0) as output:
            for line in stdout:
                output.write(line)
                lines.put(line)
        lines.put(None)


class RabbitMQ(Broker):
    """A RabbitMQ of our own beside any the machine may run: own node name, ports, cookie, plugins and epmd."""

    name = "rabbitmq"
    # The release whose answers the tests expect word for word. Others word some of them otherwise.
    series_expected = "3.10"

    def __init__(self, home):
        super().__init__(home)
        self.epmd = None
        self.port, self.dist_port, self.epmd_port = free_ports(3)

    @staticmethod
    def executable():
        """The server's own script. Distributions put a wrapper in the PATH that changes user and directory."""
        wrapper = shutil.which("rabbitmq-server", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if wrapper is None:
            return None
        own = Path(wrapper).parents[1] / "lib" / "rabbitmq" / "bin" / "rabbitmq-server"
        return own if own.exists() else Path(wrapper)

    def start(self):
        # Ours and in the foreground: one that the server starts by itself would outlive it.
        self.epmd = subprocess.Popen(
            [epmd_executable(), "-port", str(self.epmd_port), "-address", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        (self.home / "enabled_plugins").write_text("[rabbitmq_consistent_hash_exchange].\n")
        load = f"load_definitions = {self.definitions}\n" if self.definitions else ""
        (self.home / "rabbitmq.conf").write_text(
            "log.console = true\nlog.console.level = info\nlog.file = false\ndisk_free_limit.absolute = 1MB\n" + load
        )
        (self.home / "environment.conf").write_text("")
        self._spawn([self.executable()], environment=os.environ | self._environment())
        self._wait_until_it_accepts()

    def stop(self):
        try:
            super().stop()
        finally:
            self._stop_epmd()

    def kill(self):
        super().kill()
        self._stop_epmd()

    def control(self, *words):
        """What rabbitmqctl prints."""
        command = [self.executable().with_name("rabbitmqctl"), "--quiet", *words]
        done = subprocess.run(command, env=os.environ | self._environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _environment(self):
        return {
            "HOME": str(self.home),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"cauce-test-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_PID_FILE": str(self.home / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "environment.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.home / "advanced"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.home / "generated"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(self.home / "feature_flags"),
            # Two schedulers that do not spin: the machine is shared with the client.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def _wait_until_it_accepts(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            if self.process.poll() is not None:
                self._stop_epmd()
                raise AssertionError(f"rabbitmq ended with status {self.process.returncode}\n{self.log()}")
            if accepts(self.port):
                break
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"rabbitmq did not start in {START_SECONDS_MAX} s\n{self.log()}")
            time.sleep(0.1)
        connection = pika.BlockingConnection(self.parameters())
        self.version = connection._impl.server_properties["version"]
        connection.close()

    def _stop_epmd(self):
        if self.epmd is not None:
            self.epmd.kill()
            self.epmd.wait()
            self.epmd = None


KINDS = {kind.name: kind for kind in (Cauce, RabbitMQ)}


def port_of(address):
    """The port in `127.0.0.1:5672`, or the bare number."""
    return address if isinstance(address, int) else int(str(address).rsplit(":", 1)[-1])


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def epmd_executable():
    found = shutil.which("epmd")
    if found:
        return found
    erl = shutil.which("erl")
    assert erl, "rabbitmq-server is installed without Erlang's epmd or erl in the PATH"
    beside = sorted(Path(erl).resolve().parents[1].glob("**/epmd"))
    assert beside, "no epmd beside erl"
    return str(beside[-1])
