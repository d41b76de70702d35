//! Groups over a disk in memory: what they promised is there after any power cut, and members go on after a restart.

mod common;
#[path = "groups/members.rs"]
mod members;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cauce_broker::Node;
use cauce_broker::groups::GroupError;
use cauce_core::group::{Fetched, Refusal, State};
use cauce_core::producer::{Ending, Producer, ProducerId, TransactionVersion};
use cauce_core::stream::{Marker, Sender};
use cauce_core::topic::Overrides;
use cauce_log::MemoryDisk;
use common::{run, start};
use members::{Member, at, commit_alone, committed, group, ready, settled};

const ROUNDS: i64 = 12;

/// What clients knew when the power went.
#[derive(Debug, Default)]
struct Known {
    generation: i32,
    /// Of members, and of somebody who commits alone.
    shared: i64,
    alone: i64,
    /// The other group was deleted.
    deleted: bool,
}

#[test]
fn what_was_committed_survives_a_power_cut_at_any_flush() {
    let whole = MemoryDisk::new();
    run(async { live(&whole, u64::MAX).await });
    let flushes = whole.syncs();
    assert!(flushes > 20, "{flushes} flushes are too few to say anything");
    for cut in 0..=flushes {
        let disk = MemoryDisk::new();
        disk.freeze_at_sync(cut);
        let known = run(async { live(&disk, cut).await });
        let image = disk.crash((cut % 3 != 0).then_some(cut));
        run(async { check(&image, &known, cut).await });
    }
}

/// A day of two members that share a topic, of somebody who commits alone, and of a group that is given up.
async fn live(disk: &MemoryDisk, cut: u64) -> Known {
    let mut known = Known::default();
    let powered = || disk.syncs() <= cut;
    let node = start(disk);
    ready(&node).await;
    topic(&node).await;
    commit_alone(&node, "given-up", 5).await.expect("anybody may");
    let mut first = Member::new("orders");
    let mut second = Member::new("orders");
    for round in 0..ROUNDS {
        match round % 4 {
            0 => settled(&node, &mut [&mut first, &mut second]).await,
            3 => {
                second.leave(&node).await;
                settled(&node, &mut [&mut first]).await;
            }
            _ => {}
        }
        known.generation = if powered() { first.generation } else { known.generation };
        first.commit(&node, round).await.expect("it is a member");
        known.shared = if powered() { round } else { known.shared };
        commit_alone(&node, "alone", round).await.expect("anybody may");
        known.alone = if powered() { round } else { known.alone };
    }
    node.groups().delete(group("given-up")).await.expect("it has no members");
    known.deleted = powered();
    known
}

async fn check(image: &MemoryDisk, known: &Known, cut: u64) {
    let node = start(image);
    ready(&node).await;
    let shared = committed(&node, "orders").await.unwrap_or(0);
    assert!((known.shared..=known.shared + 1).contains(&shared), "cut {cut}: {shared} where {known:?}");
    let alone = committed(&node, "alone").await.unwrap_or(0);
    assert!((known.alone..=known.alone + 1).contains(&alone), "cut {cut}: {alone} where {known:?}");
    let generation = node.groups().describe(group("orders")).await.map_or(0, |group| group.generation);
    assert!(generation >= known.generation, "cut {cut}: generation {generation} where {known:?}");
    let given_up = node.groups().describe(group("given-up")).await;
    assert!(!known.deleted || given_up == Err(GroupError::Unknown), "cut {cut}: {given_up:?}");
}

#[test]
fn members_go_on_after_a_restart_as_if_nothing_had_been() {
    for orderly in [true, false] {
        let disk = MemoryDisk::new();
        let (mut first, mut second) = (Member::new("orders"), Member::new("orders"));
        run(async {
            let node = start(&disk);
            ready(&node).await;
            topic(&node).await;
            settled(&node, &mut [&mut first, &mut second]).await;
            first.commit(&node, 7).await.unwrap();
            if orderly {
                node.stop().await;
                assert_eq!(first.heartbeat(&node).await, Err(GroupError::Unavailable));
            }
        });
        let image = disk.crash(None);
        run(async {
            let node = start(&image);
            ready(&node).await;
            for member in [&mut first, &mut second] {
                assert_eq!(member.heartbeat(&node).await, Ok(()), "orderly: {orderly}");
            }
            assert_eq!(committed(&node, "orders").await, Some(7));
            second.commit(&node, 8).await.unwrap();
            assert_eq!(committed(&node, "orders").await, Some(8));
            let described = node.groups().describe(group("orders")).await.unwrap();
            assert_eq!((described.state, described.members.len()), (State::Stable, 2));
        });
    }
}

#[test]
fn a_member_that_falls_silent_is_out_when_its_session_ends() {
    members::by_hand(async {
        let node = start(&MemoryDisk::new());
        ready(&node).await;
        let (mut first, mut second) = (Member::new("orders"), Member::new("orders"));
        settled(&node, &mut [&mut first, &mut second]).await;
        tokio::time::advance(Duration::from_secs(8)).await;
        assert_eq!(first.heartbeat(&node).await, Ok(()));
        tokio::time::advance(Duration::from_secs(3)).await;
        // Who is asked something as time runs out answers that first.
        ready(&node).await;
        assert_eq!(first.heartbeat(&node).await, Err(Refusal::Rebalancing.into()));
        settled(&node, &mut [&mut first]).await;
        assert_eq!(second.heartbeat(&node).await, Err(Refusal::UnknownMember.into()));
        let described = node.groups().describe(group("orders")).await.unwrap();
        assert_eq!((described.state, described.members.len()), (State::Stable, 1));
    });
}

#[test]
fn a_group_nobody_comes_back_to_is_forgotten() {
    let disk = MemoryDisk::new();
    members::by_hand(async {
        let node = start(&disk);
        ready(&node).await;
        commit_alone(&node, "alone", 1).await.unwrap();
        tokio::time::advance(Duration::from_hours(7 * 24 - 1)).await;
        ready(&node).await;
        assert_eq!(committed(&node, "alone").await, Some(1));
        tokio::time::advance(Duration::from_hours(2)).await;
        while node.groups().list().await != Ok(Vec::new()) {
            tokio::task::yield_now().await;
        }
    });
    run(async {
        let node = start(&disk.crash(None));
        ready(&node).await;
        assert_eq!(node.groups().list().await, Ok(Vec::new()));
    });
}

#[test]
fn offsets_of_a_transaction_count_once_its_marker_is_there() {
    let disk = MemoryDisk::new();
    run(async {
        let node = start(&disk);
        ready(&node).await;
        topic(&node).await;
        for (id, ending) in [(1, Ending::Commit), (2, Ending::Abort)] {
            let group = format!("of-{id}");
            commit_alone(&node, &group, 1).await.unwrap();
            commit_within(&node, &group, id, 2).await;
            assert_eq!(committed(&node, &group).await, Some(1));
            assert_eq!(stable(&node, &group).await, Fetched::Unstable);
            end(&node, &group, id, ending, true).await;
            let expected = if ending == Ending::Commit { 2 } else { 1 };
            assert_eq!(committed(&node, &group).await, Some(expected));
        }
        // One whose marker is stored, and the groups were not told; and one that is open.
        for id in [3, 4] {
            commit_within(&node, &format!("of-{id}"), id, 2).await;
        }
        end(&node, "of-3", 3, Ending::Commit, false).await;
    });
    let image = disk.crash(None);
    run(async {
        let node = start(&image);
        ready(&node).await;
        for (id, expected) in [(1, Some(2)), (2, Some(1)), (3, Some(2)), (4, None)] {
            assert_eq!(committed(&node, &format!("of-{id}")).await, expected, "transaction {id}");
        }
        assert_eq!(stable(&node, "of-4").await, Fetched::Unstable);
        end(&node, "of-4", 4, Ending::Commit, true).await;
        assert_eq!(committed(&node, "of-4").await, Some(2));
    });
}

/// As a producer in a transaction does.
async fn commit_within(node: &Node, name: &str, id: i64, offset: i64) {
    let producer = Producer { id: ProducerId(id), epoch: 0 };
    let sender = Sender { producer, first_sequence: None, transactional: true };
    let guard = partition(node, name).verification(sender, TransactionVersion::Classic).await.unwrap();
    let commit = members::commit(None, None, offset);
    let commit = cauce_core::group::Commit { producer: Some(producer), ..commit };
    node.groups().commit(group(name), commit, guard).await.unwrap();
}

/// As the coordinator of transactions does.
async fn end(node: &Node, name: &str, id: i64, ending: Ending, tells: bool) {
    let producer = Producer { id: ProducerId(id), epoch: 0 };
    let marker = Marker { producer, ending, coordinator_epoch: 0, version: TransactionVersion::Classic };
    partition(node, name).end_transaction(marker).answer().await.unwrap();
    if tells {
        node.groups().transaction_ended(node.offsets_partition(name).partition, producer.id, ending);
    }
}

fn partition(node: &Node, name: &str) -> Arc<cauce_broker::stream::PartitionHandle> {
    node.offsets_topic().unwrap().partition(node.offsets_partition(name).partition).unwrap()
}

async fn stable(node: &Node, name: &str) -> Fetched {
    let fetched = node.groups().fetch(group(name), Some(vec![at()]), true).await.unwrap();
    fetched.into_iter().next().expect("one was asked for").1
}

#[test]
fn a_topic_that_comes_again_has_no_offsets() {
    let disk = MemoryDisk::new();
    run(async {
        let node = start(&disk);
        ready(&node).await;
        topic(&node).await;
        commit_alone(&node, "alone", 3).await.unwrap();
        node.delete_topic("t").await.unwrap();
        topic(&node).await;
        assert_eq!(committed(&node, "alone").await, None);
    });
    let image = disk.crash(None);
    run(async {
        let node = start(&image);
        ready(&node).await;
        assert_eq!(committed(&node, "alone").await, None);
        // Nothing was committed to a topic that is not there when the node starts.
        commit_alone(&node, "alone", 3).await.unwrap();
        let elsewhere = members::commit_at("elsewhere", 1);
        node.groups().commit(group("alone"), elsewhere, None).await.unwrap();
    });
    run(async {
        let node = start(&image.crash(None));
        ready(&node).await;
        let all = node.groups().fetch(group("alone"), None, false).await.unwrap();
        let all: BTreeMap<String, Fetched> =
            all.into_iter().map(|(at, fetched)| (at.to_string(), fetched)).collect();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["t-0"]);
    });
}

#[test]
fn groups_that_are_not_there_have_no_members() {
    run(async {
        let node = start(&MemoryDisk::new());
        ready(&node).await;
        let mut stranger = Member::known_as("m", "orders");
        assert_eq!(stranger.heartbeat(&node).await, Err(Refusal::UnknownMember.into()));
        assert_eq!(stranger.commit(&node, 1).await, Err(GroupError::Unknown));
        let left = node.groups().leave(group("orders"), vec![stranger.identity()]).await;
        assert_eq!(left, Err(Refusal::UnknownMember.into()));
        assert_eq!(node.groups().delete(group("orders")).await, Err(GroupError::Unknown));
        assert_eq!(node.groups().list().await, Ok(Vec::new()));
        assert_eq!(committed(&node, "orders").await, None);
    });
}

#[test]
fn what_a_record_cannot_hold_is_refused() {
    run(async {
        let node = start(&MemoryDisk::new());
        ready(&node).await;
        let refused = commit_alone(&node, &"g".repeat(40_000), 1).await;
        assert_eq!(refused, Err(GroupError::NameTooLong { bytes: 40_000, most: 32_767 }));
        let refused = Member::new("orders").says(vec![0; 2 << 20]).try_join(&node).await;
        assert!(matches!(refused, Err(GroupError::MemberTooLarge { .. })), "{refused:?}");
    });
}

async fn topic(node: &Node) {
    let (_, saved) = node.create_topic("t", 1, Overrides::default()).expect("a new topic");
    saved.wait().await;
}
