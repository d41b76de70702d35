//! How a table of fields becomes a struct that reads and writes itself in every version.

/// Structs of the protocol. A field reads `name: Type [versions] = default`, the fields in wire order, the
/// versions as a range, the default where it is not the type's own. `[versions] tag N` is a tagged field.
/// A field that a version lacks is read as its default and not written.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $name:ident {
            $(
                $(#[$field_doc:meta])*
                $field:ident: $kind:ty [$versions:expr] $(tag $tag:literal)? $(= $default:expr)?
            ),* $(,)?
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $crate::define::default_of!($($default)?),)* }
            }
        }

        impl $crate::wire::Field for $name {
            #[allow(unused_variables, unused_mut, clippy::redundant_pattern_matching)]
            fn read(
                from: &mut $crate::wire::Reader,
                version: $crate::wire::Version,
            ) -> Result<$name, $crate::wire::DecodeError> {
                let mut this = $name::default();
                $($crate::define::read_field!(this.$field, from, version, $versions $(, $tag)?);)*
                if version.flexible {
                    from.tagged(|tag, from| {
                        $($(
                            if tag == $tag && ($versions).contains(&version.number) {
                                this.$field = $crate::wire::Field::read(from, version)?;
                                return Ok(true);
                            }
                        )?)*
                        Ok(false)
                    })?;
                }
                Ok(this)
            }

            #[allow(unused_variables, unused_mut)]
            fn write(&self, to: &mut $crate::wire::Writer, version: $crate::wire::Version) {
                $($crate::define::write_field!(self.$field, to, version, $versions $(, $tag)?);)*
                if version.flexible {
                    let plain = $name::default();
                    // A tagged field at its default is left out.
                    let mut count = 0;
                    $($(
                        let _: u32 = $tag;
                        let written = ($versions).contains(&version.number) && self.$field != plain.$field;
                        count += u32::from(written);
                    )?)*
                    to.varint(count);
                    $($(
                        if ($versions).contains(&version.number) && self.$field != plain.$field {
                            to.tagged($tag, &self.$field, version);
                        }
                    )?)*
                }
            }
        }

        #[cfg(test)]
        impl $crate::sample::Sample for $name {
            fn sample(dice: &mut $crate::sample::Dice, number: i16, _: &$name) -> $name {
                let mut this = $name::default();
                $(
                    if ($versions).contains(&number) {
                        this.$field = $crate::sample::Sample::sample(dice, number, &this.$field);
                    }
                )*
                this
            }
        }
    )*};
}

macro_rules! default_of {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

macro_rules! read_field {
    ($place:expr, $from:ident, $version:ident, $versions:expr) => {
        if ($versions).contains(&$version.number) {
            $place = $crate::wire::Field::read($from, $version)?;
        }
    };
    ($place:expr, $from:ident, $version:ident, $versions:expr, $tag:literal) => {};
}

macro_rules! write_field {
    ($place:expr, $to:ident, $version:ident, $versions:expr) => {
        if ($versions).contains(&$version.number) {
            $crate::wire::Field::write(&$place, $to, $version);
        }
    };
    ($place:expr, $to:ident, $version:ident, $versions:expr, $tag:literal) => {};
}

/// A struct that can itself be null: one byte before it, -1 for null.
macro_rules! nullable_struct {
    ($name:ident) => {
        impl $crate::wire::Nullable for $name {
            fn read_nullable(
                from: &mut $crate::wire::Reader,
                version: $crate::wire::Version,
            ) -> Result<Option<$name>, $crate::wire::DecodeError> {
                match <i8 as $crate::wire::Field>::read(from, version)? {
                    ..0 => Ok(None),
                    0.. => $crate::wire::Field::read(from, version).map(Some),
                }
            }

            fn write_nullable(
                this: Option<&$name>,
                to: &mut $crate::wire::Writer,
                version: $crate::wire::Version,
            ) {
                match this {
                    None => $crate::wire::Field::write(&-1i8, to, version),
                    Some(this) => {
                        $crate::wire::Field::write(&1i8, to, version);
                        $crate::wire::Field::write(this, to, version);
                    }
                }
            }
        }
    };
}

pub(crate) use {default_of, messages, nullable_struct, read_field, write_field};
