//! The broker goes away and comes back; lapin's recovery finds it again. Needs a broker of the test's own.

use std::collections::BTreeSet;

use futures_lite::StreamExt;
use lapin::{Channel, Consumer};

use crate::broker::Broker;
use crate::words::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovering_consumer_goes_on_after_a_restart() {
    let mut broker = Broker::start();
    let connection = broker.connect_recovering().await;
    let channel = connection.create_channel().await.expect("a channel");
    let orders = "orders";
    queue(&channel, orders, []).await;
    prefetch(&channel, 10).await;
    let mut consumer = consume(&channel, orders).await;
    publish(&channel, "", orders, b"before").await;
    ack(&next(&mut consumer).await).await;
    // The answer says that the ack before it was read.
    passively(&channel, orders).await.expect("an answer");

    broker.stop();
    broker.start_again();

    let other = broker.connect_recovering().await;
    let publisher = other.create_channel().await.expect("a channel");
    publish(&publisher, "", orders, b"after").await;
    assert_eq!(next_recovering(&channel, &mut consumer).await, "after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_by_a_recovering_publisher_when_the_broker_is_killed() {
    let mut broker = Broker::start();
    let connection = broker.connect_recovering().await;
    let channel = connection.create_channel().await.expect("a channel");
    let orders = "orders";
    queue(&channel, orders, []).await;
    confirming(&channel).await;

    let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let publishing = tokio::spawn(async move {
        let mut confirmed = BTreeSet::new();
        for number in 0..400 {
            let body = format!("{number:03}");
            match publish_with(&channel, "", orders, body.as_bytes(), persistent()).await {
                Ok(answer) if answer.is_ack() => drop(confirmed.insert(body)),
                Ok(answer) => panic!("{answer:?}"),
                Err(error) => channel.wait_for_recovery(error).await.expect("a recovery"),
            }
            report.send(number).expect("a listener");
        }
        confirmed
    });
    while reports.recv().await.expect("a publisher at work") < 100 {}
    broker.kill();
    broker.start_again();
    while reports.recv().await.is_some() {}
    let confirmed = publishing.await.expect("a publisher that did not fail");

    let reader = broker.connect_recovering().await.create_channel().await.expect("a channel");
    let found = drained(&reader, orders).await;
    let unique: BTreeSet<_> = found.iter().cloned().collect();
    assert!(found.is_sorted(), "the order of one publisher");
    assert_eq!(found.len(), unique.len(), "nothing twice");
    assert!(confirmed.len() > 350, "a kill costs few publishes, not {}", 400 - confirmed.len());
    let lost: Vec<_> = confirmed.difference(&unique).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

async fn next_recovering(channel: &Channel, consumer: &mut Consumer) -> String {
    loop {
        match consumer.next().await.expect("a consumer that goes on") {
            Ok(delivery) => return body(&delivery),
            Err(error) => channel.wait_for_recovery(error).await.expect("a recovery"),
        }
    }
}
