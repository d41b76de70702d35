"""What no client should say: the right error, bounded memory, and nobody else disturbed."""

import gzip
import re
import socket
import struct
from pathlib import Path

import pytest
from kafka.record.util import calc_crc32c

from kafka_clients import Confluent

MIB = 1 << 20

CORRUPT_MESSAGE = 2
INVALID_RECORD = 87
GZIP = 1


def test_a_bomb_is_refused_and_costs_no_memory(broker, servers, topic):
    Confluent.produce(servers, topic, [b"first"])
    # One record of 256 MiB, in a quarter of one.
    value = varint(-1) + varint(256 * MIB) + bytes(256 * MIB)
    bomb = batch(gzip.compress(varint(256 * MIB + 12) + bytes(3) + value), codec=GZIP)
    before = resident_bytes(broker)
    for _ in range(4):
        assert produce(broker, topic, bomb)[0] == INVALID_RECORD
    assert resident_bytes(broker) - before < 64 * MIB
    assert Confluent.produce(servers, topic, [b"second"]) == [1]


def test_a_corrupt_batch_is_not_stored(broker, servers, topic):
    Confluent.produce(servers, topic, [b"first"])
    whole = batch(record(b"value"))
    assert produce(broker, topic, whole[:-1] + b"\1")[0] == CORRUPT_MESSAGE
    assert produce(broker, topic, batch(record(b"value"), count=7))[0] != 0
    assert produce(broker, topic, whole) == (0, 1)


def test_requests_that_never_end_share_a_bound(own_broker):
    before = resident_bytes(own_broker)
    halves = []
    for _ in range(40):
        half = socket.create_connection(("127.0.0.1", own_broker.ports["kafka"]))
        half.sendall(struct.pack(">i", 100 * MIB) + bytes(1 * MIB))
        halves.append(half)
    # A length alone gets no memory.
    assert resident_bytes(own_broker) - before < 200 * MIB
    assert Confluent.produce(f"127.0.0.1:{own_broker.ports['kafka']}", "t", [b"v"]) == [0]
    for half in halves:
        half.close()


@pytest.mark.parametrize("message", [b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_length_that_lies_ends_the_connection(broker, servers, topic, message):
    with socket.create_connection(("127.0.0.1", broker.ports["kafka"]), timeout=10) as lying:
        lying.sendall(message)
        assert lying.recv(1) == b""
    assert Confluent.produce(servers, topic, [b"v"]) == [0]


def produce(broker, topic, records):
    """Sends one record set as it is; the error code, and the offset."""
    name = struct.pack(">h", len(topic)) + topic.encode()
    body = struct.pack(">hhii", -1, -1, 10_000, 1) + name + struct.pack(">iii", 1, 0, len(records)) + records
    message = struct.pack(">hhih", 0, 3, 7, -1) + body
    with socket.create_connection(("127.0.0.1", broker.ports["kafka"]), timeout=30) as client:
        client.sendall(struct.pack(">i", len(message)) + message)
        (length,) = struct.unpack(">i", client.recv(4, socket.MSG_WAITALL))
        answer = client.recv(length, socket.MSG_WAITALL)
    # Correlation id, topics, the name, partitions, the partition's number, and then what counts.
    return struct.unpack_from(">hq", answer, 4 + 4 + len(name) + 4 + 4)


def batch(records, count=1, codec=0):
    checked = struct.pack(">hiqqqhii", codec, count - 1, 0, 0, -1, -1, -1, count) + records
    return struct.pack(">qiibI", 0, 4 + 1 + 4 + len(checked), 0, 2, calc_crc32c(checked)) + checked


def record(value):
    fields = bytes(3) + varint(-1) + varint(len(value)) + value + varint(0)
    return varint(len(fields)) + fields


def varint(number):
    zigzag, encoded = (number << 1) ^ (number >> 63), bytearray()
    while zigzag >= 0x80:
        encoded.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*encoded, zigzag])


def resident_bytes(broker):
    status = Path(f"/proc/{broker.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024
