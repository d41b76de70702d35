//! A client that says anything, and a broker of its own to say it to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cauce_broker::{Flush, Node, NodeConfig, Settings};
use cauce_kafka::api::{read_response, write_request};
use cauce_kafka::messages::fetch::*;
use cauce_kafka::messages::metadata::*;
use cauce_kafka::messages::produce::*;
use cauce_kafka::messages::sasl_authenticate::SaslAuthenticateRequest;
use cauce_kafka::messages::sasl_handshake::SaslHandshakeRequest;
use cauce_kafka::wire::Records;
use cauce_kafka::{Encoded, Request, Response, Splice, Text};
use cauce_log::{BatchBuilder, MemoryDisk};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::kafka::{Anonymous, Listener, Service, listen};

/// Long enough for anything that comes at all.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub(super) struct Broker {
    pub(super) node: Arc<Node>,
    address: std::net::SocketAddr,
}

impl Broker {
    pub(super) async fn start() -> Broker {
        Broker::with(&[]).await
    }

    pub(super) async fn with(set: &[(&str, &str)]) -> Broker {
        Broker::with_logins(set, Anonymous::Loopback).await
    }

    pub(super) async fn with_logins(set: &[(&str, &str)], anonymous: Anonymous) -> Broker {
        Broker::over(MemoryDisk::new(), Flush::Always, set, anonymous).await
    }

    pub(super) async fn over(
        disk: MemoryDisk,
        flush: Flush,
        set: &[(&str, &str)],
        anonymous: Anonymous,
    ) -> Broker {
        Broker::within(disk, flush, NodeConfig::default().memory_bytes, set, anonymous).await
    }

    /// With so much memory.
    pub(super) async fn with_memory(memory_bytes: usize) -> Broker {
        Broker::within(MemoryDisk::new(), Flush::Always, memory_bytes, &[], Anonymous::Loopback).await
    }

    async fn within(
        disk: MemoryDisk,
        flush: Flush,
        memory_bytes: usize,
        set: &[(&str, &str)],
        anonymous: Anonymous,
    ) -> Broker {
        let mut settings = Settings::default();
        set.iter().for_each(|(name, value)| settings.set(name, value).unwrap());
        let config = NodeConfig { flush, settings, memory_bytes, ..NodeConfig::default() };
        let node = Node::start(Arc::new(disk), config).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let listener: Listener = "127.0.0.1:0".parse().unwrap();
        let advertised = Arc::new(listener.advertised(address));
        tokio::spawn(listen(socket, Service::new(node.clone(), "nowhere".into(), anonymous), advertised));
        Broker { node, address }
    }

    pub(super) async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), correlation_id: 0 }
    }

    /// A client that has told its name and password.
    pub(super) async fn logged_in(&self, user: &str, password: &str) -> Client {
        let mut client = self.connect().await;
        client.ask(1, SaslHandshakeRequest { mechanism: "PLAIN".into() }).await;
        let auth_bytes = format!("\0{user}\0{password}").into_bytes().into();
        match client.ask(2, SaslAuthenticateRequest { auth_bytes }).await {
            Response::SaslAuthenticate(response) => assert_eq!(response.error_code, 0, "{response:?}"),
            other => panic!("{other:?}"),
        }
        client
    }

    /// A client, and a topic with so many partitions.
    pub(super) async fn client_with(&self, topic: &str, partitions: i32) -> Client {
        self.node.create_topic(topic, partitions, Default::default()).unwrap().1.wait().await;
        self.connect().await
    }
}

pub(super) struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    /// Asks in a version, and waits for the answer.
    pub(super) async fn ask<R: Into<Request>>(&mut self, version: i16, request: R) -> Response {
        let request = request.into();
        let api = request.api();
        self.send(version, &request).await;
        let (correlation_id, response) = read_response(api, version, self.frame().await.unwrap()).unwrap();
        assert_eq!(correlation_id, self.correlation_id);
        response
    }

    pub(super) async fn send(&mut self, version: i16, request: &Request) {
        self.correlation_id += 1;
        let message = write_request(version, self.correlation_id, Some(Text::from("test")), request);
        self.send_raw(&plain(&message)).await;
    }

    pub(super) async fn send_raw(&mut self, bytes: &[u8]) {
        // The broker may have hung up in the middle: the answer, or none, tells.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Whether anything has come so far.
    pub(super) async fn is_answered(&mut self) -> bool {
        tokio::task::yield_now().await;
        let mut byte = [0];
        !matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Says that nothing more comes.
    pub(super) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next frame, `None` when the broker hung up.
    pub(super) async fn frame(&mut self) -> Option<Bytes> {
        let read = async {
            let length = self.stream.read_i32().await.ok()?;
            let mut bytes = vec![0; length as usize];
            self.stream.read_exact(&mut bytes).await.ok()?;
            Some(bytes.into())
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an answer, or the end")
    }

    pub(super) async fn metadata(&mut self, version: i16, request: MetadataRequest) -> MetadataResponse {
        match self.ask(version, request).await {
            Response::Metadata(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn fetch(&mut self, version: i16, request: FetchRequest) -> FetchResponse {
        match self.ask(version, request).await {
            Response::Fetch(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Produces one batch, and says what became of it.
    pub(super) async fn produce(&mut self, topic: &str, records: Bytes) -> PartitionProduceResponse {
        match self.ask(9, produce(topic, 0, -1, records)).await {
            Response::Produce(response) => response.responses[0].partition_responses[0].clone(),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn produce(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(Records::Bytes(records)) };
    ProduceRequest {
        acks,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned().into(),
            partition_data: vec![data],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    }
}

/// All that comes at once, from the offsets of partitions of one topic.
pub(super) fn fetch(topic: &str, partitions: &[(i32, i64)]) -> FetchRequest {
    let partition = |&(partition, fetch_offset)| FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    FetchRequest {
        topics: vec![FetchTopic {
            topic: topic.to_owned().into(),
            partitions: partitions.iter().map(partition).collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// A batch of records with these values.
pub(super) fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    let now_ms = cauce_broker::clock::now_ms();
    builder.start(0, now_ms);
    for (offset, value) in values.iter().enumerate() {
        builder.push(offset as i64, now_ms, None, Some(&[value.as_bytes()]), &[]);
    }
    builder.finish()
}

/// As one piece.
pub(super) fn plain(message: &Encoded) -> Vec<u8> {
    let (mut bytes, mut at) = (Vec::new(), 0);
    for (position, splice) in &message.splices {
        bytes.extend_from_slice(&message.bytes[at..*position]);
        at = *position;
        match splice {
            Splice::Bytes(piece) => bytes.extend_from_slice(piece),
            Splice::Elsewhere(_) => unreachable!("a request has nothing elsewhere"),
        }
    }
    bytes.extend_from_slice(&message.bytes[at..]);
    bytes
}
