use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::reply::ReplyCode;

/// One of each type, as RabbitMQ 3.10 writes it.
const EVERY_TYPE: &[u8] = b"\x01tt\x01\x01bb\xfe\x01BB\xfe\x01ss\xff\xfd\x01uu\xff\xfd\
    \x01II\xff\xff\xff\xfc\x01ii\xff\xff\xff\xfc\x01ll\xff\xff\xff\xff\xff\xff\xff\xfb\
    \x01ff\x3f\xc0\x00\x00\x01dd\xc0\x04\x00\x00\x00\x00\x00\x00\x01DD\x02\x00\x00\x01\x3a\
    \x01SS\x00\x00\x00\x04text\x01xx\x00\x00\x00\x02\x00\xff\x01TT\x00\x00\x00\x00\x65\x53\xf1\x00\
    \x01VV\x01AA\x00\x00\x00\x10I\x00\x00\x00\x01S\x00\x00\x00\x01aA\x00\x00\x00\x00\
    \x01FF\x00\x00\x00\x04\x01kt\x00";

fn every_type() -> Table {
    Table::from_iter([
        ("t", Value::Bool(true)),
        ("b", Value::I8(-2)),
        ("B", Value::U8(254)),
        ("s", Value::I16(-3)),
        ("u", Value::U16(65533)),
        ("I", Value::I32(-4)),
        ("i", Value::U32(4294967292)),
        ("l", Value::I64(-5)),
        ("f", Value::F32(1.5)),
        ("d", Value::F64(-2.5)),
        ("D", Value::Decimal { scale: 2, value: 314 }),
        ("S", Value::text("text")),
        ("x", Value::Bytes([0, 255].into())),
        ("T", Value::Timestamp(1700000000)),
        ("V", Value::Void),
        ("A", Value::List(vec![Value::I32(1), Value::text("a"), Value::List(vec![])])),
        ("F", Value::Table(Table::from_iter([("k", Value::Bool(false))]))),
    ])
}

#[test]
fn every_type_reads_and_writes_as_rabbitmq_does() {
    assert_eq!(RawTable(EVERY_TYPE).decode().unwrap(), every_type());
    assert_eq!(encoded(&every_type()), EVERY_TYPE);
    assert_eq!(RawTable(EVERY_TYPE).validate(), Ok(()));
}

#[test]
fn both_letters_for_long_are_signed() {
    let table = RawTable(b"\x01kL\xff\xff\xff\xff\xff\xff\xff\xff").decode().unwrap();
    assert_eq!(table.get("k"), Some(&Value::I64(-1)));
}

#[test]
fn a_look_up_finds_the_first_and_reads_no_further() {
    let raw = RawTable(b"\x01at\x01\x01at\x00\x01b?");
    assert_eq!(raw.get("a"), Ok(Some(Value::Bool(true))));
    assert_eq!(raw.get("b"), Err(DecodeError::UnknownFieldType { letter: b'?' }));
    assert_eq!(RawTable(b"").get("a"), Ok(None));
    assert_eq!(RawTable(EVERY_TYPE).find("S").unwrap().unwrap().as_text(), Some(&b"text"[..]));
}

#[test]
fn a_length_that_lies_is_refused() {
    refused(b"\x01kS\xff\xff\xff\xff", DecodeError::Truncated { needed: 0xFFFF_FFFF, left: 0 });
    refused(b"\x01kF\xff\xff\xff\xffabc", DecodeError::Truncated { needed: 0xFFFF_FFFF, left: 3 });
    refused(
        b"\x01kA\x00\x00\x00\x05S\xff\xff\xff\xff",
        DecodeError::Truncated { needed: 0xFFFF_FFFF, left: 0 },
    );
    refused(b"\xff", DecodeError::Truncated { needed: 255, left: 0 });
}

#[test]
fn nesting_ends_at_the_limit() {
    let value = |depth| (0..depth).fold(Value::Void, |inner, _| Value::List(vec![inner]));
    let table = |depth| Table::from_iter([("k", value(depth))]);
    let deepest = encoded(&table(DEPTH_MAX));
    assert_eq!(RawTable(&deepest).decode().unwrap(), table(DEPTH_MAX));
    refused(&encoded(&table(DEPTH_MAX + 1)), DecodeError::TooDeep { depth_max: DEPTH_MAX });
}

#[test]
fn a_bomb_of_nested_lists_is_refused() {
    let depth = 26_000;
    let mut bomb = b"\x01k".to_vec();
    for left in (0..depth).rev() {
        bomb.push(b'A');
        bomb.extend_from_slice(&(left * 5u32).to_be_bytes());
    }
    refused(&bomb, DecodeError::TooDeep { depth_max: DEPTH_MAX });
    assert_eq!(RawTable(&bomb).get("other"), Ok(None));
}

#[test]
fn a_table_cut_inside_an_entry_is_refused() {
    for cut in 1..EVERY_TYPE.len() {
        let raw = RawTable(&EVERY_TYPE[..cut]);
        let whole_entries = raw.entries().all(|entry| entry.is_ok());
        assert_eq!(raw.decode().is_ok(), whole_entries, "cut at {cut}");
    }
}

#[test]
fn an_unreadable_table_is_a_syntax_error() {
    let error = RawTable(b"\x01k?").decode().unwrap_err();
    assert_eq!(error.reply_code(), ReplyCode::SyntaxError);
    refused(b"\x01\xfft\x01", DecodeError::NotUtf8);
}

proptest! {
    #[test]
    fn a_table_comes_back_as_it_went(table in tables()) {
        let bytes = encoded(&table);
        prop_assert_eq!(RawTable(&bytes).decode(), Ok(table.clone()));
        for (name, _) in table.iter() {
            let found = RawTable(&bytes).get(name).unwrap();
            prop_assert_eq!(found.as_ref(), table.get(name));
        }
    }

    #[test]
    fn random_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let raw = RawTable(&bytes);
        prop_assert_eq!(raw.decode().err(), raw.validate().err());
        let _ = raw.get("k");
    }

    #[test]
    fn a_table_with_a_byte_changed_is_read_or_refused(at in 0..EVERY_TYPE.len(), byte: u8) {
        let mut bytes = EVERY_TYPE.to_vec();
        bytes[at] = byte;
        let raw = RawTable(&bytes);
        prop_assert_eq!(raw.decode().err(), raw.validate().err());
    }
}

pub(crate) fn tables() -> impl Strategy<Value = Table> {
    vec(("\\PC{0,20}", values()), 0..8).prop_map(Table::from_iter)
}

fn values() -> impl Strategy<Value = Value> {
    let finite = any::<f64>().prop_filter("a number equal to itself", |number| !number.is_nan());
    let single = prop_oneof![
        Just(Value::Void),
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u16>().prop_map(Value::U16),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        (-1000i16..1000).prop_map(|number| Value::F32(number.into())),
        finite.prop_map(Value::F64),
        (any::<u8>(), any::<u32>()).prop_map(|(scale, value)| Value::Decimal { scale, value }),
        vec(any::<u8>(), 0..40).prop_map(|text| Value::Text(text.into())),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Bytes(bytes.into())),
        any::<u64>().prop_map(Value::Timestamp),
    ];
    single.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::List),
            vec(("[a-z]{0,8}", inner), 0..4).prop_map(|entries| Value::Table(Table::from_iter(entries))),
        ]
    })
}

fn encoded(table: &Table) -> Vec<u8> {
    let mut out = Vec::new();
    encode_table(table, &mut out);
    out
}

fn refused(bytes: &[u8], expected: DecodeError) {
    assert_eq!(RawTable(bytes).decode(), Err(expected));
    assert_eq!(RawTable(bytes).validate(), Err(expected));
}
