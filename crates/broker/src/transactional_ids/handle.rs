//! How others reach the coordinator.

use cauce_core::partition::TopicPartition;
use cauce_core::producer::{Ending, Producer, TransactionVersion};
use cauce_core::transaction::{Record, TransactionError, TransactionalId};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::command::{Answer, Command, Listed, Request, TransactionalError};
use crate::limits::RECORD_TEXT_BYTES_MAX;

/// The transactional ids of a node. Whoever asks waits for the answer, so the mailbox holds no more than clients ask at
/// a time. Where Kafka has its clients ask again, because something else is under way, the answer comes after that.
#[derive(Debug)]
pub struct TransactionalIds {
    mailbox: UnboundedSender<Command>,
}

impl TransactionalIds {
    pub(super) fn new() -> (TransactionalIds, UnboundedReceiver<Command>) {
        let (mailbox, commands) = unbounded_channel();
        (TransactionalIds { mailbox }, commands)
    }

    /// The producer to be from now on; earlier ones of this name are fenced off, and the transaction they left open is
    /// aborted. Whoever goes on after an error says who it is (`expected`).
    pub async fn init(
        &self,
        id: TransactionalId,
        timeout_ms: i32,
        expected: Option<Producer>,
    ) -> Result<Producer, TransactionalError> {
        check_name(&id)?;
        self.request(|done| Request::Init { id, timeout_ms, expected, done }).await
    }

    /// Makes partitions part of the producer's transaction, and begins one if there is none. The partitions exist.
    pub async fn add(
        &self,
        id: TransactionalId,
        producer: Producer,
        partitions: Vec<TopicPartition>,
        version: TransactionVersion,
    ) -> Result<(), TransactionalError> {
        self.request(|done| Request::Add { id, producer, partitions, version, done }).await
    }

    /// Whether partitions are part of the producer's transaction.
    pub async fn verify(
        &self,
        id: TransactionalId,
        producer: Producer,
        partitions: Vec<TopicPartition>,
    ) -> Result<Vec<Result<(), TransactionError>>, TransactionalError> {
        self.request(|done| Request::Verify { id, producer, partitions, done }).await
    }

    /// Commits or aborts; answers once that is decided and safe, with the producer to go on as.
    pub async fn end(
        &self,
        id: TransactionalId,
        producer: Producer,
        ending: Ending,
        version: TransactionVersion,
    ) -> Result<Producer, TransactionalError> {
        self.request(|done| Request::End { id, producer, ending, version, done }).await
    }

    pub async fn describe(&self, id: TransactionalId) -> Result<Record, TransactionalError> {
        self.ask(|done| Command::Describe { id, done }).await
    }

    /// All, by name.
    pub async fn list(&self) -> Result<Vec<Listed>, TransactionalError> {
        self.ask(|done| Command::List { done }).await
    }

    /// Comes back once all that was decided is carried out. Nothing is taken in after that.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        self.tell(Command::Stop { done });
        let _ = stopped.await;
    }

    /// A coordinator that has stopped does not listen.
    fn tell(&self, command: Command) {
        let _ = self.mailbox.send(command);
    }

    async fn request<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, TransactionalError> {
        self.ask(|done| Command::Request(request(done))).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, TransactionalError> {
        let (done, answer) = oneshot::channel();
        self.tell(command(done));
        answer.await.unwrap_or(Err(TransactionalError::Unavailable))
    }
}

fn check_name(id: &str) -> Result<(), TransactionalError> {
    match id.len() {
        bytes if bytes > RECORD_TEXT_BYTES_MAX => {
            Err(TransactionalError::NameTooLong { bytes, most: RECORD_TEXT_BYTES_MAX })
        }
        _ => Ok(()),
    }
}
