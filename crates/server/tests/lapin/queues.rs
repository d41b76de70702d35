//! Work queues, and how queues and their consumers come to an end.

use lapin::options::*;
use lapin::types::FieldTable;

use crate::broker::Target;
use crate::words::*;

#[tokio::test]
async fn a_busy_worker_gets_no_more_than_its_prefetch() {
    let target = Target::start();
    let (_one, busy) = target.channel().await;
    let (_two, idle) = target.channel().await;
    let tasks = &target.name("tasks");
    queue(&busy, tasks, []).await;
    prefetch(&busy, 1).await;
    prefetch(&idle, 1).await;
    let mut first = consume(&busy, tasks).await;
    publish(&busy, "", tasks, b"0").await;
    let held = next(&mut first).await;
    let mut second = consume(&idle, tasks).await;
    for task in 1..6 {
        publish(&busy, "", tasks, task.to_string().as_bytes()).await;
    }
    for task in 1..6 {
        let delivery = next(&mut second).await;
        assert_eq!((body(&delivery), delivery.redelivered), (task.to_string(), false));
        ack(&delivery).await;
    }
    nothing_comes(&mut first).await;
    ack(&held).await;
    publish(&idle, "", tasks, b"6").await;
    publish(&idle, "", tasks, b"7").await;
    let last = [body(&next(&mut first).await), body(&next(&mut second).await)];
    assert!(last.contains(&"6".to_owned()) && last.contains(&"7".to_owned()), "{last:?}");
}

#[tokio::test]
async fn what_a_lost_worker_held_goes_to_another_in_the_old_order() {
    let target = Target::start();
    let (lost, worker) = target.channel().await;
    let (_kept, other) = target.channel().await;
    let tasks = &target.name("tasks");
    queue(&other, tasks, []).await;
    for task in ["a", "b", "c"] {
        publish(&other, "", tasks, task.as_bytes()).await;
    }
    let mut consumer = consume(&worker, tasks).await;
    for task in ["a", "b", "c"] {
        let delivery = next(&mut consumer).await;
        assert_eq!(body(&delivery), task);
        if task == "b" {
            ack(&delivery).await;
        }
    }
    lost.close(200, "".into()).await.expect("the end");
    let mut consumer = consume(&other, tasks).await;
    for task in ["a", "c"] {
        let delivery = next(&mut consumer).await;
        assert_eq!((body(&delivery), delivery.redelivered), (task.to_owned(), true));
    }
}

#[tokio::test]
async fn one_ack_for_many_and_a_nack_that_gives_back_the_rest() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let tasks = &target.name("tasks");
    queue(&channel, tasks, []).await;
    for task in 0..10 {
        publish(&channel, "", tasks, task.to_string().as_bytes()).await;
    }
    let mut consumer = consume(&channel, tasks).await;
    let mut tags = Vec::new();
    for _ in 0..10 {
        tags.push(next(&mut consumer).await.delivery_tag);
    }
    channel.basic_ack(tags[3], BasicAckOptions { multiple: true }).await.expect("an ack");
    channel.basic_nack(tags[9], BasicNackOptions { multiple: true, requeue: true }).await.expect("a nack");
    for task in 4..10 {
        let delivery = next(&mut consumer).await;
        assert_eq!((body(&delivery), delivery.redelivered), (task.to_string(), true));
    }
}

#[tokio::test]
async fn urgent_messages_overtake() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let tasks = &target.name("tasks");
    queue(&channel, tasks, [("x-max-priority", number(5))]).await;
    for (task, priority) in [("low", 1), ("high", 5), ("none", 0), ("beyond", 200), ("low too", 1)] {
        let properties = persistent().with_priority(priority);
        publish_with(&channel, "", tasks, task.as_bytes(), properties).await.expect("a publish");
    }
    assert_eq!(drained(&channel, tasks).await, ["high", "beyond", "low", "low too", "none"]);
}

#[tokio::test]
async fn an_exclusive_queue_is_its_connections_alone_and_goes_with_it() {
    let target = Target::start();
    let (owner, owners) = target.channel().await;
    let other = target.connect().await;
    let queue = private_queue(&owners).await;
    let refused = passively(&other.create_channel().await.expect("a channel"), &queue).await;
    assert_refused(refused, 405, "cannot obtain exclusive access to locked queue");
    passively(&owners, &queue).await.expect("the owner may");
    owner.close(200, "".into()).await.expect("the end");
    let gone = passively(&other.create_channel().await.expect("a channel"), &queue).await;
    assert_refused(gone, 404, "no queue");
}

#[tokio::test]
async fn an_auto_delete_queue_goes_with_its_last_consumer() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let brief = &target.name("brief");
    let auto_delete = QueueDeclareOptions { auto_delete: true, ..Default::default() };
    channel.queue_declare(brief.as_str().into(), auto_delete, FieldTable::default()).await.expect("a queue");
    let (one, two) = (consume(&channel, brief).await, consume(&channel, brief).await);
    channel.basic_cancel(one.tag(), BasicCancelOptions::default()).await.expect("a cancel");
    assert_eq!(passively(&channel, brief).await.expect("still there").consumer_count(), 1);
    channel.basic_cancel(two.tag(), BasicCancelOptions::default()).await.expect("a cancel");
    assert_refused(passively(&channel, brief).await, 404, "no queue");
}

#[tokio::test]
async fn a_consumer_is_told_when_its_queue_is_deleted() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let (_other, another) = target.channel().await;
    let tasks = &target.name("tasks");
    queue(&channel, tasks, []).await;
    let mut consumer = consume(&channel, tasks).await;
    another.queue_delete(tasks.as_str().into(), QueueDeleteOptions::default()).await.expect("a delete");
    ends(&mut consumer).await;
    queue(&channel, tasks, []).await;
}

#[tokio::test]
async fn the_second_single_active_consumer_waits_for_its_turn() {
    let target = Target::start();
    let (_one, first) = target.channel().await;
    let (_two, second) = target.channel().await;
    let tasks = &target.name("tasks");
    queue(&first, tasks, [("x-single-active-consumer", true.into())]).await;
    let mut active = consume(&first, tasks).await;
    let mut waiting = consume(&second, tasks).await;
    publish(&first, "", tasks, b"a").await;
    ack(&next(&mut active).await).await;
    nothing_comes(&mut waiting).await;
    first.basic_cancel(active.tag(), BasicCancelOptions::default()).await.expect("a cancel");
    publish(&second, "", tasks, b"b").await;
    assert_eq!(body(&next(&mut waiting).await), "b");
}
