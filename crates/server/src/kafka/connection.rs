//! One client: its requests in, their answers out, in the order in which it asked.
//!
//! Produce requests overlap: the next is begun while the flush of the one before is waited for. Anything else waits
//! for its turn, so that whoever commits and then asks what is committed gets what it expects.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cauce_broker::{Alarms, Event};
use cauce_kafka::api::{read_request, write_response};
use cauce_kafka::{Api, Encoded, Request, RequestError, RequestHeader, Response, Text};
use cauce_log::Region;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Service;
use super::api::produce::{self, Producing};
use super::api::{self, api_versions};
use super::authorization::Principal;
use super::frames::{Frame, FrameError, Frames};
use super::held::{Crowded, Held};
use super::listener::Advertised;
use super::login::{self, Login};
use super::reply::{self, Reply};

/// Produce requests of one client under way, and bytes of them. A client has five, usually of a MiB at most.
const UNDER_WAY_MAX: usize = 64;
const UNDER_WAY_BYTES_MAX: usize = 16 << 20;

/// Bytes that are read while a client waits for an answer, to see whether it is still there.
const READ_AHEAD_BYTES_MAX: usize = 64 << 10;

/// Why a client is served no longer.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("{0}")]
    Gone(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    BadRequest(#[from] RequestError),
    #[error("{0}")]
    Crowded(#[from] Crowded),
    #[error("it produces without waiting for answers, so that closing is how it learns of an error: {0}")]
    Unanswered(String),
    #[error("it asks for {0:?} and has not logged in (see --kafka-anonymous)")]
    LoginNeeded(Api),
    #[error("it wants to log in by a mechanism that is not served")]
    Mechanism,
    #[error("its login was refused")]
    LoginRefused,
    #[error("the broker stops")]
    Stopping,
    #[error("it was idle for too long")]
    Idle,
}

/// Who asks, and how.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) service: Arc<Service>,
    pub(super) principal: Principal,
    pub(super) version: i16,
    pub(super) client_id: Option<Text>,
    pub(super) client_host: IpAddr,
    /// Where the client is told to come back to.
    pub(super) host: String,
    pub(super) port: u16,
}

struct UnderWay {
    header: RequestHeader,
    bytes: usize,
    producing: Producing,
}

pub(super) struct Connection {
    pub(super) service: Arc<Service>,
    advertised: Arc<Advertised>,
    stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) login: Login,
    frames: Frames,
    /// The client says nothing more.
    at_end: bool,
    /// Only who produces is stopped by an alarm.
    produces: bool,
    under_way: VecDeque<UnderWay>,
    under_way_bytes: usize,
    alarms: watch::Receiver<Alarms>,
    mailbox: UnboundedReceiver<Event>,
    id: u64,
    last_heard: Instant,
}

impl Connection {
    pub(super) fn new(
        service: Arc<Service>,
        advertised: Arc<Advertised>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Connection {
        let (link, mailbox) = unbounded_channel();
        let node = &service.node;
        let id = node.next_id();
        node.connected(id, link);
        let mut frames = Frames::new(node.clone());
        if !service.anonymous.allows(peer.ip()) {
            frames.limit(login::REQUEST_BYTES_MAX);
        }
        Connection {
            alarms: node.memory().alarms(),
            id,
            service,
            advertised,
            stream,
            peer,
            login: Login::Unknown,
            frames,
            at_end: false,
            produces: false,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            mailbox,
            last_heard: Instant::now(),
        }
    }

    /// Serves the client until it leaves.
    pub(super) async fn run(mut self) {
        match self.serve().await {
            // A refused login is logged where it is refused.
            Ok(()) | Err(End::Gone(_) | End::Idle | End::LoginRefused) => {}
            Err(End::Stopping) => {
                let _ = self.finish_all().await;
            }
            Err(end) => tracing::warn!(peer = %self.peer, "closing a connection: {end}"),
        }
        self.service.node.disconnected(self.id);
    }

    async fn serve(&mut self) -> Result<(), End> {
        loop {
            while self.has_room() {
                let Some(frame) = self.frames.next()? else { break };
                self.last_heard = Instant::now();
                self.begin(frame).await?;
            }
            if self.at_end {
                return self.finish_all().await;
            }
            let reads = self.has_room();
            let idle_at = self.last_heard + self.idle_max();
            tokio::select! {
                biased;
                _ = self.mailbox.recv() => return Err(End::Stopping),
                () = first_done(&mut self.under_way) => self.finish_first().await?,
                ready = self.stream.readable(), if reads => {
                    ready?;
                    self.at_end = !self.frames.read_some(&self.stream)?;
                }
                changed = self.alarms.changed() => drop(changed),
                () = tokio::time::sleep_until(idle_at), if self.under_way.is_empty() => return Err(End::Idle),
            }
        }
    }

    /// Whether another request may be begun.
    fn has_room(&self) -> bool {
        self.under_way.len() < UNDER_WAY_MAX
            && self.under_way_bytes < UNDER_WAY_BYTES_MAX
            // What holds memory until it is whole had better become so.
            && !(self.produces && !self.frames.has_partial() && self.alarms.borrow().any())
    }

    fn idle_max(&self) -> Duration {
        Duration::from_millis(self.service.node.settings().node.connections_idle_max_ms as u64)
    }

    async fn begin(&mut self, frame: Frame) -> Result<(), End> {
        if let Login::Chosen { bare: true } = self.login {
            return self.authenticate_bare(&frame.bytes).await;
        }
        let bytes = frame.bytes.len();
        let (header, request) = match read_request(frame.bytes) {
            Ok(read) => read,
            Err(RequestError::UnsupportedVersion { api: Api::ApiVersions, correlation_id, .. }) => {
                // The client must be able to read what it may ask for then (KIP-511).
                self.finish_all().await?;
                let reply = Reply::from(api_versions::unsupported());
                return self.send(0, correlation_id, reply).await;
            }
            Err(error) => {
                self.finish_all().await?;
                return Err(error.into());
            }
        };
        if !api::is_served(header.api) {
            self.finish_all().await?;
            let (key, version) = (header.api.key(), header.version);
            return Err(RequestError::UnknownApi { key, version }.into());
        }
        let Some((principal, request)) = self.admit(&header, request).await? else { return Ok(()) };
        let call = self.call(&header, principal)?;
        match request {
            Request::Produce(request) => {
                self.produces = true;
                let producing = produce::begin(&call, request, &frame.charge).await;
                self.under_way_bytes += bytes;
                self.under_way.push_back(UnderWay { header, bytes, producing });
                Ok(())
            }
            request => {
                self.finish_all().await?;
                let waits = api::may_wait(header.api);
                let reply = tokio::select! {
                    reply = api::answer(&call, request) => reply?,
                    // Whoever waits for something to come need not wait for us.
                    _ = self.mailbox.recv() => return Err(End::Stopping),
                    gone = client_gone(&self.stream, &mut self.frames), if waits => return Err(gone.into()),
                };
                self.send(header.version, header.correlation_id, reply).await
            }
        }
    }

    /// From now on the client is known, and may say more at once.
    pub(super) fn become_known(&mut self, principal: Principal) {
        self.login = Login::Known(principal);
        self.frames.limit(self.service.node.settings().node.request_bytes_max as usize);
    }

    fn call(&self, header: &RequestHeader, principal: Principal) -> io::Result<Call> {
        let (host, port) = self.advertised.endpoint(self.stream.local_addr()?.ip());
        Ok(Call {
            service: self.service.clone(),
            principal,
            version: header.version,
            client_id: header.client_id.clone(),
            client_host: self.peer.ip().to_canonical(),
            host,
            port,
        })
    }

    /// Lets the client wait.
    pub(super) async fn pause(&mut self, time: Duration) -> Result<(), End> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            _ = self.mailbox.recv() => Err(End::Stopping),
        }
    }

    async fn finish_all(&mut self) -> Result<(), End> {
        while !self.under_way.is_empty() {
            first_done(&mut self.under_way).await;
            self.finish_first().await?;
        }
        Ok(())
    }

    /// Answers the first of those under way, which is done.
    async fn finish_first(&mut self) -> Result<(), End> {
        let UnderWay { header, bytes, producing } = self.under_way.pop_front().expect("it is done");
        self.under_way_bytes -= bytes;
        match producing.answer() {
            Ok(Some(response)) => self.send(header.version, header.correlation_id, response.into()).await,
            Ok(None) => Ok(()),
            Err(reason) => Err(End::Unanswered(reason)),
        }
    }

    /// Answers when all those before are answered.
    pub(super) async fn answer(&mut self, header: &RequestHeader, response: Response) -> Result<(), End> {
        self.finish_all().await?;
        self.send(header.version, header.correlation_id, response.into()).await
    }

    async fn send(&mut self, version: i16, correlation_id: i32, reply: Reply) -> Result<(), End> {
        let Reply { response, regions } = reply;
        let message = write_response(version, correlation_id, &response);
        // The client may take its time: only the bytes are kept for it.
        drop(response);
        self.send_message(&message, &regions).await
    }

    pub(super) async fn send_message(&mut self, message: &Encoded, regions: &[Region]) -> Result<(), End> {
        let _held = Held::new(self.service.node.memory(), message.bytes_in_memory())?;
        let sending = reply::send(&self.stream, message, regions);
        tokio::time::timeout(self.idle_max(), sending).await.map_err(|_| End::Idle)??;
        self.last_heard = Instant::now();
        Ok(())
    }
}

/// Waits until the client has left, as it will hardly have asked for more meanwhile. If it has, for ever.
async fn client_gone(stream: &TcpStream, frames: &mut Frames) -> io::Error {
    while frames.waiting_bytes() < READ_AHEAD_BYTES_MAX {
        if let Err(error) = stream.readable().await {
            return error;
        }
        match frames.read_some(stream) {
            Ok(true) => {}
            Ok(false) => return io::ErrorKind::UnexpectedEof.into(),
            Err(error) => return error,
        }
    }
    std::future::pending().await
}

/// Waits until the first of those under way is done; for ever if there is none. May be given up.
async fn first_done(under_way: &mut VecDeque<UnderWay>) {
    match under_way.front_mut() {
        Some(first) => first.producing.done().await,
        None => std::future::pending().await,
    }
}
