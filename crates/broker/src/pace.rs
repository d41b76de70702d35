//! Publishers that run ahead of a queue wait until it has caught up, or for their turn.

use std::collections::VecDeque;

use crate::limits::CROWDED_BYTES_PER_MS;
use crate::queue_handle::Room;

/// How often publishers of a crowded queue are let go, a few at a time.
const STEP_MS: i64 = 4;

/// Time that nobody used is kept for no longer than this.
const SAVED_MS_MAX: i64 = 64;

/// How much a queue can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headroom {
    Plenty,
    /// More waits than its consumers take: publishers go on at a fixed pace.
    Crowded,
    /// Nothing until the log has caught up.
    None,
}

/// Places in a queue's mailbox whose messages the queue has, and which it does not give back yet. Whoever
/// publishes waits once all are taken.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    held: VecDeque<Room>,
    allowed_bytes: i64,
    looked_ms: i64,
    next_at: Option<i64>,
}

impl Pace {
    pub(crate) fn hold(&mut self, place: Room) {
        self.held.push_back(place);
    }

    /// When to look again, though nothing else happens.
    pub(crate) fn next_timeout(&self) -> Option<i64> {
        self.next_at
    }

    /// Gives back the places there is room for.
    pub(crate) fn let_go(&mut self, room: Headroom, now_ms: i64) {
        self.next_at = None;
        match room {
            Headroom::Plenty => self.held.clear(),
            Headroom::Crowded => self.let_some_go(now_ms),
            Headroom::None => {}
        }
    }

    fn let_some_go(&mut self, now_ms: i64) {
        let passed_ms = (now_ms - self.looked_ms).clamp(0, SAVED_MS_MAX);
        let rate = CROWDED_BYTES_PER_MS as i64;
        self.allowed_bytes = (self.allowed_bytes + passed_ms * rate).min(SAVED_MS_MAX * rate);
        self.looked_ms = now_ms;
        // The last may take more than is left: the next waits the longer.
        while self.allowed_bytes > 0
            && let Some(place) = self.held.pop_front()
        {
            self.allowed_bytes -= place.bytes() as i64;
        }
        self.next_at = (!self.held.is_empty()).then_some(now_ms + STEP_MS);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn a_crowd_is_let_go_by_and_by_and_all_at_once_when_it_is_none() {
        let places = Arc::new(Semaphore::new(8 << 20));
        let mut pace = Pace::default();
        let hold = |pace: &mut Pace| {
            pace.hold(Room::from(places.clone().try_acquire_many_owned(1 << 20).unwrap()));
        };
        (0..8).for_each(|_| hold(&mut pace));
        pace.let_go(Headroom::None, 1000);
        assert_eq!((places.available_permits(), pace.next_timeout()), (0, None));
        pace.let_go(Headroom::Crowded, 1000);
        let at_first = places.available_permits();
        assert!(at_first < 4 << 20, "{at_first}");
        for ms in 1000..1032 {
            pace.let_go(Headroom::Crowded, ms);
        }
        let later = places.available_permits();
        assert!(later > at_first && later < 8 << 20, "{later}");
        pace.let_go(Headroom::Plenty, 1032);
        assert_eq!((places.available_permits(), pace.next_timeout()), (8 << 20, None));
    }
}
