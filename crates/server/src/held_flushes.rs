//! Answers that wait for flushes, and flushes that wait for the test.

use std::pin::Pin;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use cauce_broker::Node;
use cauce_log::MemoryDisk;
use tokio::task::yield_now;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Turns of the runtime in which whatever can happen has happened. Only the disk is held, and all but the disk is
/// in one thread, that of the test.
const TURNS: usize = 300;

/// Asks, and lets flushes go on one by one until the answer comes: the answer, and how many flushes had ended by then.
pub(crate) async fn flushes_before<T>(
    node: &Node,
    disk: &MemoryDisk,
    answer: impl Future<Output = T>,
) -> (usize, T) {
    // What came before is over.
    node.flush().await;
    disk.hold_syncs();
    let counted = tokio::time::timeout(PATIENCE, count(disk, answer)).await;
    disk.release_syncs();
    counted.expect("an answer, or a flush that it may wait for")
}

async fn count<T>(disk: &MemoryDisk, answer: impl Future<Output = T>) -> (usize, T) {
    let mut answer = pin!(answer);
    let mut flushes = 0;
    loop {
        if let Some(answer) = until_held(disk, answer.as_mut()).await {
            return (flushes, answer);
        }
        assert!(disk.let_one_sync_through());
        flushes += 1;
    }
}

/// The answer, or none while a flush is held.
async fn until_held<T>(disk: &MemoryDisk, mut answer: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut turns = 0;
    while turns < TURNS {
        if let Some(answer) = poll_once(answer.as_mut()).await {
            return Some(answer);
        }
        turns = if disk.holds_a_sync() { turns + 1 } else { 0 };
        yield_now().await;
    }
    None
}

async fn poll_once<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
