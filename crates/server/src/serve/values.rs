//! Sizes, times and lists of names, as people write them.

use serde::Deserialize;

/// A number of bytes, as people write it: `512M` and `512MiB` are mebibytes, `512MB` are megabytes, as in RabbitMQ.
/// In the file it may be a bare number too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "SizeAsWritten")]
pub(super) struct Size(pub(super) usize);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number of bytes, or text such as \"512M\"")]
enum SizeAsWritten {
    Bytes(usize),
    Text(String),
}

/// Names as people list them: with commas between, or as a list in the file. `none` is none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "NamesAsWritten")]
pub(super) struct Names(pub(super) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum NamesAsWritten {
    Text(String),
    List(Vec<String>),
}

/// Milliseconds, as people write them; `None` for no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Timeout(pub(super) Option<u64>);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let unreadable = || "write a number of bytes, or one followed by K, M or G".to_owned();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "" | "B" => 1,
            "K" | "KIB" => 1 << 10,
            "M" | "MIB" => 1 << 20,
            "G" | "GIB" => 1 << 30,
            "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return Err(unreadable()),
        };
        let number: usize = digits.parse().map_err(|_| unreadable())?;
        let bytes = number.checked_mul(unit).ok_or("that is more than this machine can count")?;
        Ok(Size(bytes))
    }
}

impl std::str::FromStr for Names {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Names, Self::Err> {
        Ok(NamesAsWritten::Text(text.to_owned()).into())
    }
}

impl From<NamesAsWritten> for Names {
    fn from(written: NamesAsWritten) -> Names {
        match written {
            NamesAsWritten::List(names) => Names(names),
            NamesAsWritten::Text(text) if text.trim() == "none" => Names(Vec::new()),
            NamesAsWritten::Text(text) => Names(
                text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
            ),
        }
    }
}

impl std::str::FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Timeout, String> {
        if text == "off" {
            return Ok(Timeout(None));
        }
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit_ms = match &text[digits.len()..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            // Nothing is nothing in any unit.
            "" if digits == "0" => 1,
            _ => return Err("write a number followed by ms, s, m or h, or `off`".to_owned()),
        };
        let number: u64 = digits.parse().map_err(|_| format!("'{digits}' is not a whole number"))?;
        let ms = number.checked_mul(unit_ms).ok_or("that is more than this machine can count")?;
        Ok(Timeout(Some(ms).filter(|&ms| ms > 0)))
    }
}

impl TryFrom<String> for Timeout {
    type Error = String;

    fn try_from(text: String) -> Result<Timeout, String> {
        text.parse()
    }
}

impl TryFrom<SizeAsWritten> for Size {
    type Error = String;

    fn try_from(written: SizeAsWritten) -> Result<Size, String> {
        match written {
            SizeAsWritten::Bytes(bytes) => Ok(Size(bytes)),
            SizeAsWritten::Text(text) => text.parse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("7", 7),
            ("9B", 9),
            ("2K", 2048),
            ("3g", 3 << 30),
            ("1GiB", 1 << 30),
            ("256M", 256 << 20),
            ("50MB", 50_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "M", "2T", "-1", "1.5G", "99999999999G", "1MBB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_read_as_people_write_them() {
        for (text, ms) in
            [("7ms", Some(7)), ("90s", Some(90_000)), ("1m", Some(60_000)), ("0", None), ("off", None)]
        {
            assert_eq!(text.parse(), Ok(Timeout(ms)), "{text}");
        }
        for text in ["", "5", "m", "-1s", "1.5h", "1d", "99999999999999999h", "OFF"] {
            assert!(text.parse::<Timeout>().is_err(), "{text}");
        }
    }
}
