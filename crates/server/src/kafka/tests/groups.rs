use cauce_kafka::messages::delete_groups::*;
use cauce_kafka::messages::describe_groups::*;
use cauce_kafka::messages::find_coordinator::*;
use cauce_kafka::messages::heartbeat::*;
use cauce_kafka::messages::join_group::*;
use cauce_kafka::messages::leave_group::*;
use cauce_kafka::messages::list_groups::*;
use cauce_kafka::messages::offset_commit::*;
use cauce_kafka::messages::offset_delete::*;
use cauce_kafka::messages::offset_fetch::*;
use cauce_kafka::messages::sync_group::*;
use cauce_kafka::{Api, ErrorCode, Response, Text};

use super::client::*;

/// Subscribes to the topic `t`, in its first version.
const SUBSCRIPTION: &[u8] = &[0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];

/// Asks, and takes the answer for what it must be.
macro_rules! ask {
    ($client:expr, $api:ident, $version:expr, $request:expr) => {
        match $client.ask($version, $request).await {
            Response::$api(response) => response,
            other => panic!("{other:?}"),
        }
    };
}

async fn broker() -> Broker {
    Broker::with(&[("group.initial.rebalance.delay.ms", "0")]).await
}

#[tokio::test]
async fn a_member_comes_works_and_goes_in_every_version() {
    let broker = broker().await;
    let mut client = broker.client_with("t", 1).await;
    for step in 0..=9 {
        let group = format!("g{step}");
        // Of each API the version that is as old as the step, or its newest.
        let version = |api: Api| step.clamp(*api.versions().start(), *api.versions().end());
        let membership = join(&mut client, version(Api::JoinGroup), &group).await;
        let (member, generation) = (membership.member_id.clone(), membership.generation_id);
        assert_eq!((membership.error_code, generation, &*membership.leader), (0, 1, &*member), "{step}");
        assert_eq!(membership.protocol_name.as_deref(), Some("range"));
        assert_eq!(&membership.members[0].metadata[..], SUBSCRIPTION);

        let sync = SyncGroupRequest {
            assignments: vec![SyncGroupRequestAssignment {
                member_id: member.clone(),
                assignment: b"all".as_slice().into(),
            }],
            ..sync_request(&group, &member, generation)
        };
        let share = ask!(client, SyncGroup, version(Api::SyncGroup), sync);
        assert_eq!((share.error_code, &share.assignment[..]), (0, &b"all"[..]), "{step}");
        let beat = heartbeat(&mut client, version(Api::Heartbeat), &group, &member, generation).await;
        assert_eq!(beat, ErrorCode::None, "{step}");

        let commit = OffsetCommitRequest {
            generation_id_or_member_epoch: generation,
            member_id: member.clone(),
            ..commit_request(&group, "t", 0, 42)
        };
        assert_eq!(commit_code(&mut client, version(Api::OffsetCommit), commit).await, ErrorCode::None);
        for wants_all in [false, true] {
            // The first version cannot ask for all.
            let version = version(Api::OffsetFetch).max(if wants_all { 2 } else { 1 });
            assert_eq!(fetch_offset(&mut client, version, &group, wants_all).await, (42, 0), "{step}");
        }

        let version = version(Api::LeaveGroup);
        let left = ask!(client, LeaveGroup, version, leave_request(version, &group, &member));
        let codes: Vec<i16> = left.members.iter().map(|member| member.error_code).collect();
        assert_eq!((left.error_code, codes), (0, vec![0; usize::from(version >= 3)]), "{step}");
        let beat = heartbeat(&mut client, 4, &group, &member, generation).await;
        assert_eq!(beat, ErrorCode::UnknownMemberId, "{step}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_kafkas_codes() {
    let broker = broker().await;
    let mut client = broker.client_with("t", 1).await;
    for (request, code) in [
        (join_request("", ""), ErrorCode::InvalidGroupId),
        (join_request("g", "stranger"), ErrorCode::UnknownMemberId),
        (
            JoinGroupRequest { session_timeout_ms: 1, ..join_request("g", "") },
            ErrorCode::InvalidSessionTimeout,
        ),
        (
            JoinGroupRequest { protocols: Vec::new(), ..join_request("g", "") },
            ErrorCode::InconsistentGroupProtocol,
        ),
        (
            JoinGroupRequest { group_id: "g".repeat(40_000).into(), ..join_request("", "") },
            ErrorCode::InvalidRequest,
        ),
    ] {
        let answer = ask!(client, JoinGroup, 9, request.clone());
        assert_eq!(ErrorCode::from_code(answer.error_code), Some(code), "{request:?}");
    }
    assert_eq!(heartbeat(&mut client, 4, "", "m", 1).await, ErrorCode::InvalidGroupId);
    assert_eq!(heartbeat(&mut client, 4, "g", "m", 1).await, ErrorCode::UnknownMemberId);
    let sync = SyncGroupRequest { protocol_name: None, ..sync_request("g", "m", 1) };
    let answer = ask!(client, SyncGroup, 5, sync);
    assert_eq!(answer.error_code, ErrorCode::InconsistentGroupProtocol.code());
    let answer = ask!(client, SyncGroup, 5, sync_request("g", "m", 1));
    assert_eq!(answer.error_code, ErrorCode::UnknownMemberId.code());
    let answer = ask!(client, LeaveGroup, 5, leave_request(5, "g", "m"));
    assert_eq!(answer.error_code, ErrorCode::UnknownMemberId.code());

    let of_a_member =
        || OffsetCommitRequest { generation_id_or_member_epoch: 3, ..commit_request("g", "t", 0, 1) };
    for (version, request, code) in [
        (8, of_a_member(), ErrorCode::IllegalGeneration),
        (9, of_a_member(), ErrorCode::GroupIdNotFound),
        (9, commit_request("g", "t", 9, 1), ErrorCode::UnknownTopicOrPartition),
        (9, commit_request("g", "nowhere", 0, 1), ErrorCode::UnknownTopicOrPartition),
        // Nobody in particular may commit, to a group without a name too.
        (9, commit_request("", "t", 0, 1), ErrorCode::None),
    ] {
        assert_eq!(commit_code(&mut client, version, request).await, code);
    }
    assert_eq!(fetch_offset(&mut client, 8, "nobody", false).await, (-1, 0));
}

#[tokio::test]
async fn administrators_are_told_what_there_is_and_what_is_not() {
    let broker = broker().await;
    let mut client = broker.client_with("t", 1).await;
    join(&mut client, 9, "busy").await;
    assert_eq!(commit_code(&mut client, 9, commit_request("alone", "t", 0, 1)).await, ErrorCode::None);

    let listed = ask!(client, ListGroups, 5, ListGroupsRequest::default());
    let listed: Vec<_> = listed.groups.iter().map(|group| (&*group.group_id, &*group.group_state)).collect();
    assert_eq!(listed, [("alone", "Empty"), ("busy", "CompletingRebalance")]);

    let describe = || DescribeGroupsRequest {
        groups: vec!["busy".into(), "none".into()],
        include_authorized_operations: true,
    };
    let described = ask!(client, DescribeGroups, 6, describe()).groups;
    assert_eq!((described[0].members.len(), &*described[0].members[0].client_id), (1, "test"));
    assert_eq!(described[1].error_code, ErrorCode::GroupIdNotFound.code());
    let described = ask!(client, DescribeGroups, 5, describe()).groups;
    assert_eq!((described[1].error_code, &*described[1].group_state), (0, "Dead"));

    let delete = || DeleteGroupsRequest { groups_names: vec!["busy".into(), "alone".into(), "none".into()] };
    let deleted = ask!(client, DeleteGroups, 2, delete()).results;
    let codes: Vec<_> =
        deleted.iter().map(|result| ErrorCode::from_code(result.error_code).unwrap()).collect();
    assert_eq!(codes, [ErrorCode::NonEmptyGroup, ErrorCode::None, ErrorCode::GroupIdNotFound]);
    let forget = OffsetDeleteRequest { group_id: "none".into(), topics: Vec::new() };
    let answer = ask!(client, OffsetDelete, 0, forget);
    assert_eq!(answer.error_code, ErrorCode::GroupIdNotFound.code());
}

#[tokio::test]
async fn the_node_itself_looks_after_every_group_and_transaction() {
    let broker = broker().await;
    let mut client = broker.connect().await;
    for (key_type, code) in [(0, ErrorCode::None), (1, ErrorCode::None), (2, ErrorCode::InvalidRequest)] {
        let request = FindCoordinatorRequest {
            key_type,
            coordinator_keys: vec!["a".into(), "b".into()],
            ..FindCoordinatorRequest::default()
        };
        let found = ask!(client, FindCoordinator, 6, request).coordinators;
        let found: Vec<_> = found.iter().map(|found| (&*found.key, found.error_code)).collect();
        assert_eq!(found, [("a", code.code()), ("b", code.code())]);
    }
    let request = FindCoordinatorRequest { key: "a".into(), ..FindCoordinatorRequest::default() };
    let found = ask!(client, FindCoordinator, 0, request);
    assert_eq!((found.error_code, found.node_id, &*found.host), (0, 1, "127.0.0.1"));
}

/// Comes back with the id it is told, in the versions that want that.
#[tokio::test]
async fn what_groups_remember_counts_and_grows_no_more_when_memory_is_spent() {
    let broker = Broker::with_memory(16 << 20).await;
    let mut client = broker.client_with("t", 2).await;
    let memory = broker.node.memory();
    let noted = |group: &str, partition| {
        let mut request = commit_request(group, "t", partition, 1);
        request.topics[0].partitions[0].committed_metadata = Some(text(&"x".repeat(4_000)));
        request
    };
    assert_eq!(commit_code(&mut client, 2, noted("g", 0)).await, ErrorCode::None);
    let before = memory.gauge().bytes();
    assert!(before > 4_000);
    assert_eq!(commit_code(&mut client, 2, noted("h", 0)).await, ErrorCode::None);
    assert!(memory.gauge().bytes() > before + 4_000);

    let spent = memory.gauge().charge(16 << 20);
    for more in [noted("g", 1), noted("i", 0)] {
        assert_eq!(commit_code(&mut client, 2, more).await, ErrorCode::CoordinatorNotAvailable);
    }
    assert_eq!(commit_code(&mut client, 2, noted("g", 0)).await, ErrorCode::None);
    assert_eq!(commit_code(&mut client, 2, commit_request("g", "t", 0, 9)).await, ErrorCode::None);
    drop(spent);
    assert!(memory.gauge().bytes() < before + 4_000, "what is shorter counts less");
    let deletion = DeleteGroupsRequest { groups_names: vec![text("g"), text("h")] };
    ask!(client, DeleteGroups, 2, deletion);
    assert!(memory.gauge().bytes() < before - 4_000, "what is gone does not count");
}

async fn join(client: &mut Client, version: i16, group: &str) -> JoinGroupResponse {
    let answer = ask!(client, JoinGroup, version, join_request(group, ""));
    if version < 4 {
        return answer;
    }
    assert_eq!(answer.error_code, ErrorCode::MemberIdRequired.code());
    ask!(client, JoinGroup, version, join_request(group, &answer.member_id))
}

fn join_request(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: text(group),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id: text(member),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: SUBSCRIPTION.into() }],
        ..JoinGroupRequest::default()
    }
}

fn sync_request(group: &str, member: &str, generation_id: i32) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: text(group),
        generation_id,
        member_id: text(member),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..SyncGroupRequest::default()
    }
}

async fn heartbeat(
    client: &mut Client,
    version: i16,
    group: &str,
    member: &str,
    generation_id: i32,
) -> ErrorCode {
    let (group_id, member_id) = (text(group), text(member));
    let beat = HeartbeatRequest { group_id, generation_id, member_id, ..HeartbeatRequest::default() };
    let answer = ask!(client, Heartbeat, version, beat);
    ErrorCode::from_code(answer.error_code).unwrap()
}

fn leave_request(version: i16, group: &str, member: &str) -> LeaveGroupRequest {
    let several = vec![MemberIdentity { member_id: text(member), ..MemberIdentity::default() }];
    LeaveGroupRequest {
        group_id: text(group),
        member_id: text(member),
        members: if version >= 3 { several } else { Vec::new() },
    }
}

fn commit_request(
    group: &str,
    topic: &str,
    partition_index: i32,
    committed_offset: i64,
) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: text(group),
        topics: vec![OffsetCommitRequestTopic {
            name: text(topic),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index,
                committed_offset,
                ..OffsetCommitRequestPartition::default()
            }],
        }],
        ..OffsetCommitRequest::default()
    }
}

async fn commit_code(client: &mut Client, version: i16, request: OffsetCommitRequest) -> ErrorCode {
    let answer = ask!(client, OffsetCommit, version, request);
    ErrorCode::from_code(answer.topics[0].partitions[0].error_code).unwrap()
}

/// The offset and the error of the one partition of the topic `t`.
async fn fetch_offset(client: &mut Client, version: i16, group: &str, wants_all: bool) -> (i64, i16) {
    let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0] };
    let topics = OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0] };
    let request = match version {
        ..8 => OffsetFetchRequest {
            group_id: text(group),
            topics: (!wants_all).then(|| vec![topic]),
            ..OffsetFetchRequest::default()
        },
        _ => OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: text(group),
                topics: (!wants_all).then(|| vec![topics]),
                ..OffsetFetchRequestGroup::default()
            }],
            ..OffsetFetchRequest::default()
        },
    };
    let answer = ask!(client, OffsetFetch, version, request);
    match version {
        ..8 => {
            let partition = &answer.topics[0].partitions[0];
            (partition.committed_offset, partition.error_code)
        }
        _ => {
            let partition = &answer.groups[0].topics[0].partitions[0];
            (partition.committed_offset, partition.error_code)
        }
    }
}

fn text(text: &str) -> Text {
    Text::from(text.to_owned())
}
