//! Random messages, for tests.

use bytes::Bytes;

use crate::text::Text;
use crate::wire::{Records, Uuid};

/// A small generator (SplitMix64), so that a failure can be told by its seed.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn message<T: Sample + Default>(&mut self, number: i16) -> T {
        T::sample(self, number, &T::default())
    }
}

/// A value for a field whose default is known.
pub(crate) trait Sample: Sized {
    fn sample(dice: &mut Dice, number: i16, default: &Self) -> Self;
}

macro_rules! sampled {
    ($($kind:ty: |$dice:ident| $value:expr;)*) => {$(
        impl Sample for $kind {
            fn sample($dice: &mut Dice, _: i16, _: &$kind) -> $kind {
                $value
            }
        }
    )*};
}

sampled! {
    bool: |dice| dice.below(2) == 1;
    i8: |dice| dice.next() as i8;
    i16: |dice| dice.next() as i16;
    u16: |dice| dice.next() as u16;
    i32: |dice| dice.next() as i32;
    i64: |dice| dice.next() as i64;
    f64: |dice| f64::from(dice.next() as i32);
    Uuid: |dice| Uuid(std::array::from_fn(|_| dice.next() as u8));
    Text: |dice| {
        let length = dice.below(200);
        Text::from((0..length).map(|_| char::from(b'a' + dice.below(26) as u8)).collect::<String>())
    };
    Bytes: |dice| {
        let length = dice.below(300);
        (0..length).map(|_| dice.next() as u8).collect::<Vec<u8>>().into()
    };
    Records: |dice| {
        let length = dice.below(3000);
        Records::Bytes((0..length).map(|_| dice.next() as u8).collect::<Vec<u8>>().into())
    };
}

impl<T: Sample + Default> Sample for Option<T> {
    /// Null only where it is the default: other fields may be null in later versions only.
    fn sample(dice: &mut Dice, number: i16, default: &Option<T>) -> Option<T> {
        (default.is_some() || dice.below(2) == 1).then(|| dice.message(number))
    }
}

impl<T: Sample + Default> Sample for Vec<T> {
    fn sample(dice: &mut Dice, number: i16, _: &Vec<T>) -> Vec<T> {
        (0..dice.below(4)).map(|_| dice.message(number)).collect()
    }
}
