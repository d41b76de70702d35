//! What users may do: each API is asked by somebody who may do nothing, and by others who may do one thing.

use std::collections::BTreeSet;

use cauce_broker::Defaults;
use cauce_core::access::{PasswordHash, Permissions, User};
use cauce_kafka::ErrorCode::{
    self, ClusterAuthorizationFailed as CLUSTER, GroupAuthorizationFailed as GROUP,
    TopicAuthorizationFailed as TOPIC, TransactionalIdAuthorizationFailed as ID,
};
use cauce_kafka::messages::describe_cluster::DescribeClusterRequest;
use cauce_kafka::messages::describe_log_dirs::DescribeLogDirsRequest;
use cauce_kafka::messages::list_config_resources::ListConfigResourcesRequest;
use cauce_kafka::messages::list_groups::ListGroupsRequest;
use cauce_kafka::messages::list_transactions::ListTransactionsRequest;
use cauce_kafka::messages::metadata::MetadataRequest;
use cauce_kafka::{Request, Response};

use super::client::*;
use super::requests::{self, BROKER, errors_in, version};
use crate::kafka::Anonymous;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Needs {
    Configure,
    Write,
    Read,
    Any,
}
use Needs::*;

/// Requests about a topic, a group and a transactional id of the name `x`: what they need, and what whoever lacks it
/// is told.
fn requests() -> Vec<(Needs, ErrorCode, Request)> {
    vec![
        (Write, TOPIC, produce("x", 0, -1, batch(&["v"])).into()),
        (Read, TOPIC, fetch("x", &[(0, 0)]).into()),
        (Any, TOPIC, requests::list_offsets("x")),
        (Any, TOPIC, requests::metadata("x")),
        (Any, TOPIC, requests::leader_epochs("x")),
        (Any, TOPIC, requests::page(&["x"])),
        (Read, TOPIC, requests::producers("x")),
        (Configure, TOPIC, requests::create_topic("xxx")),
        (Configure, TOPIC, requests::create_partitions("x")),
        (Configure, TOPIC, requests::delete_records("x")),
        (Configure, TOPIC, requests::delete_topic("xx")),
        (Any, TOPIC, requests::describe_configs(requests::TOPIC, "x")),
        (Configure, TOPIC, requests::alter_configs(requests::TOPIC, "x")),
        (Configure, TOPIC, requests::change_configs(requests::TOPIC, "x")),
        (Any, GROUP, requests::find_group("x")),
        (Read, GROUP, requests::join("x")),
        (Read, GROUP, requests::sync("x")),
        (Read, GROUP, requests::heartbeat("x")),
        (Read, GROUP, requests::leave("x")),
        (Read, GROUP, requests::commit("x", &["x"])),
        (Any, GROUP, requests::committed("x")),
        (Any, GROUP, requests::describe_group("x")),
        (Configure, GROUP, requests::delete_offsets("x")),
        (Configure, GROUP, requests::delete_group("x")),
        (Any, ID, requests::find_transaction("x")),
        (Write, ID, requests::init_producer(Some("x"))),
        (Write, ID, requests::add_partition("x", "x")),
        (Write, ID, requests::end_transaction("x", true)),
        (Any, ID, requests::describe_transaction("x")),
        (Write, CLUSTER, requests::init_producer(None)),
    ]
}

#[tokio::test]
async fn whoever_has_no_permission_is_refused_in_every_api() {
    let broker = broker().await;
    let mut elsewhere = user(&broker, "elsewhere", Some(["^a$", "", "^a$"]), &[]).await;
    let mut stranger = user(&broker, "stranger", None, &[]).await;
    for (_, refusal, request) in requests() {
        for client in [&mut elsewhere, &mut stranger] {
            assert_eq!(codes(client, &request).await, [refusal].into(), "{request:?}");
        }
    }
    let topics = broker.node.topics();
    assert!(topics.get("xx").is_some() && topics.get("xxx").is_none());
}

#[tokio::test]
async fn whoever_has_one_permission_may_do_what_needs_it_and_nothing_else() {
    let broker = broker().await;
    for (held, patterns) in [(Configure, ["^x", "", ""]), (Write, ["", "^x", ""]), (Read, ["", "", "^x"])] {
        let mut client = user(&broker, "ana", Some(patterns), &[]).await;
        for (needed, refusal, request) in requests() {
            let told = codes(&mut client, &request).await;
            match needed == Any || needed == held {
                true => assert!(!told.contains(&refusal), "{held:?}: {told:?} to {request:?}"),
                false => assert_eq!(told, [refusal].into(), "{held:?}: {request:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_consumer_commits_and_sees_the_offsets_of_topics_it_may_read() {
    let broker = broker().await;
    let mut ana = user(&broker, "ana", Some(["", "", "^(x|g)$"]), &[]).await;
    let commit = requests::commit("g", &["x", "y"]);
    let Response::OffsetCommit(response) = ana.ask(8, commit).await else { panic!() };
    let told: Vec<i16> = response.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
    assert_eq!(told, [0, TOPIC.code()]);

    let mut eva = user(&broker, "eva", Some(["", "", "^(y|g)$"]), &[]).await;
    for (client, seen) in [(&mut ana, 1), (&mut eva, 0)] {
        let Response::OffsetFetch(response) = client.ask(8, requests::committed("g")).await else { panic!() };
        assert_eq!(response.groups[0].topics.len(), seen);
    }
}

#[tokio::test]
async fn a_transaction_needs_its_id_and_its_topics_and_groups() {
    let broker = broker().await;
    let unknown = ErrorCode::InvalidProducerIdMapping;
    for (write, read, of_partition, of_group, of_offsets) in [
        ("^x$", "^(x|g)$", ID, ID, ID),
        ("^t$", "^x$", TOPIC, GROUP, GROUP),
        ("^(t|x)$", "^(x|g)$", unknown, unknown, unknown),
    ] {
        let mut client = user(&broker, "ana", Some(["", write, read]), &[]).await;
        for (request, told) in [
            (requests::add_partition("t", "x"), of_partition),
            (requests::add_offsets("t", "g"), of_group),
            (requests::commit_in_transaction("t", "g", "x"), of_offsets),
        ] {
            assert_eq!(codes(&mut client, &request).await, [told].into(), "{write} {read}: {request:?}");
        }
    }
}

#[tokio::test]
async fn lists_hold_what_the_client_may_see() {
    let broker = broker().await;
    let mut admin = broker.logged_in("guest", "guest").await;
    for name in ["x", "other"] {
        let both = [requests::commit(name, &["x"]), requests::init_producer(Some(name))];
        for request in both {
            assert_eq!(codes(&mut admin, &request).await, [ErrorCode::None].into());
        }
    }
    let mut ana = user(&broker, "ana", Some(["", "", "^x$"]), &[]).await;
    let mut monitor = user(&broker, "monitor", Some(["", "", ""]), &["monitoring"]).await;
    for (client, topics, groups, ids) in [(&mut ana, 1, 1, 1), (&mut monitor, 0, 2, 0), (&mut admin, 5, 2, 2)]
    {
        let everything = MetadataRequest { topics: None, ..MetadataRequest::default() };
        assert_eq!(client.metadata(12, everything).await.topics.len(), topics);
        let Response::DescribeTopicPartitions(page) = client.ask(0, requests::page(&[])).await else {
            panic!()
        };
        assert_eq!(page.topics.len(), topics);
        let Response::ListGroups(listed) = client.ask(4, ListGroupsRequest::default()).await else {
            panic!()
        };
        assert_eq!(listed.groups.len(), groups);
        let all = ListTransactionsRequest::default();
        let Response::ListTransactions(listed) = client.ask(1, all).await else { panic!() };
        assert_eq!(listed.transaction_states.len(), ids);
    }
}

#[tokio::test]
async fn the_node_as_a_whole_is_for_those_with_a_tag() {
    let broker = broker().await;
    let alters = [
        requests::alter_configs(BROKER, "1"),
        requests::change_configs(BROKER, "1"),
        requests::write_marker("x"),
    ];
    let describes = [
        DescribeLogDirsRequest { topics: None }.into(),
        ListConfigResourcesRequest::default().into(),
        requests::describe_configs(BROKER, "1"),
    ];
    for (tag, may_alter, may_describe) in
        [("management", false, false), ("monitoring", false, true), ("administrator", true, true)]
    {
        let mut client = user(&broker, "ana", Some([".*", ".*", ".*"]), &[tag]).await;
        for (requests, may) in [(&alters, may_alter), (&describes, may_describe)] {
            for request in requests {
                let told = codes(&mut client, request).await;
                assert_eq!(!told.contains(&CLUSTER), may, "{tag}: {told:?} to {request:?}");
            }
        }
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: true,
            endpoint_type: 1,
            ..DescribeClusterRequest::default()
        };
        let Response::DescribeCluster(cluster) = client.ask(1, request).await else { panic!() };
        let [alter, describe, idempotent_write] =
            [7, 8, 12].map(|operation| cluster.cluster_authorized_operations & (1 << operation) != 0);
        assert_eq!((alter, describe, idempotent_write), (may_alter, may_describe, true), "{tag}");
    }
}

#[tokio::test]
async fn a_topic_is_made_on_the_way_only_for_whoever_may_make_it() {
    let broker = broker().await;
    for (configure, told) in [("", TOPIC), ("^new$", ErrorCode::None)] {
        let mut client = user(&broker, "ana", Some([configure, "^new$", ""]), &[]).await;
        assert_eq!(codes(&mut client, &requests::metadata("new")).await, [told].into());
        assert_eq!(broker.node.topics().get("new").is_some(), told == ErrorCode::None);
    }
}

#[tokio::test]
async fn a_permission_that_changes_counts_at_once() {
    let broker = broker().await;
    let mut client = user(&broker, "ana", Some(["", "^x$", ""]), &[]).await;
    assert_eq!(client.produce("x", batch(&["v"])).await.error_code, 0);
    let nothing = Permissions::parse("", "", "").unwrap();
    broker.node.grant("ana", "/", &nothing).unwrap().wait().await;
    assert_eq!(client.produce("x", batch(&["v"])).await.error_code, TOPIC.code());
}

/// One where everybody logs in, with a few topics.
async fn broker() -> Broker {
    let broker = Broker::with_logins(&[], Anonymous::Never).await;
    broker.node.define(&Defaults::default());
    for topic in ["x", "xx", "y"] {
        broker.node.create_topic(topic, 1, Default::default()).unwrap().1.wait().await;
    }
    broker
}

/// A client of a user that may configure, write and read what these patterns match.
async fn user(broker: &Broker, name: &str, patterns: Option<[&str; 3]>, tags: &[&str]) -> Client {
    let password_hash = PasswordHash::with_salt([1; 4], b"pw");
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    broker.node.put_user(User { name: name.into(), password_hash, tags }).wait().await;
    if let Some([configure, write, read]) = patterns {
        let permissions = Permissions::parse(configure, write, read).unwrap();
        broker.node.grant(name, "/", &permissions).unwrap().wait().await;
    }
    broker.logged_in(name, "pw").await
}

/// All errors in the answer, or none.
async fn codes(client: &mut Client, request: &Request) -> BTreeSet<ErrorCode> {
    errors_in(&client.ask(version(request.api()), request.clone()).await)
}
