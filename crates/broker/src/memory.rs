//! The memory budget: what messages in memory may cost, and who is told when they cost too much.

use cauce_core::message::Gauge;
use tokio::sync::watch;

use crate::limits::{
    ANSWERS_PERCENT, BODIES_PERCENT, COMPACTION_PERCENT, PAGING_PERCENT, TIGHT_PERCENT,
    TRANSACTIONS_BYTES_MAX,
};

/// Why publishers must wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alarms {
    pub memory: bool,
    pub disk: bool,
}

impl Alarms {
    pub fn any(self) -> bool {
        self.memory || self.disk
    }

    /// As clients are told.
    pub fn reason(self) -> &'static str {
        match (self.memory, self.disk) {
            (true, true) => "low on memory & disk",
            (_, true) => "low on disk",
            _ => "low on memory",
        }
    }
}

/// How much of the budget is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    None,
    /// Queues write what the log has not, and keep little of what it has.
    Paging,
    /// They keep as good as nothing.
    Tight,
}

#[derive(Debug)]
pub struct Memory {
    gauge: Gauge,
    bodies: Gauge,
    answers: Gauge,
    transactions: Gauge,
    budget_bytes: usize,
    alarms: watch::Sender<Alarms>,
}

impl Memory {
    pub fn new(budget_bytes: usize) -> Memory {
        Memory {
            gauge: Gauge::default(),
            bodies: Gauge::default(),
            answers: Gauge::default(),
            transactions: Gauge::default(),
            budget_bytes,
            alarms: watch::Sender::new(Alarms::default()),
        }
    }

    /// Charged with whatever holds messages.
    pub fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    /// Charged also with what transactions hold that are not committed.
    pub fn transactions(&self) -> &Gauge {
        &self.transactions
    }

    /// What all open transactions may hold. Were it more, they could raise an alarm that stops the very clients
    /// whose commit would end it.
    pub fn transactions_bytes_max(&self) -> usize {
        (self.budget_bytes / 4).min(TRANSACTIONS_BYTES_MAX)
    }

    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// Charged, beside the other gauge, with bodies that have come in part.
    pub fn bodies(&self) -> &Gauge {
        &self.bodies
    }

    /// More would keep each other from becoming whole.
    pub fn bodies_bytes_max(&self) -> usize {
        self.budget_bytes / 100 * BODIES_PERCENT
    }

    /// Charged, beside the other gauge, with answers that clients have not taken.
    pub fn answers(&self) -> &Gauge {
        &self.answers
    }

    /// More would be a way to take everybody's memory: to ask for much, and to read nothing.
    pub fn answers_bytes_max(&self) -> usize {
        self.budget_bytes / 100 * ANSWERS_PERCENT
    }

    /// What the keys of a compaction may take. When they do not fit it goes on from there the next time.
    pub(crate) fn compaction_bytes_max(&self) -> usize {
        self.budget_bytes / 100 * COMPACTION_PERCENT
    }

    pub fn pressure(&self) -> Pressure {
        let percent = |percent| self.budget_bytes / 100 * percent;
        match self.gauge.bytes() {
            bytes if bytes > percent(TIGHT_PERCENT) => Pressure::Tight,
            bytes if bytes > percent(PAGING_PERCENT) => Pressure::Paging,
            _ => Pressure::None,
        }
    }

    /// More is in use than there may be.
    pub fn is_spent(&self) -> bool {
        self.gauge.bytes() > self.budget_bytes
    }

    pub fn alarms(&self) -> watch::Receiver<Alarms> {
        self.alarms.subscribe()
    }

    /// Looks at the gauge again; changes are seen by whoever watches.
    pub fn review(&self) {
        let memory = self.is_spent();
        self.alarms.send_if_modified(|alarms| std::mem::replace(&mut alarms.memory, memory) != memory);
    }

    pub fn set_disk_alarm(&self, disk: bool) {
        self.alarms.send_if_modified(|alarms| std::mem::replace(&mut alarms.disk, disk) != disk);
    }
}
