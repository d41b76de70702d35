//! One limit over consumers of two queues, as a channel has it.

use std::sync::Arc;

use super::script::item;
use super::world::block_of;
use crate::queue::*;

struct TwoQueues {
    limit: Arc<SharedLimit>,
    queues: [Queue; 2],
    out: Effects,
}

impl TwoQueues {
    /// Three messages in each queue, and one consumer of each.
    fn with_limit(max: u32) -> TwoQueues {
        let queue = || Queue::new(Rules::default(), 0);
        let mut two =
            TwoQueues { limit: SharedLimit::new(max), queues: [queue(), queue()], out: Effects::default() };
        for queue in &mut two.queues {
            let items = ["a", "b", "c"].map(|name| item(name, 0));
            queue.publish(&block_of(&items), &Picks::Run(0..3), 0, &mut two.out, &mut Vec::new());
            let subscription = Subscription {
                no_ack: false,
                exclusive: false,
                priority: 0,
                prefetch: 0,
                shared: Some(two.limit.clone()),
                window: 100,
            };
            let subscribed = queue.subscribe(ConsumerId(1), subscription, 0, &mut two.out);
            assert_eq!(subscribed, Ok(()));
        }
        two
    }

    /// Settles, and tells both queues if there is room again.
    fn accept(&mut self, queue: usize, offset: u64) {
        self.queues[queue].settle([offset], Outcome::Accept, 0, &mut self.out);
        if self.limit.release(1) {
            self.tell_room();
        }
    }

    fn tell_room(&mut self) {
        for queue in &mut self.queues {
            queue.room_in_shared_limit(0, &mut self.out);
        }
    }

    fn held(&self) -> [u64; 2] {
        [self.queues[0].held_count(), self.queues[1].held_count()]
    }
}

#[test]
fn two_queues_share_the_places() {
    let mut two = TwoQueues::with_limit(2);
    assert_eq!(two.held(), [2, 0]);
    two.accept(0, 0);
    assert_eq!(two.held(), [2, 0], "the first to be told takes the place");
    two.accept(0, 1);
    assert_eq!(two.held(), [1, 1]);
    two.limit.set_max(0);
    two.tell_room();
    assert_eq!(two.held(), [1, 3], "zero is no limit");
}

#[test]
fn a_smaller_limit_waits_for_places_to_be_given_back() {
    let mut two = TwoQueues::with_limit(3);
    assert_eq!(two.held(), [3, 0]);
    two.limit.set_max(1);
    two.accept(0, 0);
    two.accept(0, 1);
    assert_eq!(two.held(), [1, 0]);
    two.accept(0, 2);
    assert_eq!(two.held(), [0, 1]);
}
