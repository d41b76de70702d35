//! One socket to a broker. Kafka answers in the order it was asked, so that answers need no searching.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use cauce_kafka::api::{read_response, write_request};
use cauce_kafka::messages::api_versions::ApiVersionsRequest;
use cauce_kafka::messages::sasl_authenticate::SaslAuthenticateRequest;
use cauce_kafka::messages::sasl_handshake::SaslHandshakeRequest;
use cauce_kafka::{Api, Call, Encoded, Request, Response, Splice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::ClientError;
use super::options::{Address, ConnectOptions};

const CLIENT_ID: &str = "cauce";
const LENGTH_BYTES: usize = 4;
/// Larger than any answer to what we ask.
const RESPONSE_BYTES_MAX: usize = 1 << 30;
const READ_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Connection {
    address: Address,
    stream: TcpStream,
    input: BytesMut,
    answer_limit: Duration,
    /// In which version each API is spoken.
    versions: HashMap<Api, i16>,
    /// Requests without an answer, oldest first.
    waiting: VecDeque<(i32, Api, i16)>,
    last_correlation_id: i32,
}

impl Connection {
    /// Connects, agrees on versions and logs in.
    pub(crate) async fn open(address: &Address, options: &ConnectOptions) -> Result<Connection, ClientError> {
        let limit = Duration::from_secs(options.timeout);
        let refused = |error| ClientError::Connect { address: address.clone(), error };
        let stream = timeout(limit, TcpStream::connect((address.host.as_str(), address.port)))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        let mut connection = Connection {
            address: address.clone(),
            stream,
            input: BytesMut::new(),
            answer_limit: limit,
            versions: HashMap::from([(Api::ApiVersions, 0)]),
            waiting: VecDeque::new(),
            last_correlation_id: 0,
        };
        connection.agree_on_versions().await?;
        if let Some(user) = &options.user {
            connection.log_in(user, &options.password).await?;
        }
        Ok(connection)
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn call<C: Call>(&mut self, request: C) -> Result<C::Response, ClientError> {
        self.send(request.into()).await?;
        self.receive(C::API).await
    }

    /// Asks only.
    pub(crate) async fn send(&mut self, request: Request) -> Result<(), ClientError> {
        let api = request.api();
        let version = *self.versions.get(&api).ok_or(ClientError::NotServed(api))?;
        self.last_correlation_id = self.last_correlation_id.wrapping_add(1);
        // Without acks there is no answer.
        if !matches!(&request, Request::Produce(produce) if produce.acks == 0) {
            self.waiting.push_back((self.last_correlation_id, api, version));
        }
        let encoded = write_request(version, self.last_correlation_id, Some(CLIENT_ID.into()), &request);
        self.write(encoded).await.map_err(|error| self.broken(error))
    }

    /// The next answer, within the limit.
    pub(crate) async fn receive<R>(&mut self, api: Api) -> Result<R, ClientError>
    where
        R: TryFrom<Response, Error = Response>,
    {
        let answer = timeout(self.answer_limit, self.next()).await;
        let answer = answer.unwrap_or_else(|_| {
            let seconds = self.answer_limit.as_secs();
            Err(ClientError::Silent { address: self.address.clone(), api, seconds })
        })?;
        R::try_from(answer).map_err(|other| ClientError::Nonsense(format!("{:?}", other.api())))
    }

    /// The next answer, whenever it comes. Dropped while waiting, it loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Response, ClientError> {
        let frame = self.frame().await?;
        let Some((expected, api, version)) = self.waiting.pop_front() else {
            return Err(ClientError::Nonsense("an answer".to_owned()));
        };
        match read_response(api, version, frame) {
            Ok((found, response)) if found == expected => Ok(response),
            Ok((found, _)) => Err(ClientError::Nonsense(format!("correlation id {found}, not {expected}"))),
            Err(error) => Err(ClientError::Decode { api, error }),
        }
    }

    async fn frame(&mut self) -> Result<Bytes, ClientError> {
        loop {
            let mut missing = READ_BYTES;
            if let Some(prefix) = self.input.first_chunk::<LENGTH_BYTES>() {
                let length = i32::from_be_bytes(*prefix);
                let length = usize::try_from(length)
                    .ok()
                    .filter(|length| *length <= RESPONSE_BYTES_MAX)
                    .ok_or_else(|| ClientError::Nonsense(format!("an answer of {length} bytes")))?;
                if self.input.len() >= LENGTH_BYTES + length {
                    self.input.advance(LENGTH_BYTES);
                    return Ok(self.input.split_to(length).freeze());
                }
                // As much again as has come, so that a length alone gets no memory.
                missing = (LENGTH_BYTES + length - self.input.len()).min(self.input.len());
            }
            self.input.reserve(missing.max(READ_BYTES));
            let read = self.stream.read_buf(&mut self.input).await;
            if read.map_err(|error| self.broken(error))? == 0 {
                return Err(ClientError::HungUp(self.address.clone()));
            }
        }
    }

    /// Record sets go out from where they lie, together with what is before and behind them.
    async fn write(&mut self, encoded: Encoded) -> io::Result<()> {
        let bytes = Bytes::from(encoded.bytes);
        let mut from = 0;
        let mut splices = encoded.splices.into_iter().peekable();
        while let Some((at, splice)) = splices.next() {
            let Splice::Bytes(records) = splice else { continue };
            let behind = if splices.peek().is_none() { bytes.slice(at..) } else { Bytes::new() };
            let mut all = bytes.slice(from..at).chain(records).chain(behind);
            self.stream.write_all_buf(&mut all).await?;
            from = if splices.peek().is_none() { bytes.len() } else { at };
        }
        self.stream.write_all(&bytes[from..]).await
    }

    async fn agree_on_versions(&mut self) -> Result<(), ClientError> {
        let theirs = self.call(ApiVersionsRequest::default()).await?;
        for served in &theirs.api_keys {
            let Some(api) = Api::from_key(served.api_key) else { continue };
            let ours = api.versions();
            let version = served.max_version.min(newest(api));
            if version >= served.min_version.max(*ours.start()) {
                self.versions.insert(api, version);
            }
        }
        Ok(())
    }

    async fn log_in(&mut self, user: &str, password: &str) -> Result<(), ClientError> {
        let refused = |text: String| ClientError::Login { user: user.to_owned(), text };
        let handshake = self.call(SaslHandshakeRequest { mechanism: "PLAIN".into() }).await?;
        if handshake.error_code != 0 {
            let offered: Vec<&str> = handshake.mechanisms.iter().map(|name| name.as_str()).collect();
            return Err(refused(format!("PLAIN is not offered, only {offered:?}")));
        }
        let auth_bytes = Bytes::from(format!("\0{user}\0{password}"));
        let answer = self.call(SaslAuthenticateRequest { auth_bytes }).await?;
        match answer.error_code {
            0 => Ok(()),
            _ => Err(refused(answer.error_message.map_or_else(String::new, |text| text.to_string()))),
        }
    }

    fn broken(&self, error: io::Error) -> ClientError {
        ClientError::Io { address: self.address.clone(), error }
    }
}

/// The newest version we speak of an API: the last that names topics and asks for one group, so that nobody must know
/// a topic's id.
fn newest(api: Api) -> i16 {
    match api {
        Api::Produce | Api::Fetch => 12,
        Api::OffsetFetch => 7,
        Api::FindCoordinator => 3,
        _ => *api.versions().end(),
    }
}
