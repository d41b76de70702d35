//! Zigzag varints, the integers inside a record (Protocol Buffers' signed varints).

use bytes::{BufMut, BytesMut};

/// A 64-bit number takes at most this many bytes of seven bits each.
const VARLONG_BYTES_MAX: usize = 10;

pub(crate) fn put(out: &mut BytesMut, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// How many bytes [`put`] writes for `value`.
pub(crate) fn len_bytes(value: i64) -> usize {
    let bits = 64 - zigzag(value).leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}

/// Takes a number off the front of `input`; `None` when it is cut short or longer than 64 bits.
pub(crate) fn take_long(input: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for (index, byte) in input.iter().take(VARLONG_BYTES_MAX).enumerate() {
        let low_bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit only.
        if index == VARLONG_BYTES_MAX - 1 && low_bits > 1 {
            return None;
        }
        value |= low_bits << (7 * index);
        if byte & 0x80 == 0 {
            *input = &input[index + 1..];
            return Some(unzigzag(value));
        }
    }
    None
}

/// Like [`take_long`], for the fields the format limits to 32 bits.
pub(crate) fn take_int(input: &mut &[u8]) -> Option<i32> {
    i32::try_from(take_long(input)?).ok()
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_numbers_of_either_sign_take_one_byte() {
        check(0, &[0x00]);
        check(-1, &[0x01]);
        check(1, &[0x02]);
        check(63, &[0x7e]);
        check(-64, &[0x7f]);
    }

    #[test]
    fn larger_numbers_put_the_low_bits_first() {
        check(64, &[0x80, 0x01]);
        check(300, &[0xd8, 0x04]);
        check(i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    #[test]
    fn a_number_cut_short_or_too_long_is_refused() {
        assert_eq!(take_long(&mut &[][..]), None);
        assert_eq!(take_long(&mut &[0x80, 0x80][..]), None);
        assert_eq!(take_long(&mut &[0xff; 11][..]), None);
        assert_eq!(take_long(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02][..]), None);
    }

    #[test]
    fn a_number_above_32_bits_is_no_int() {
        let mut out = BytesMut::new();
        put(&mut out, i64::from(i32::MAX) + 1);
        assert_eq!(take_int(&mut &out[..]), None);
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: i64) {
            let mut out = BytesMut::new();
            put(&mut out, value);
            prop_assert_eq!(out.len(), len_bytes(value));
            prop_assert_eq!(take_long(&mut &out[..]), Some(value));
        }
    }

    fn check(value: i64, bytes: &[u8]) {
        let mut out = BytesMut::new();
        put(&mut out, value);
        assert_eq!(&out[..], bytes);
        assert_eq!(len_bytes(value), bytes.len());
        assert_eq!(take_long(&mut &bytes[..]), Some(value));
    }
}
