"""Groups of consumers: they share a topic, take over from each other, and go on where the group was."""

import itertools

import pytest
from kafka.admin import NewTopic

from group_fixtures import PARTITIONS, RECORDS, Admin, broker, fill, filled, group, groups, members, own_broker  # noqa: F401
from group_members import STRATEGIES, wait_for
from kafka_clients import CLIENTS

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


def test_members_of_different_clients_share_a_topic(servers, groups, group, members, filled):
    several = [members(client, servers, group, filled) for client in CLIENTS]
    groups.shared_by(group, len(several))
    wait_for("no lag", lambda: groups.lag(group, RECORDS // PARTITIONS) == 0)
    assert set(itertools.chain(*(member.leave() for member in several))) == ALL
