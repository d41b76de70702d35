//! What each request asks of the machine.

use std::ops::ControlFlow;

use cauce_core::transaction::{self, State, TransactionError};
use tokio::sync::oneshot;

use super::command::{Command, Listed, Request, TransactionalError, answer};
use super::coordinator::Task;
use crate::limits::TRANSACTIONAL_IDS_MAX;
use crate::node::Node;

impl Task {
    pub(super) fn obey(&mut self, command: Command) -> ControlFlow<oneshot::Sender<()>> {
        match command {
            Command::Request(request) => self.request(request),
            Command::Describe { id, done } => {
                answer(done, self.machine.get(&id).cloned().ok_or(TransactionalError::Unknown));
            }
            Command::List { done } => answer(done, Ok(self.list())),
            Command::Stop { done } => return ControlFlow::Break(done),
        }
        ControlFlow::Continue(())
    }

    pub(super) fn request(&mut self, request: Request) {
        if let Request::Verify { .. } = request {
            return self.verify(request);
        }
        if let Err(error) = self.check_room(&request) {
            return request.refuse(error);
        }
        self.last_token += 1;
        let (token, now_ms) = (self.last_token, self.clock.now_ms());
        let (machine, out) = (&mut self.machine, &mut self.effects);
        match &request {
            Request::Init { id, timeout_ms, expected, .. } => {
                machine.init_producer_id(token, id, *timeout_ms, *expected, now_ms, out);
            }
            Request::Add { id, producer, partitions, version, .. } => {
                machine.add_partitions(token, id, *producer, partitions, *version, now_ms, out);
            }
            Request::End { id, producer, ending, version, .. } => {
                machine.end(token, id, *producer, *ending, *version, now_ms, out);
            }
            Request::Verify { .. } => unreachable!("answered above"),
        }
        self.asked.insert(token, request);
        self.carry_out();
    }

    /// Whether more can be kept. What ends a transaction always can.
    fn check_room(&self, request: &Request) -> Result<(), TransactionalError> {
        let node = self.node.upgrade().ok_or(TransactionalError::Unavailable)?;
        let is_new = match request {
            Request::Init { id, .. } => self.machine.get(id).is_none(),
            Request::Add { .. } => return check_memory(&node),
            Request::Verify { .. } | Request::End { .. } => false,
        };
        if !is_new {
            return Ok(());
        }
        check_memory(&node)?;
        if self.machine.len() >= TRANSACTIONAL_IDS_MAX {
            return Err(TransactionalError::TooMany);
        }
        // Those that are there have a topic to be kept in.
        node.transactions_topic().map(drop).map_err(|error| {
            tracing::error!(%error, "the topic of transactions cannot be made: no producer can have any");
            TransactionalError::Unavailable
        })
    }

    fn verify(&mut self, request: Request) {
        let Request::Verify { id, producer, partitions, .. } = &request else { unreachable!("told apart") };
        let verify = |at| self.machine.verify_partition(id, *producer, at);
        let verified: Vec<_> = partitions.iter().map(verify).collect();
        if verified.contains(&Err(TransactionError::Concurrent)) {
            return self.park(request);
        }
        let Request::Verify { done, .. } = request else { unreachable!("told apart") };
        answer(done, Ok(verified));
    }

    fn list(&self) -> Vec<Listed> {
        let listed = self.machine.iter().map(|(id, record)| Listed {
            id: id.clone(),
            producer: record.producer,
            state: record.state,
            started_ms: record.started_ms.filter(|_| record.state != State::Empty),
        });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        listed
    }
}

fn check_memory(node: &Node) -> Result<(), TransactionalError> {
    if node.memory().is_spent() { Err(TransactionalError::NoMemory) } else { Ok(()) }
}

impl Request {
    /// What the machine says.
    pub(super) fn answer(self, said: Result<transaction::Answer, TransactionError>) {
        use transaction::Answer;
        match (self, said) {
            (request, Err(error)) => request.refuse(error.into()),
            (Request::Init { done, .. }, Ok(Answer::Producer(producer)))
            | (Request::End { done, .. }, Ok(Answer::Ended(producer))) => answer(done, Ok(producer)),
            (Request::Add { done, .. }, Ok(Answer::Added)) => answer(done, Ok(())),
            (request, Ok(said)) => unreachable!("{request:?} is not answered with {said:?}"),
        }
    }
}
