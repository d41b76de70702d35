//! Settings by name: a table of lines becomes a struct that is read, checked and shown by the names operators know.

use std::fmt;

/// Why a setting is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("unknown setting '{0}'")]
    Unknown(String),
    #[error("invalid value '{value}' for setting '{name}': {reason}")]
    Invalid { name: String, value: String, reason: String },
}

impl SettingError {
    pub fn invalid(name: &str, value: &str, reason: impl fmt::Display) -> SettingError {
        SettingError::Invalid { name: name.to_owned(), value: value.to_owned(), reason: reason.to_string() }
    }
}

/// What kind of value a setting has, as clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int,
    Long,
    Double,
    Text,
    List,
}

/// A type that can be the value of a setting.
pub trait Setting: Sized {
    const KIND: Kind;

    /// The reason is said to whoever wrote the text.
    fn parse(text: &str) -> Result<Self, String>;

    fn show(&self) -> String;
}

macro_rules! numbers {
    ($($number:ty, $kind:ident, $what:literal;)*) => {$(
        impl Setting for $number {
            const KIND: Kind = Kind::$kind;

            fn parse(text: &str) -> Result<$number, String> {
                text.trim().parse().map_err(|_| $what.to_owned())
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

numbers! {
    i32, Int, "write a whole number of 32 bits";
    i64, Long, "write a whole number of 64 bits";
    f64, Double, "write a number";
}

impl Setting for bool {
    const KIND: Kind = Kind::Bool;

    fn parse(text: &str) -> Result<bool, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("write true or false".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A struct of settings. A line reads `field: Type = default, "name" [or "the node's name"] [in allowed];` where
/// `allowed` is a range or an array.
#[macro_export]
macro_rules! settings {
    ($(#[$doc:meta])* $struct:ident {
        $(
            $(#[$field_doc:meta])*
            $field:ident: $kind:ty = $default:expr, $name:literal $(or $usual:literal)? $(in $allowed:expr)?;
        )*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $struct {
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl Default for $struct {
            fn default() -> $struct {
                $struct { $($field: $default,)* }
            }
        }

        impl $struct {
            /// The names, with the kind of each.
            pub const NAMES: &[(&'static str, $crate::settings::Kind)] =
                &[$(($name, <$kind as $crate::settings::Setting>::KIND),)*];

            /// Takes one setting by its name.
            pub fn set(&mut self, name: &str, text: &str) -> Result<(), $crate::settings::SettingError> {
                match name {
                    $($name => {
                        let value = <$kind as $crate::settings::Setting>::parse(text);
                        let value = value.map_err(|reason| {
                            $crate::settings::SettingError::invalid(name, text, reason)
                        })?;
                        $(
                            let allowed = $allowed;
                            if !allowed.contains(&value) {
                                let reason = format!("must be within {allowed:?}");
                                return Err($crate::settings::SettingError::invalid(name, text, reason));
                            }
                        )?
                        self.$field = value;
                    })*
                    _ => return Err($crate::settings::SettingError::Unknown(name.to_owned())),
                }
                Ok(())
            }

            /// As it would be written.
            pub fn get(&self, name: &str) -> Option<String> {
                match name {
                    $($name => Some($crate::settings::Setting::show(&self.$field)),)*
                    _ => None,
                }
            }

            /// The name here of what the node calls otherwise.
            pub fn name_of_usual(usual: &str) -> Option<&'static str> {
                match usual {
                    $($($usual => Some($name),)?)*
                    _ => None,
                }
            }

            /// What the node calls the setting of this name.
            pub fn usual_name(name: &str) -> Option<&'static str> {
                match name {
                    $($($name => Some($usual),)?)*
                    _ => None,
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    #![expect(unreachable_pub, reason = "the macro makes what others can see")]

    settings! {
        /// For the tests.
        Sample {
            size: i32 = 7, "size" or "log.size" in 1..=9;
            on: bool = false, "on";
        }
    }

    #[test]
    fn settings_are_read_and_shown_by_name() {
        assert_eq!(Sample::NAMES.len(), 2);
        let mut sample = Sample::default();
        assert_eq!(sample.set("size", " 9 "), Ok(()));
        assert_eq!(sample.set("on", "TRUE"), Ok(()));
        assert_eq!(sample, Sample { size: 9, on: true });
        assert_eq!((sample.get("size").as_deref(), sample.get("sise")), (Some("9"), None));
        assert_eq!((Sample::name_of_usual("log.size"), Sample::usual_name("on")), (Some("size"), None));
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        let refused = |name, text| Sample::default().set(name, text).unwrap_err().to_string();
        assert_eq!(refused("sise", "1"), "unknown setting 'sise'");
        assert_eq!(refused("size", "0"), "invalid value '0' for setting 'size': must be within 1..=9");
        assert_eq!(refused("on", "1"), "invalid value '1' for setting 'on': write true or false");
    }
}
