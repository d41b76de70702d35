//! The memory budget: what messages in memory may cost, and who is told when they cost too much.

use cauce_core::message::Gauge;
use tokio::sync::watch;

use crate::limits::{BODIES_PERCENT, PAGING_PERCENT};

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

#[derive(Debug)]
pub struct Memory {
    gauge: Gauge,
    bodies: Gauge,
    budget_bytes: usize,
    alarms: watch::Sender<Alarms>,
}

impl Memory {
    pub fn new(budget_bytes: usize) -> Memory {
        Memory {
            gauge: Gauge::default(),
            bodies: Gauge::default(),
            budget_bytes,
            alarms: watch::Sender::new(Alarms::default()),
        }
    }

    /// Charged with every message block.
    pub fn gauge(&self) -> &Gauge {
        &self.gauge
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

    /// Whether queues should let go of what a log can give back, and write what it can not.
    pub fn is_paging(&self) -> bool {
        self.gauge.bytes() > self.budget_bytes / 100 * PAGING_PERCENT
    }

    pub fn alarms(&self) -> watch::Receiver<Alarms> {
        self.alarms.subscribe()
    }

    /// Looks at the gauge again; changes are seen by whoever watches.
    pub fn review(&self) {
        let memory = self.gauge.bytes() > self.budget_bytes;
        self.alarms.send_if_modified(|alarms| std::mem::replace(&mut alarms.memory, memory) != memory);
    }

    pub fn set_disk_alarm(&self, disk: bool) {
        self.alarms.send_if_modified(|alarms| std::mem::replace(&mut alarms.disk, disk) != disk);
    }
}
