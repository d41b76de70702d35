//! Stories about where a message goes.

use super::super::*;
use super::Vhost;

#[test]
fn the_default_exchange_reaches_a_queue_by_its_name() {
    let mut vhost = Vhost::with_queues(&["a", "b"]);
    assert_eq!(vhost.routed("", &["a"]), ["a"]);
    assert_eq!(vhost.routed("", &["b", "a", "b", "c"]), ["a", "b"]);
    assert!(vhost.routed("", &["c"]).is_empty());
}

#[test]
fn publishing_to_an_exchange_that_is_not_there_is_an_error() {
    let vhost = Vhost::with_queues(&[]);
    let error = vhost.topology.route("e", &["k"], &Table::new, &mut Routed::default()).unwrap_err();
    assert_eq!(error.to_string(), "no exchange 'e' in vhost '/'");
}

#[test]
fn a_queue_bound_in_many_ways_gets_a_message_once_in_order_of_declaration() {
    let mut vhost = Vhost::with_queues(&["z", "a"]);
    vhost.exchange("e", ExchangeKind::Topic);
    for (queue, key) in [("a", "#"), ("z", "k.*"), ("z", "k.#"), ("a", "k.v")] {
        vhost.bind("e", Destination::queue(queue), key);
    }
    assert_eq!(vhost.routed("e", &["k.v", "k.w"]), ["z", "a"]);
}

#[test]
fn exchanges_bound_in_a_circle_route_once_round() {
    let mut vhost = Vhost::with_queues(&["a", "b"]);
    for exchange in ["e", "f"] {
        vhost.exchange(exchange, ExchangeKind::Fanout);
    }
    vhost.bind("e", Destination::exchange("f"), "");
    vhost.bind("f", Destination::exchange("e"), "");
    vhost.bind("e", Destination::exchange("e"), "");
    vhost.bind("e", Destination::queue("a"), "");
    vhost.bind("f", Destination::queue("b"), "");
    assert_eq!(vhost.routed("e", &["k"]), ["a", "b"]);
    assert_eq!(vhost.routed("f", &["k"]), ["a", "b"]);
}

#[test]
fn what_matches_nothing_goes_to_the_alternate_and_on_to_its_alternate() {
    let mut vhost = Vhost::with_queues(&["a", "b", "last"]);
    vhost.exchange_with("third", ExchangeKind::Fanout, &[]);
    vhost.exchange_with("second", ExchangeKind::Direct, &[("alternate-exchange", "third")]);
    vhost.exchange_with("first", ExchangeKind::Direct, &[("alternate-exchange", "second")]);
    vhost.bind("first", Destination::queue("a"), "a");
    vhost.bind("second", Destination::queue("b"), "b");
    vhost.bind("third", Destination::queue("last"), "");
    assert_eq!(vhost.routed("first", &["a"]), ["a"]);
    assert_eq!(vhost.routed("first", &["b"]), ["b"]);
    assert_eq!(vhost.routed("first", &["c"]), ["last"]);
}

#[test]
fn an_alternate_that_is_missing_or_the_exchange_itself_ends_the_journey() {
    let mut vhost = Vhost::with_queues(&[]);
    vhost.exchange_with("e", ExchangeKind::Direct, &[("alternate-exchange", "missing")]);
    vhost.exchange_with("f", ExchangeKind::Direct, &[("alternate-exchange", "f")]);
    assert!(vhost.routed("e", &["k"]).is_empty());
    assert!(vhost.routed("f", &["k"]).is_empty());
}

#[test]
fn a_delayed_exchange_holds_once_and_then_routes_as_its_inner_kind() {
    let mut vhost = Vhost::with_queues(&["q"]);
    vhost.exchange("later", ExchangeKind::Delayed(Box::new(ExchangeKind::Topic)));
    vhost.bind("later", Destination::queue("q"), "order.#");
    let delayed = || Table::from_iter([("x-delay", Value::I32(5_000))]);
    let mut out = Routed::default();
    vhost.topology.route("later", &["order.new"], &delayed, &mut out).unwrap();
    assert_eq!((out.queues.len(), &*out.delayed), (0, &["later".into()][..]));
    assert!(out.depends_on_headers);
    vhost.topology.route_after_delay("later", &["order.new"], &delayed, &mut out).unwrap();
    assert_eq!((out.queues, out.delayed), (vec!["q".to_owned()], Vec::new()));
    assert_eq!(vhost.routed("later", &["order.new"]), ["q"]);
}

#[test]
fn every_delayed_exchange_on_the_way_holds_a_copy_once() {
    let mut vhost = Vhost::with_queues(&["a", "b"]);
    for (exchange, queue) in [("one", "a"), ("two", "b")] {
        vhost.exchange(exchange, ExchangeKind::Delayed(Box::new(ExchangeKind::Fanout)));
        vhost.bind("amq.fanout", Destination::exchange(exchange), "");
        vhost.bind(exchange, Destination::queue(queue), "");
    }
    vhost.bind("one", Destination::exchange("two"), "");
    let delayed = || Table::from_iter([("x-delay", Value::I32(5_000))]);
    let mut out = Routed::default();
    vhost.topology.route("amq.fanout", &[""], &delayed, &mut out).unwrap();
    out.delayed.sort();
    assert_eq!((out.queues.len(), &*out.delayed), (0, &["one".into(), "two".into()][..]));
    // The delay is over for all that come behind.
    vhost.topology.route_after_delay("one", &[""], &delayed, &mut out).unwrap();
    assert_eq!((&*out.queues, out.delayed.len()), (&["a".to_owned(), "b".to_owned()][..], 0));
}

#[test]
fn headers_are_read_once_and_only_if_somebody_needs_them() {
    let mut vhost = Vhost::with_queues(&["q"]);
    vhost.exchange("topic", ExchangeKind::Topic);
    vhost.exchange("headers", ExchangeKind::Headers);
    vhost.bind("topic", Destination::queue("q"), "plain");
    vhost.bind("topic", Destination::exchange("headers"), "by.header");
    vhost.bind("topic", Destination::exchange("amq.headers"), "by.header");
    for exchange in ["headers", "amq.headers"] {
        let red = Table::from_iter([("colour", Value::text("red"))]);
        vhost.topology.bind(exchange, Destination::queue("q"), "", red).unwrap();
    }
    let reads = std::cell::Cell::new(0);
    let facts = || {
        reads.set(reads.get() + 1);
        Table::from_iter([("colour", Value::text("red"))])
    };
    let mut out = Routed::default();
    vhost.topology.route("topic", &["plain"], &facts, &mut out).unwrap();
    assert_eq!((reads.get(), out.depends_on_headers, out.queues.len()), (0, false, 1));
    vhost.topology.route("topic", &["by.header"], &facts, &mut out).unwrap();
    assert_eq!((reads.get(), out.depends_on_headers, out.queues.len()), (1, true, 1));
}
