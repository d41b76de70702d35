"""Groups of consumers: they share a topic, take over from each other, and go on where the group was."""

import itertools

import pytest
from kafka.admin import KafkaAdminClient, NewTopic
from kafka import KafkaProducer

from group_members import STRATEGIES, Member, wait_for
from kafka_clients import CLIENTS

PARTITIONS = 4
RECORDS = 400


# Nobody waits long for others to come, or for the dead.
OPTIONS = ("--set", "group.initial.rebalance.delay.ms=100", "--set", "group.min.session.timeout.ms=1000")


@pytest.fixture(scope="module")
def broker(broker_class, tmp_path_factory):
    with broker_class(tmp_path_factory.mktemp("groups"), *OPTIONS) as running:
        yield running


@pytest.fixture
def own_broker(broker_class, tmp_path):
    with broker_class(tmp_path / "cauce", *OPTIONS) as running:
        yield running


@pytest.fixture
def group(name):
    return name("group")


@pytest.fixture
def groups(servers):
    """What an administrator sees of groups."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    yield Groups(admin)
    admin.close()


@pytest.fixture
def members():
    """Starts members, and lets none outlive the test."""
    started = []

    def start(*words, **more):
        started.append(Member(*words, **more))
        return started[-1]

    yield start
    for member in started:
        if member.process.poll() is None:
            member.process.kill()
            member.process.wait()


class Groups:
    def __init__(self, admin):
        self.admin = admin

    def describe(self, group):
        return self.admin.describe_groups([group])[group]

    def shares(self, group):
        """Which partitions each member has, if the group is stable."""
        described = self.describe(group)
        if described["group_state"] != "Stable":
            return None
        return {
            member["member_id"]: {
                partition
                for topic in member["member_assignment"]["assigned_partitions"]
                for partition in topic["partitions"]
            }
            for member in described["members"]
        }

    def shared_by(self, group, count):
        """Waits until so many members share all partitions."""

        def shares():
            shares = self.shares(group)
            shared = shares and sorted(itertools.chain(*shares.values()))
            return shares if shared == list(range(PARTITIONS)) and len(shares) == count else None

        return wait_for(f"{count} members of {group}", shares)

    def lag(self, group, end):
        """How many records the group has not committed, where each partition has so many."""
        offsets = self.admin.list_group_offsets(group)[group]
        return PARTITIONS * end - sum(committed.offset for committed in offsets.values())


def fill(servers, topic, records=RECORDS):
    """The records are spread evenly."""
    producer = KafkaProducer(bootstrap_servers=servers, retries=10)
    sent = [producer.send(topic, b"%d" % number, partition=number % PARTITIONS) for number in range(records)]
    for one in sent:
        one.get(30)
    producer.close()


@pytest.fixture
def filled(servers, groups, topic):
    groups.admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    fill(servers, topic)
    return topic


ALL = {(number % PARTITIONS, number // PARTITIONS) for number in range(RECORDS)}
CASES = [(client, strategy) for client, strategies in STRATEGIES.items() for strategy in strategies]


@pytest.mark.parametrize("client,strategy", CASES)
def test_members_share_a_topic_and_the_last_one_has_it_all(servers, groups, group, members, filled, client, strategy):
    first = members(client, servers, group, filled, strategy)
    groups.shared_by(group, 1)
    second = members(client, servers, group, filled, strategy)
    shares = groups.shared_by(group, 2)
    assert sorted(map(len, shares.values())) == [2, 2]
    wait_for("no lag", lambda: groups.lag(group, RECORDS // PARTITIONS) == 0)
    read = first.leave()
    (share,) = groups.shared_by(group, 1).values()
    assert share == set(range(PARTITIONS))
    fill(servers, filled)
    wait_for("no lag", lambda: groups.lag(group, 2 * RECORDS // PARTITIONS) == 0)
    read += second.leave()
    assert set(read) == {(number % PARTITIONS, number // PARTITIONS) for number in range(2 * RECORDS)}
    assert groups.describe(group)["group_state"] == "Empty"


@pytest.mark.parametrize("client", CLIENTS)
def test_another_takes_over_from_a_member_that_dies(servers, groups, group, members, filled, client):
    victim, survivor = (members(client, servers, group, filled) for _ in range(2))
    groups.shared_by(group, 2)
    read = victim.kill()
    groups.shared_by(group, 1)
    fill(servers, filled)
    wait_for("no lag", lambda: groups.lag(group, 2 * RECORDS // PARTITIONS) == 0)
    read += survivor.leave()
    assert set(read) == {(number % PARTITIONS, number // PARTITIONS) for number in range(2 * RECORDS)}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_static_member_comes_back_to_its_share(servers, groups, group, members, filled, client):
    first, second = (members(client, servers, group, filled, instance=f"i{number}") for number in (1, 2))
    before = groups.shared_by(group, 2)
    first.kill()
    # Back before its session ends: nobody else notices.
    again = members(client, servers, group, filled, instance="i1")
    after = wait_for("a new id", lambda: (shares := groups.shared_by(group, 2)).keys() != before.keys() and shares)
    assert sorted(map(sorted, before.values())) == sorted(map(sorted, after.values()))
    instances = {member["group_instance_id"] for member in groups.describe(group)["members"]}
    assert instances == {"i1", "i2"}
    # They say nothing when they leave; only an administrator sends them away.
    again.leave(), second.leave()
    assert len(groups.describe(group)["members"]) == 2
    wait_for("an empty group", lambda: groups.describe(group)["group_state"] == "Empty")


@pytest.mark.parametrize("client", CLIENTS)
def test_what_was_committed_outlives_the_brokers_death(own_broker, group, members, topic, client):
    servers = f"127.0.0.1:{own_broker.ports['kafka']}"
    with Admin(servers) as groups:
        groups.admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
        fill(servers, topic)
        first, second = (members(client, servers, group, topic) for _ in range(2))
        shares = groups.shared_by(group, 2)
        wait_for("no lag", lambda: groups.lag(group, RECORDS // PARTITIONS) == 0)
        own_broker.kill()
        own_broker.start()
    with Admin(servers) as groups:
        assert groups.lag(group, RECORDS // PARTITIONS) == 0
        # The same members with the same shares: a restart is no rebalance.
        assert groups.shares(group) == shares
        fill(servers, topic)
        wait_for("no lag", lambda: groups.lag(group, 2 * RECORDS // PARTITIONS) == 0)
        read = first.leave() + second.leave()
    # Once each: what was committed is not read again.
    assert sorted(read) == sorted((number % PARTITIONS, number // PARTITIONS) for number in range(2 * RECORDS))


class Admin:
    def __init__(self, servers):
        self.admin = KafkaAdminClient(bootstrap_servers=servers)

    def __enter__(self):
        return Groups(self.admin)

    def __exit__(self, *_):
        self.admin.close()


def test_members_of_different_clients_share_a_topic(servers, groups, group, members, filled):
    several = [members(client, servers, group, filled) for client in CLIENTS]
    groups.shared_by(group, len(several))
    wait_for("no lag", lambda: groups.lag(group, RECORDS // PARTITIONS) == 0)
    assert set(itertools.chain(*(member.leave() for member in several))) == ALL
