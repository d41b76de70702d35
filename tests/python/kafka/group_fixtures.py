"""What tests of groups start from, and what they see of groups."""

import itertools

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from group_members import Member, wait_for

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
    with Admin(servers) as groups:
        yield groups


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


class Admin:
    def __init__(self, servers):
        self.admin = KafkaAdminClient(bootstrap_servers=servers)

    def __enter__(self):
        return Groups(self.admin)

    def __exit__(self, *_):
        self.admin.close()


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

    def deleted(self, group):
        """What came of deleting it."""
        ((_, outcome),) = dict(self.admin.delete_groups([group])).items()
        return outcome

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
