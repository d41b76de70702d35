"""kcat as Debian has it: an old librdkafka, which reads answers less forgivingly than newer ones."""

import shutil
import subprocess

import pytest

kcat = shutil.which("kcat")
pytestmark = pytest.mark.skipif(kcat is None, reason="kcat is not installed")

LINES = b"".join(b"%d\n" % number for number in range(1000))


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_kcat_reads_what_it_wrote(servers, topic, codec):
    run(servers, "-P", "-t", topic, "-z", codec, input=LINES)
    assert run(servers, "-C", "-t", topic, "-e", "-q", "-o", "beginning") == LINES
    assert f"{topic} [0] offset 1000" in run(servers, "-Q", "-t", f"{topic}:0:-1").decode()
    assert f'topic "{topic}" with 1 partitions' in run(servers, "-L").decode()


def run(servers, *options, input=None):
    done = subprocess.run([kcat, "-b", servers, *options], input=input, capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
