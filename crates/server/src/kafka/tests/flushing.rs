//! With `--flush always` nothing is promised before it is flushed; with `--flush os` nobody waits for a flush.

use cauce_broker::Flush;
use cauce_kafka::messages::init_producer_id::InitProducerIdResponse;
use cauce_kafka::messages::join_group::*;
use cauce_kafka::messages::sync_group::*;
use cauce_kafka::{ErrorCode, Request, Response};
use cauce_log::MemoryDisk;

use super::client::*;
use super::requests::{self, errors_in, version};
use super::transactions::within;
use crate::held_flushes::flushes_before;
use crate::kafka::Anonymous;

/// A broker with a topic, its disk, and a client.
struct Scene {
    broker: Broker,
    disk: MemoryDisk,
    client: Client,
}

impl Scene {
    async fn start(flush: Flush) -> Scene {
        let disk = MemoryDisk::new();
        let set = [("group.initial.rebalance.delay.ms", "0")];
        let broker = Broker::over(disk.clone(), flush, &set, Anonymous::Loopback).await;
        let mut client = broker.client_with("t", 1).await;
        // The topics of the broker's own are made with what comes first.
        client.ask(8, requests::commit("first", &["t"])).await;
        client.ask(4, requests::init_producer(Some("first"))).await;
        Scene { broker, disk, client }
    }

    /// How many flushes there were before the answer, which says no error.
    async fn ask(&mut self, request: impl Into<Request>) -> usize {
        let request = request.into();
        self.ask_in(version(request.api()), request).await.0
    }

    async fn ask_in(&mut self, version: i16, request: Request) -> (usize, Response) {
        let asked = self.client.ask(version, request);
        let (flushes, response) = flushes_before(&self.broker.node, &self.disk, asked).await;
        assert_eq!(errors_in(&response), [ErrorCode::None].into(), "{response:?}");
        (flushes, response)
    }

    async fn state_of(&mut self, id: &str) -> String {
        match self.client.ask(0, requests::describe_transaction(id)).await {
            Response::DescribeTransactions(answer) => {
                answer.transaction_states[0].transaction_state.to_string()
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn whoever_wants_all_acks_is_answered_once_the_batch_is_flushed() {
    for (flush, flushes) in [(Flush::Always, 1), (Flush::Os, 0)] {
        let mut scene = Scene::start(flush).await;
        for _ in 0..3 {
            assert_eq!(scene.ask(produce("t", 0, -1, batch(&["v"]))).await, flushes);
            assert_eq!(scene.ask(produce("t", 0, 1, batch(&["v"]))).await, 0);
        }
    }
}

#[tokio::test]
async fn an_offset_is_committed_once_it_is_flushed() {
    for (flush, flushes) in [(Flush::Always, 1), (Flush::Os, 0)] {
        let mut scene = Scene::start(flush).await;
        for _ in 0..3 {
            assert_eq!(scene.ask(requests::commit("first", &["t"])).await, flushes);
            assert_eq!(scene.ask(requests::committed("first")).await, 0);
        }
        assert_eq!(scene.ask(requests::delete_group("first")).await, flushes);
    }
}

#[tokio::test]
async fn a_group_goes_on_with_what_is_flushed() {
    for (flush, flushes) in [(Flush::Always, 1), (Flush::Os, 0)] {
        let mut scene = Scene::start(flush).await;
        let protocol = JoinGroupRequestProtocol { name: "range".into(), metadata: b"m".as_slice().into() };
        let join = JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..JoinGroupRequest::default()
        };
        // An older version needs no id to come back with.
        let Response::JoinGroup(joined) = scene.client.ask(3, join).await else { panic!() };
        let sync = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: joined.member_id,
                assignment: b"all".as_slice().into(),
            }],
            ..SyncGroupRequest::default()
        };
        assert_eq!(scene.ask(sync).await, flushes);
    }
}

#[tokio::test]
async fn each_step_of_a_transaction_is_taken_once_it_is_flushed() {
    for (flush, flushes) in [(Flush::Always, 1), (Flush::Os, 0)] {
        let mut scene = Scene::start(flush).await;
        for (id, committed, state) in
            [("orders", true, "CompleteCommit"), ("returns", false, "CompleteAbort")]
        {
            let (counted, answer) = scene.ask_in(4, requests::init_producer(Some(id))).await;
            assert_eq!(counted, flushes, "the producer's id");
            let Response::InitProducerId(InitProducerIdResponse { producer_id, producer_epoch, .. }) = answer
            else {
                panic!()
            };
            let producer = (producer_id, producer_epoch);
            for (version, request) in [
                (3, requests::add_partition(id, "t")),
                (9, within(id, producer, 0).into()),
                (3, requests::add_offsets(id, "first")),
                (3, requests::commit_in_transaction(id, "first", "t")),
                (4, requests::end_transaction(id, committed)),
            ] {
                let api = request.api();
                let (counted, _) = scene.ask_in(version, requests::by(producer, request)).await;
                assert_eq!(counted, flushes, "{api:?}");
            }
            // The markers come behind the answer.
            while scene.state_of(id).await != state {}
        }
    }
}

#[tokio::test]
async fn topics_change_once_that_is_flushed() {
    for (flush, flushes) in [(Flush::Always, 1), (Flush::Os, 0)] {
        let mut scene = Scene::start(flush).await;
        assert_eq!(scene.ask(requests::create_topic("new")).await, flushes);
        assert_eq!(scene.ask(requests::metadata("on-the-way")).await, flushes);
        assert_eq!(scene.ask(requests::metadata("new")).await, 0);
        assert_eq!(scene.ask(requests::create_partitions("new")).await, flushes);
        assert_eq!(scene.ask(requests::change_configs(requests::TOPIC, "new")).await, flushes);
        assert_eq!(scene.ask(requests::alter_configs(requests::TOPIC, "new")).await, flushes);
        scene.client.produce("new", batch(&["v"])).await;
        assert_eq!(scene.ask(requests::delete_records("new")).await, flushes);
        assert_eq!(scene.ask(requests::delete_topic("new")).await, flushes);
    }
}
