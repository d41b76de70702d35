use cauce_kafka::api::{read_response, write_request};
use cauce_kafka::messages::api_versions::*;
use cauce_kafka::messages::metadata::*;
use cauce_kafka::{Api, ErrorCode, Request, Response};

use super::client::*;
use super::requests;

#[tokio::test]
async fn a_client_that_is_too_new_can_read_what_it_may_ask_for() {
    let broker = Broker::start().await;
    let mut client = broker.connect().await;
    // ApiVersions in version 99.
    client.send_raw(&frame(&[&[0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff], &b"whatever"[..]].concat())).await;
    let answer = client.frame().await.unwrap();
    let (correlation_id, response) = read_response(Api::ApiVersions, 0, answer).unwrap();
    let Response::ApiVersions(response) = response else { panic!() };
    assert_eq!((correlation_id, response.error_code), (7, ErrorCode::UnsupportedVersion.code()));
    let versions = |key| response.api_keys.iter().find(|api| api.api_key == key).unwrap();
    assert_eq!((versions(18).min_version, versions(18).max_version), (0, 4));
    // For librdkafka, which looks there to see whether it may compress.
    assert_eq!((versions(0).min_version, versions(0).max_version), (0, 13));

    for version in 0..=4 {
        let request =
            ApiVersionsRequest { client_software_name: "test".into(), client_software_version: "1".into() };
        let Response::ApiVersions(same) = client.ask(version, request).await else { panic!() };
        assert_eq!((same.error_code, same.api_keys.len()), (0, response.api_keys.len()));
    }
}

#[tokio::test]
async fn who_says_what_nobody_understands_is_hung_up_on_and_nobody_else() {
    let broker = Broker::start().await;
    let mut bystander = broker.connect().await;
    let mut messages = vec![
        // Lengths that lie.
        i32::MAX.to_be_bytes().to_vec(),
        (-1i32).to_be_bytes().to_vec(),
        (100i32 << 20).wrapping_add(1).to_be_bytes().to_vec(),
        // Too short for a header; an API that is none; versions of Produce and Fetch that are gone.
        frame(&[0, 3]),
        frame(&[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
        frame(&[0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff]),
        frame(&[0, 1, 0, 3, 0, 0, 0, 1, 0xff, 0xff]),
        // An API for brokers among themselves.
        frame(&[0, 4, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
        // An HTTP client.
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        // Metadata about two thousand million topics.
        frame(&[0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 7]),
        frame(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]),
    ];
    // A good request, and all the ways to break it off.
    let whole = plain(&write_request(12, 1, Some("x".into()), &fetch("t", &[(0, 0)]).into()));
    messages.extend((4..whole.len() - 1).map(|end| frame(&whole[4..end])));
    for message in messages {
        let mut client = broker.connect().await;
        client.send_raw(&message).await;
        assert_eq!(client.frame().await, None, "{:?}", &message[..message.len().min(20)]);
    }
    let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
    assert_eq!(bystander.metadata(12, request).await.brokers.len(), 1);
}

#[tokio::test]
async fn bytes_at_random_do_no_harm() {
    let seed = cauce_broker::clock::now_ms() as u64;
    println!("seed {seed}");
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let broker = Broker::start().await;
    for _ in 0..300 {
        let api = Api::ALL[random() as usize % Api::ALL.len()];
        let (first, last) = (*api.versions().start(), *api.versions().end());
        let version = first + (random() % (last - first + 1) as u64) as i16;
        let mut message = [api.key().to_be_bytes(), version.to_be_bytes()].concat();
        message.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
        let length = random() % 60;
        // Mostly small numbers: they are more often lengths that fit.
        message
            .extend((0..length).map(|_| if random() % 3 > 0 { random() as u8 % 4 } else { random() as u8 }));
        let mut client = broker.connect().await;
        client.send_raw(&frame(&message)).await;
        client.finish().await;
        while client.frame().await.is_some() {}
    }
    assert_eq!(broker.connect().await.metadata(1, MetadataRequest::default()).await.brokers.len(), 1);
}

#[tokio::test]
async fn a_broker_that_stops_lets_go_of_who_waits() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    let request = cauce_kafka::messages::fetch::FetchRequest {
        max_wait_ms: 60_000,
        min_bytes: 1,
        ..fetch("t", &[(0, 0)])
    };
    client.metadata(1, MetadataRequest::default()).await;
    client.send(12, &request.into()).await;
    broker.node.close_connections("the test is over");
    broker.node.all_disconnected().await;
    assert_eq!(client.frame().await, None);
}

/// Half a megabyte of answer, mostly.
async fn ask_for_much(client: &mut Client) {
    let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
    client.send(12, &request.into()).await;
}

#[tokio::test]
async fn answers_that_nobody_takes_are_counted_and_bounded() {
    let broker = Broker::with_memory(4 << 20).await;
    let memory = broker.node.memory();
    let mut client = broker.client_with("t", 10_000).await;
    ask_for_much(&mut client).await;
    let bytes = client.frame().await.unwrap().len();
    let crowd = memory.answers().charge(memory.answers_bytes_max() - bytes / 2);

    ask_for_much(&mut client).await;
    assert!(client.frame().await.is_none(), "no room for another");
    // Small answers are given all the same.
    let few = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
    let mut client = broker.connect().await;
    assert_eq!(client.metadata(12, few).await.brokers.len(), 1);
    drop(crowd);
    ask_for_much(&mut client).await;
    assert_eq!(client.frame().await.unwrap().len(), bytes);

    // Held as long as the client does not read; more is asked for than the system keeps.
    let mut silent = broker.connect().await;
    for _ in 0..(16 << 20) / bytes {
        ask_for_much(&mut silent).await;
    }
    wait_until(|| memory.answers().bytes() >= bytes).await;
    drop(silent);
    wait_until(|| memory.answers().bytes() == 0 && memory.gauge().bytes() == 0).await;
}

/// What another task brings about.
async fn wait_until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.expect("it becomes so");
}

#[tokio::test]
async fn a_fetch_that_waits_is_counted_by_its_partitions() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1000).await;
    let partitions: Vec<(i32, i64)> = (0..1000).map(|partition| (partition, 0)).collect();
    let request = cauce_kafka::messages::fetch::FetchRequest {
        max_wait_ms: 60_000,
        min_bytes: 1,
        ..fetch("t", &partitions)
    };
    client.send(12, &request.into()).await;
    let memory = broker.node.memory();
    wait_until(|| memory.answers().bytes() >= 100_000).await;
    drop(client);
    wait_until(|| memory.answers().bytes() == 0 && memory.gauge().bytes() == 0).await;
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&(message.len() as i32).to_be_bytes(), message].concat()
}

#[tokio::test]
async fn who_asks_the_same_many_times_is_answered_once() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    for once in [
        requests::metadata("t"),
        requests::producers("t"),
        requests::describe_configs(requests::TOPIC, "t"),
        requests::describe_group("g"),
        requests::describe_transaction("x"),
        requests::committed("g"),
        fetch("t", &[(0, 0)]).into(),
    ] {
        let version = requests::version(once.api());
        let mut sizes = Vec::new();
        for request in [again_and_again(&once), once] {
            client.send(version, &request).await;
            sizes.push(client.frame().await.unwrap().len());
        }
        assert_eq!(sizes[0], sizes[1]);
    }
}

/// The same, with everything it names fifty times.
fn again_and_again(once: &Request) -> Request {
    const TIMES: usize = 50;
    fn repeat<T: Clone>(all: &mut Vec<T>) {
        *all = all.iter().cycle().take(TIMES * all.len()).cloned().collect();
    }
    let mut request = once.clone();
    match &mut request {
        Request::Metadata(request) => request.topics.iter_mut().for_each(repeat),
        Request::DescribeProducers(request) => {
            request.topics.iter_mut().for_each(|topic| repeat(&mut topic.partition_indexes));
            repeat(&mut request.topics);
        }
        Request::DescribeConfigs(request) => repeat(&mut request.resources),
        Request::DescribeGroups(request) => repeat(&mut request.groups),
        Request::DescribeTransactions(request) => repeat(&mut request.transactional_ids),
        Request::OffsetFetch(request) => {
            let topics = request.groups.iter_mut().filter_map(|group| group.topics.as_mut());
            topics.flatten().for_each(|topic| repeat(&mut topic.partition_indexes));
            repeat(&mut request.groups);
        }
        Request::Fetch(request) => {
            request.topics.iter_mut().for_each(|topic| repeat(&mut topic.partitions));
            repeat(&mut request.topics);
        }
        other => unreachable!("{other:?}"),
    }
    request
}
