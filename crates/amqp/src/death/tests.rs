use super::*;
use crate::properties::PropertiesBuf;

#[test]
fn the_first_death_starts_the_history() {
    let before = PropertiesBuf {
        content_type: Some("text/plain".into()),
        headers: Some(Table::from_iter([("z", Value::I32(1)), ("a", Value::Void)])),
        expiration: Some("60000".into()),
        message_id: Some("m1".into()),
        ..Default::default()
    };
    let after = die(&before, &death("orders", Reason::Expired));
    assert_eq!(after.expiration, None);
    assert_eq!((after.content_type, after.message_id), (before.content_type, before.message_id));
    let headers = after.headers.unwrap();
    let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "a",
            "x-death",
            "x-first-death-exchange",
            "x-first-death-queue",
            "x-first-death-reason",
            "x-last-death-exchange",
            "x-last-death-queue",
            "x-last-death-reason",
            "z",
        ]
    );
    let expected = Table::from_iter([
        ("original-expiration", Value::text("60000")),
        ("count", Value::I64(1)),
        ("reason", Value::text("expired")),
        ("queue", Value::text("orders")),
        ("time", Value::Timestamp(1_700_000_000)),
        ("exchange", Value::text("shop")),
        ("routing-keys", Value::List(vec![Value::text("order.new")])),
    ]);
    assert_eq!(headers.get("x-death"), Some(&Value::List(vec![Value::Table(expected)])));
}

#[test]
fn a_known_queue_and_reason_counts_up_and_comes_to_the_front() {
    let mut properties = PropertiesBuf::default();
    for (queue, reason) in [
        ("orders", Reason::Rejected),
        ("retry", Reason::Expired),
        ("orders", Reason::Rejected),
        ("orders", Reason::MaxLength),
        ("retry", Reason::DeliveryLimit),
    ] {
        properties = die(&properties, &death(queue, reason));
    }
    assert_eq!(
        history(&properties),
        ["retry delivery_limit 1", "orders maxlen 1", "orders rejected 2", "retry expired 1"]
    );
    let headers = properties.headers.unwrap();
    let text = |name| headers.get(name).and_then(Value::as_str).unwrap();
    assert_eq!((text("x-first-death-queue"), text("x-first-death-reason")), ("orders", "rejected"));
    assert_eq!((text("x-last-death-queue"), text("x-last-death-reason")), ("retry", "delivery_limit"));
    assert_eq!((text("x-first-death-exchange"), text("x-last-death-exchange")), ("shop", "shop"));
}

#[test]
fn a_history_that_is_no_list_starts_afresh() {
    let before = with_headers([("x-death", Value::text("[{count: 1}]"))]);
    assert_eq!(history(&die(&before, &death("q", Reason::Rejected))), ["q rejected 1"]);
}

#[test]
fn what_others_put_into_the_history_stays() {
    let record = Value::Table(Table::from_iter([
        ("queue", Value::text("q")),
        ("reason", Value::text("rejected")),
        ("count", Value::text("many")),
    ]));
    let before = with_headers([("x-death", Value::List(vec![Value::I8(7), record]))]);
    let after = die(&before, &death("q", Reason::Rejected));
    let Some(Value::List(deaths)) = after.headers.as_ref().unwrap().get("x-death") else { panic!("no list") };
    assert_eq!(deaths[1..], [Value::I8(7)]);
    let Value::Table(record) = &deaths[0] else { panic!("no table") };
    assert_eq!(record.get("count"), Some(&Value::I64(1)));
}

#[test]
fn copies_are_recorded_but_not_the_blind_ones() {
    let list = |keys: &[&str]| Value::List(keys.iter().map(Value::text).collect());
    let before = with_headers([("CC", list(&["c1", "order.new"])), ("BCC", list(&["b1"]))]);
    let death = Death { routing_keys: &["order.new", "b1"], ..death("q", Reason::Rejected) };
    let after = die(&before, &death);
    let Some(Value::List(deaths)) = after.headers.as_ref().unwrap().get("x-death") else { panic!("no list") };
    let Value::Table(record) = &deaths[0] else { panic!("no table") };
    assert_eq!(record.get("routing-keys"), Some(&list(&["order.new", "c1"])));
}

#[test]
fn a_circle_without_a_rejection_is_a_cycle() {
    check_cycle(&[("orders", Reason::Expired)], "orders", true);
    check_cycle(&[("orders", Reason::Expired)], "other", false);
    check_cycle(&[("orders", Reason::MaxLength), ("retry", Reason::Expired)], "orders", true);
    check_cycle(&[("orders", Reason::Rejected), ("retry", Reason::Expired)], "orders", false);
    check_cycle(&[("orders", Reason::Expired), ("retry", Reason::Rejected)], "orders", false);
    // The rejection lies before the circle, so it does not break it.
    check_cycle(&[("old", Reason::Rejected), ("orders", Reason::Expired)], "orders", true);
}

#[test]
fn no_history_is_no_cycle() {
    assert!(!cycle(&[0, 0], "orders"));
    assert!(!cycle(b"garbage", "orders"));
    let foreign = with_headers([("x-death", Value::List(vec![Value::text("orders")]))]);
    assert!(!cycle(&foreign.to_bytes(), "orders"));
}

#[test]
fn unreadable_properties_are_an_error() {
    assert!(dead_letter(&[0x80, 0], &death("q", Reason::Expired)).is_err());
    assert!(dead_letter(b"\x20\x00\x00\x00\x00\x01k", &death("q", Reason::Expired)).is_err());
}

fn check_cycle(deaths: &[(&str, Reason)], target: &str, expected: bool) {
    let properties = deaths.iter().fold(PropertiesBuf::default(), |properties, (queue, reason)| {
        die(&properties, &death(queue, *reason))
    });
    assert_eq!(cycle(&properties.to_bytes(), target), expected, "{deaths:?} to {target}");
}

fn death(queue: &str, reason: Reason) -> Death<'_> {
    Death { queue, reason, exchange: "shop", routing_keys: &["order.new"], time_s: 1_700_000_000 }
}

fn die(properties: &PropertiesBuf, death: &Death<'_>) -> PropertiesBuf {
    let after = dead_letter(&properties.to_bytes(), death).unwrap();
    PropertiesBuf::try_from(&Properties::parse(&after).unwrap()).unwrap()
}

fn with_headers<const N: usize>(headers: [(&str, Value); N]) -> PropertiesBuf {
    PropertiesBuf { headers: Some(Table::from_iter(headers)), ..Default::default() }
}

/// `queue reason count`, most recent first.
fn history(properties: &PropertiesBuf) -> Vec<String> {
    let Some(Value::List(deaths)) = properties.headers.as_ref().unwrap().get("x-death") else {
        panic!("no list")
    };
    deaths.iter().map(describe).collect()
}

fn describe(record: &Value) -> String {
    let Value::Table(record) = record else { panic!("no table") };
    let text = |name| record.get(name).and_then(Value::as_str).unwrap();
    format!("{} {} {}", text("queue"), text("reason"), record.get("count").unwrap().as_integer().unwrap())
}
