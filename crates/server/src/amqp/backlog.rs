//! Published messages whose targets have no room for them yet.

use std::collections::VecDeque;
use std::pin::Pin;

use cauce_broker::{Room, Share, Target};

/// In the order they were published. While anything is in here the connection publishes nothing more, so
/// it holds what one read brought at most.
#[derive(Default)]
pub(super) struct Backlog {
    shares: VecDeque<(Target, Share)>,
    /// Asked for once and kept, so that the connection keeps its place among those who wait.
    room: Option<Pin<Box<dyn Future<Output = Room> + Send>>>,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// Hands the share over, or keeps it until there is room.
    pub(super) fn add(&mut self, target: Target, share: Share) {
        if let Err(share) = target.try_publish(share) {
            self.shares.push_back((target, share));
        }
    }

    /// Waits until the first share has room, and hands it over. Giving up and coming again loses nothing.
    pub(super) async fn hand_over_one(&mut self) {
        let Some((target, share)) = self.shares.front() else {
            return;
        };
        let room = self.room.get_or_insert_with(|| target.room_for(share)).await;
        self.room = None;
        let (target, share) = self.shares.pop_front().expect("seen above");
        target.publish_in(room, share);
    }
}
