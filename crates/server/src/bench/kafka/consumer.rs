//! A consumer: counts records where they lie in the answer of the broker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::batch::stamp;
use super::error::Error;
use crate::bench::latency::Latencies;
use crate::bench::run::Run;
use crate::kafka_client::Reader;

/// Consumes until told to stop.
pub(super) async fn consume(
    mut reader: Reader,
    run: Arc<Run>,
    mut stop: watch::Receiver<bool>,
) -> Result<Latencies, Error> {
    let mut latencies = Latencies::new();
    loop {
        let mut consumed = 0;
        // One look at the clock is enough for what came together.
        let mut now = None;
        let read = reader.read(|_, record| {
            consumed += 1;
            if run.is_measuring()
                && let Some(sent_at) = record.value.and_then(stamp)
            {
                let now = *now.get_or_insert_with(|| run.now());
                latencies.record(now.saturating_sub(sent_at), 1);
            }
        });
        tokio::select! {
            read = read => read?,
            _ = stop.wait_for(|stop| *stop) => return Ok(latencies),
        }
        run.consumed.fetch_add(consumed, Ordering::Relaxed);
    }
}
