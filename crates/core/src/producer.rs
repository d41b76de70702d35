//! Who produces: ids that the broker gives out, and epochs that fence older incarnations off.

/// Given out once, never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProducerId(pub i64);

/// A producer in one of its incarnations. A higher epoch makes everything under a lower one invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: i16,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    Commit,
    Abort,
}

/// The rules a client's transactions follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionVersion {
    /// All transactions of an incarnation share its epoch, and partitions are added before they are written to (KIP-98).
    Classic,
    /// Each transaction has an epoch of its own: ending one raises it. The first write to a partition adds it (KIP-890).
    EpochPerTransaction,
}
