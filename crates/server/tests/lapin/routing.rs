//! Publish and subscribe, routing by topic and by headers, and the answer to a request.

use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{BasicProperties, ExchangeKind};

use crate::broker::Target;
use crate::words::*;

#[tokio::test]
async fn every_subscriber_hears_the_news_from_when_it_came() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let news = &target.name("news");
    exchange(&channel, news, ExchangeKind::Fanout).await;
    let early = private_queue(&channel).await;
    bind(&channel, &early, news, "").await;
    publish(&channel, news, "", b"first").await;
    let late = private_queue(&channel).await;
    bind(&channel, &late, news, "").await;
    publish(&channel, news, "ignored", b"second").await;
    assert_eq!(drained(&channel, &early).await, ["first", "second"]);
    assert_eq!(drained(&channel, &late).await, ["second"]);
}

#[tokio::test]
async fn a_topic_pattern_chooses_orders() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let orders = &target.name("orders");
    exchange(&channel, orders, ExchangeKind::Topic).await;
    let mut queues = Vec::new();
    for pattern in ["pedidos.creado.#", "pedidos.*.es", "#", "*.pagado"] {
        let queue = private_queue(&channel).await;
        bind(&channel, &queue, orders, pattern).await;
        queues.push(queue);
    }
    for key in ["pedidos.creado", "pedidos.creado.es", "pedidos.pagado.es", "pedidos.pagado"] {
        publish(&channel, orders, key, key.as_bytes()).await;
    }
    assert_eq!(drained(&channel, &queues[0]).await, ["pedidos.creado", "pedidos.creado.es"]);
    assert_eq!(drained(&channel, &queues[1]).await, ["pedidos.creado.es", "pedidos.pagado.es"]);
    assert_eq!(drained(&channel, &queues[2]).await.len(), 4);
    assert_eq!(drained(&channel, &queues[3]).await, ["pedidos.pagado"]);
}

#[tokio::test]
async fn headers_choose_too() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let (reports, wanted) = (&target.name("reports"), &target.name("wanted"));
    exchange(&channel, reports, ExchangeKind::Headers).await;
    queue(&channel, wanted, []).await;
    let arguments = table([("x-match", text("all")), ("format", text("pdf")), ("pages", number(2))]);
    let bound = channel.queue_bind(
        wanted.as_str().into(),
        reports.as_str().into(),
        "".into(),
        QueueBindOptions::default(),
        arguments,
    );
    bound.await.expect("a binding");
    for (report, format, pages) in [("a", "pdf", 2), ("b", "pdf", 3), ("c", "txt", 2)] {
        let headers = table([("format", text(format)), ("pages", number(pages)), ("more", text("ignored"))]);
        let properties = BasicProperties::default().with_headers(headers);
        publish_with(&channel, reports, "", report.as_bytes(), properties).await.expect("a publish");
    }
    assert_eq!(drained(&channel, wanted).await, ["a"]);
}

#[tokio::test]
async fn requests_are_answered_over_direct_reply_to() {
    let target = Target::start();
    let (_server, server) = target.channel().await;
    let (_client, client) = target.channel().await;
    let squares = &target.name("squares");
    queue(&server, squares, []).await;
    let mut requests = consume(&server, squares).await;
    let serving = tokio::spawn(async move {
        for _ in 0..20 {
            let request = next(&mut requests).await;
            let number: u64 = body(&request).parse().expect("a number");
            let reply_to = request.properties.reply_to().clone().expect("where to answer");
            let id = request.properties.correlation_id().clone().expect("what this answers");
            let properties = BasicProperties::default().with_correlation_id(id);
            let square = (number * number).to_string();
            publish_with(&server, "", reply_to.as_str(), square.as_bytes(), properties)
                .await
                .expect("an answer");
            ack(&request).await;
        }
    });
    let no_ack = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let reply_to = "amq.rabbitmq.reply-to";
    let mut replies = client
        .basic_consume(reply_to.into(), "".into(), no_ack, FieldTable::default())
        .await
        .expect("a consumer");
    for number in 0..20u64 {
        let properties = BasicProperties::default()
            .with_reply_to(reply_to.into())
            .with_correlation_id(number.to_string().into());
        publish_with(&client, "", squares, number.to_string().as_bytes(), properties)
            .await
            .expect("a request");
    }
    for number in 0..20u64 {
        let reply = next(&mut replies).await;
        let id = reply.properties.correlation_id().as_ref().map(|id| id.to_string());
        assert_eq!((body(&reply), id), ((number * number).to_string(), Some(number.to_string())));
    }
    serving.await.expect("a server that did not fail");
}
