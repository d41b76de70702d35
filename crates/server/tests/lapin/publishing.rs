//! What a publisher is told: confirms, refusals, returns, transactions.

use futures_lite::StreamExt;
use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Confirmation};

use crate::broker::Target;
use crate::words::*;

#[tokio::test]
async fn every_one_of_many_publishes_in_flight_is_confirmed() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let orders = &target.name("orders");
    queue(&channel, orders, []).await;
    confirming(&channel).await;
    let mut confirms = Vec::new();
    for number in 0..1_000 {
        let body = number.to_string();
        let sent = channel.basic_publish(
            "".into(),
            orders.as_str().into(),
            BasicPublishOptions::default(),
            body.as_bytes(),
            persistent(),
        );
        confirms.push(sent.await.expect("a publish"));
    }
    for confirm in confirms {
        assert_eq!(confirm.await.expect("an answer"), Confirmation::Ack(None));
    }
    let expected: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
    assert_eq!(drained(&channel, orders).await, expected);
}

#[tokio::test]
async fn a_full_queue_refuses_and_says_so() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let small = &target.name("small");
    queue(&channel, small, [("x-max-length", number(2)), ("x-overflow", text("reject-publish"))]).await;
    confirming(&channel).await;
    let mut answers = Vec::new();
    for body in ["a", "b", "c"] {
        answers.push(publish(&channel, "", small, body.as_bytes()).await);
    }
    assert_eq!(answers, [Confirmation::Ack(None), Confirmation::Ack(None), Confirmation::Nack(None)]);
    assert_eq!(body(&take(&channel, small).await.delivery), "a");
    assert_eq!(publish(&channel, "", small, b"d").await, Confirmation::Ack(None));
    assert_eq!(drained(&channel, small).await, ["b", "d"]);
}

#[tokio::test]
async fn a_mandatory_message_without_a_queue_comes_back_before_its_confirm() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    confirming(&channel).await;
    let properties = BasicProperties::default().with_message_id("m-1".into());
    let answer =
        publish_with(&channel, "", &target.name("nowhere"), b"lost", properties).await.expect("an answer");
    let Confirmation::Ack(Some(returned)) = answer else { panic!("{answer:?}") };
    assert_eq!((returned.reply_code, returned.reply_text.as_str()), (312, "NO_ROUTE"));
    assert_eq!(body(&returned), "lost");
    assert_eq!(returned.properties.message_id().as_ref().map(|id| id.as_str()), Some("m-1"));
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let (_other, other) = target.channel().await;
    let (from, to) = (&target.name("from"), &target.name("to"));
    queue(&channel, from, []).await;
    queue(&channel, to, []).await;
    publish(&other, "", from, b"order").await;
    let mut consumer = consume(&channel, from).await;
    channel.tx_select().await.expect("a transaction");

    let order = next(&mut consumer).await;
    publish(&channel, "", to, b"rolled back").await;
    ack(&order).await;
    channel.tx_rollback().await.expect("a rollback");
    assert_eq!(drained(&other, to).await, [""; 0]);

    // Again, and past lapin's own guard: it does not know that the rollback took the first ack back.
    channel.basic_ack(order.delivery_tag, BasicAckOptions::default()).await.expect("an ack");
    publish(&channel, "", to, b"one").await;
    publish(&channel, "", to, b"two").await;
    assert!(get(&other, to).await.is_none(), "not before the commit");
    channel.tx_commit().await.expect("a commit");
    assert_eq!(drained(&other, to).await, ["one", "two"]);

    channel.close(200, "".into()).await.expect("the end");
    assert!(get(&other, from).await.is_none(), "the ack was committed with the publishes");
}

#[tokio::test]
async fn a_mistake_ends_its_channel_and_no_other() {
    let target = Target::start();
    let (connection, channel) = target.channel().await;
    let spare = connection.create_channel().await.expect("a channel");
    let tasks = &target.name("tasks");
    queue(&spare, tasks, []).await;

    let (transient, none) = (QueueDeclareOptions::default(), FieldTable::default());
    let other = channel.queue_declare(tasks.as_str().into(), transient, none).await;
    assert_refused(other, 406, "inequivalent arg 'durable'");
    let closed = channel.basic_get(tasks.as_str().into(), BasicGetOptions::default()).await;
    assert!(closed.is_err(), "{closed:?}");

    let channel = connection.create_channel().await.expect("a channel");
    confirming(&channel).await;
    let lost = publish_with(&channel, &target.name("no exchange"), "k", b"lost", persistent()).await;
    assert_refused(lost, 404, "no exchange");

    let channel = connection.create_channel().await.expect("a channel");
    // An ack has no answer, so a consumer of the channel hears how it was taken.
    let mut consumer = consume(&channel, tasks).await;
    channel.basic_ack(7, BasicAckOptions::default()).await.expect("written");
    let end = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("a refusal in time");
    assert_refused(end.expect("the refusal"), 406, "unknown delivery tag 7");
    publish(&spare, "", tasks, b"still served").await;
    assert_eq!(drained(&spare, tasks).await, ["still served"]);
}
