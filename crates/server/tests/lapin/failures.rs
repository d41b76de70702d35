//! Work that fails: dead letters, and a ladder of ever longer waits on the way to them.

use lapin::ExchangeKind;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::broker::Target;
use crate::words::*;

#[tokio::test]
async fn a_rejected_message_goes_to_the_dead_letters_with_its_story() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let (work, dead, letters) = (&target.name("work"), &target.name("dead"), &target.name("letters"));
    exchange(&channel, letters, ExchangeKind::Direct).await;
    queue(&channel, dead, []).await;
    bind(&channel, dead, letters, "failed").await;
    let to_dead = [("x-dead-letter-exchange", text(letters)), ("x-dead-letter-routing-key", text("failed"))];
    queue(&channel, work, to_dead).await;
    publish(&channel, "", work, b"bad order").await;
    let mut consumer = consume(&channel, work).await;
    reject(&next(&mut consumer).await, false).await;

    let letter = take(&channel, dead).await;
    assert_eq!((body(&letter), letter.routing_key.as_str()), ("bad order".to_owned(), "failed"));
    let deaths = deaths(letter.properties.headers());
    assert_eq!(deaths, [(work.clone(), "rejected".to_owned(), 1)]);
}

#[tokio::test]
async fn a_failing_order_climbs_the_ladder_of_retries() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let (work, dead) = (&target.name("work"), &target.name("dead"));
    let rungs = [target.name("wait.1"), target.name("wait.2"), target.name("wait.3")];
    queue(&channel, work, []).await;
    queue(&channel, dead, []).await;
    for (rung, wait) in rungs.iter().zip([20, 40, 80]) {
        let back = [
            ("x-message-ttl", number(wait)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text(work)),
        ];
        queue(&channel, rung, back).await;
    }
    prefetch(&channel, 1).await;
    let mut consumer = consume(&channel, work).await;
    publish(&channel, "", work, b"order 7").await;
    for attempt in 0..=rungs.len() {
        let order = next(&mut consumer).await;
        let expired = deaths(order.properties.headers());
        assert_eq!(expired.len(), attempt, "{expired:?}");
        assert!(expired.iter().all(|(_, reason, count)| reason == "expired" && *count == 1), "{expired:?}");
        let next_queue = rungs.get(attempt).unwrap_or(dead);
        publish_with(&channel, "", next_queue, &order.data, order.properties.clone())
            .await
            .expect("a publish");
        ack(&order).await;
    }
    let letter = take(&channel, dead).await;
    let deaths = deaths(letter.properties.headers());
    assert_eq!(deaths[0].0, rungs[2], "the latest death stands first");
    assert!(rungs.iter().all(|rung| deaths.iter().any(|(queue, ..)| queue == rung)), "{deaths:?}");
}

#[tokio::test]
async fn a_message_that_comes_back_too_often_leaves() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let (work, dead) = (&target.name("work"), &target.name("dead"));
    queue(&channel, dead, []).await;
    let limited = [
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", number(2)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(dead)),
    ];
    queue(&channel, work, limited).await;
    confirming(&channel).await;
    publish(&channel, "", work, b"poison").await;
    let mut consumer = consume(&channel, work).await;
    for attempt in 0..3 {
        let poison = next(&mut consumer).await;
        assert_eq!(poison.redelivered, attempt > 0);
        reject(&poison, true).await;
    }
    let letter = take(&channel, dead).await;
    assert_eq!(deaths(letter.properties.headers()), [(work.clone(), "delivery_limit".to_owned(), 1)]);
}

#[tokio::test]
async fn the_oldest_make_room_and_become_dead_letters() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let (latest, dead) = (&target.name("latest"), &target.name("dead"));
    queue(&channel, dead, []).await;
    let bounded = [
        ("x-max-length", number(2)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(dead)),
    ];
    queue(&channel, latest, bounded).await;
    for body in ["a", "b", "c", "d"] {
        publish(&channel, "", latest, body.as_bytes()).await;
    }
    let letters = [body(&take(&channel, dead).await.delivery), body(&take(&channel, dead).await.delivery)];
    assert_eq!(letters, ["a", "b"]);
    assert_eq!(drained(&channel, latest).await, ["c", "d"]);
    channel.queue_delete(latest.as_str().into(), QueueDeleteOptions::default()).await.expect("a delete");
}

/// Queue, reason and count of every entry in `x-death`.
fn deaths(headers: &Option<FieldTable>) -> Vec<(String, String, i64)> {
    let Some(headers) = headers else { return Vec::new() };
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get(&ShortString::from("x-death")) else {
        return Vec::new();
    };
    let said = |death: &AMQPValue| {
        let death = death.as_field_table().expect("a table").inner();
        let word = |key: &str| {
            let value = death[&ShortString::from(key)].as_long_string().expect("text");
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        let count = death[&ShortString::from("count")].as_long_long_int().expect("a number");
        (word("queue"), word("reason"), count)
    };
    deaths.as_slice().iter().map(said).collect()
}
