"""Which brokers a run drives, and the few fixtures every test starts from.

pytest tests/python                      # both; RabbitMQ only when it is installed
pytest tests/python --broker rabbitmq    # are the expectations facts?
"""

import itertools
import signal

import pika
import pytest

import brokers


def pytest_addoption(parser):
    parser.addoption("--broker", action="append", choices=sorted(brokers.KINDS), help="drive only this broker")


def pytest_generate_tests(metafunc):
    if "broker_kind" in metafunc.fixturenames:
        kinds = metafunc.config.getoption("broker") or list(brokers.KINDS)
        metafunc.parametrize("broker_kind", kinds, scope="session")


def pytest_collection_modifyitems(config, items):
    elsewhere = [item for item in items if not belongs(item)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if belongs(item)]


def belongs(item):
    only = item.get_closest_marker("only")
    return only is None or item.callspec.params["broker_kind"] in only.args


def pytest_configure(config):
    # Asked to end, end as on Ctrl-C: the brokers are stopped, not left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.addinivalue_line("markers", "only(kind): the promise is that broker's alone")


@pytest.fixture(scope="session")
def broker_class(broker_kind):
    kind = brokers.KINDS[broker_kind]
    executable = kind.executable()
    if kind is brokers.RabbitMQ and executable is None:
        pytest.skip("rabbitmq-server is not installed")
    return kind


@pytest.fixture(scope="session")
def broker(broker_class, tmp_path_factory):
    """One broker for the whole session: tests keep apart by the names they use."""
    with broker_class(tmp_path_factory.mktemp(broker_class.name)) as running:
        yield running


@pytest.fixture
def own_broker(broker_class, tmp_path):
    """A broker of the test's own, to stop and start as it likes."""
    with broker_class(tmp_path / broker_class.name) as running:
        yield running


@pytest.fixture(autouse=True)
def facts_of_another_release(request, broker_kind):
    """On a RabbitMQ whose wording we do not know a failure says something about RabbitMQ, not about Cauce."""
    running = request.getfixturevalue("own_broker" if "own_broker" in request.fixturenames else "broker")
    expected = getattr(running, "series_expected", None)
    if expected and not running.version.startswith(expected + "."):
        reason = f"expects the answers of RabbitMQ {expected}, this is {running.version}"
        request.node.add_marker(pytest.mark.xfail(reason=reason, strict=False))


@pytest.fixture
def connect(broker):
    """Opens connections that end with the test."""
    opened = []

    def connect(**more):
        opened.append(pika.BlockingConnection(broker.parameters(**more)))
        return opened[-1]

    yield connect
    for connection in opened:
        if connection.is_open:
            connection.close()


@pytest.fixture
def connection(connect):
    return connect()


@pytest.fixture
def channel(connection):
    return connection.channel()


serial = itertools.count(1)


@pytest.fixture
def name(request):
    """A name nobody else in the session uses: `name()` for one, `name("dead")` for each of several."""
    stem = f"{request.node.originalname.removeprefix('test_')[:60]}.{next(serial)}"
    return lambda part="q": f"{stem}.{part}"
