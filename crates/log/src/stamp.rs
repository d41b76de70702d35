//! The stamp: what covers the bytes of a batch that its own CRC does not.
//!
//! A batch's CRC begins at its attributes, so that a broker may set base offset and leader epoch. A flipped bit in a
//! base offset on disk would go unseen. A single node has one leader epoch, hence on disk that field holds the
//! CRC-32C of the twelve bytes before it, base offset and length. Readers get an epoch of zero in its place.

use crate::batch::LEADER_EPOCH;

const LEADER_EPOCH_SERVED: [u8; 4] = [0; 4];

pub(crate) fn stamp(batch: &mut [u8]) {
    let stamp = stamp_of(batch);
    batch[LEADER_EPOCH].copy_from_slice(&stamp);
}

pub(crate) fn is_stamped(batch: &[u8]) -> bool {
    batch[LEADER_EPOCH] == stamp_of(batch)
}

pub(crate) fn remove_stamp(batch: &mut [u8]) {
    batch[LEADER_EPOCH].copy_from_slice(&LEADER_EPOCH_SERVED);
}

fn stamp_of(batch: &[u8]) -> [u8; 4] {
    crc_fast::crc32_iscsi(&batch[..LEADER_EPOCH.start]).to_be_bytes()
}
