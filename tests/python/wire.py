"""A socket and pamqp, for what a well-behaved client never does."""

import socket

from pamqp import commands, frame, header, heartbeat

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"


class Wire:
    """One raw connection. `login` brings it to an open connection; before it, anything goes."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send_bytes(self, data):
        self.socket.sendall(data)

    def send(self, method, channel=0):
        self.send_bytes(frame.marshal(method, channel))

    def receive(self):
        """The next (channel, frame), or None when the broker has hung up."""
        while True:
            try:
                consumed, channel, what = frame.unmarshal(self.buffer)
            except Exception:
                consumed = 0
            if consumed:
                self.buffer = self.buffer[consumed:]
                return channel, what
            if not (more := self._read()):
                return None
            self.buffer += more

    def expect(self, kind):
        """The next frame that is not a heartbeat, which must be of this kind."""
        while True:
            received = self.receive()
            if not received:
                raise ConnectionAbortedError(f"the broker hung up where {kind.__name__} was due")
            if isinstance(received[1], heartbeat.Heartbeat):
                continue
            assert isinstance(received[1], kind), f"{received[1]} is no {kind.__name__}"
            return received[1]

    def rest(self):
        """Every byte until the broker hangs up."""
        while more := self._read():
            self.buffer += more
        return self.buffer

    def login(
        self, user="guest", password="guest", vhost="/", heartbeat=0, frame_max=131072, channel_max=0, capabilities=()
    ):
        self.send_bytes(PROTOCOL_HEADER)
        start = self.expect(commands.Connection.Start)
        properties = {"capabilities": {name: True for name in capabilities}} if capabilities else {}
        self.send(commands.Connection.StartOk(properties, "PLAIN", f"\0{user}\0{password}", "en_US"))
        tune = self.expect(commands.Connection.Tune)
        self.send(commands.Connection.TuneOk(channel_max or tune.channel_max, frame_max, heartbeat))
        self.send(commands.Connection.Open(vhost))
        self.expect(commands.Connection.OpenOk)
        return start, tune

    def open_channel(self, number=1):
        self.send(commands.Channel.Open(), number)
        self.expect(commands.Channel.OpenOk)

    def expect_close(self):
        close = self.expect(commands.Connection.Close)
        return close.reply_code, close.reply_text

    def _read(self):
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""


def content(body_size, **properties):
    return header.ContentHeader(0, body_size, commands.Basic.Properties(**properties))
