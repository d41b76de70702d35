//! Tables for people, JSON for programs.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Output {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Something with a line of its own in a table.
pub(super) trait Row {
    const TITLES: &'static [&'static str];
    fn cells(&self) -> Vec<String>;
}

impl Output {
    /// A table of rows, or a JSON array of them.
    pub(super) fn rows<R: Row + Serialize>(self, rows: &[R]) -> io::Result<()> {
        match self.json {
            true => self.json(&rows),
            false => io::stdout().write_all(table(rows).as_bytes()),
        }
    }

    pub(super) fn json(self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        writeln!(io::stdout(), "{text}")
    }
}

/// Columns as wide as their widest cell; those of numbers are aligned to the right.
pub(super) fn table<R: Row>(rows: &[R]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(R::cells).collect();
    let columns: Vec<Column> =
        R::TITLES.iter().enumerate().map(|(at, title)| Column::of(at, title, &rows)).collect();
    let mut text = String::new();
    let titles: Vec<String> = R::TITLES.iter().map(|title| (*title).to_owned()).collect();
    for row in std::iter::once(&titles).chain(&rows) {
        let cells = columns.iter().zip(row).map(|(column, cell)| column.pad(cell));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

struct Column {
    width: usize,
    is_number: bool,
}

impl Column {
    fn of(at: usize, title: &str, rows: &[Vec<String>]) -> Column {
        let cells = || rows.iter().map(|row| row[at].as_str());
        let width = cells().chain([title]).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let is_number = |cell: &str| cell == "-" || cell.parse::<f64>().is_ok();
        Column { width, is_number: !rows.is_empty() && cells().all(is_number) }
    }

    fn pad(&self, cell: &str) -> String {
        match self.is_number {
            true => format!("{cell:>0$}", self.width),
            false => format!("{cell:<0$}", self.width),
        }
    }
}

/// A cell for what may be missing.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lag(&'static str, Option<i64>);

    impl Row for Lag {
        const TITLES: &'static [&'static str] = &["topic", "lag"];

        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), or_dash(self.1)]
        }
    }

    #[test]
    fn words_stand_left_and_numbers_right() {
        let rows = [Lag("orders", Some(7)), Lag("ñ", Some(1200)), Lag("refunds", None)];
        assert_eq!(table(&rows), "topic     lag\norders      7\nñ        1200\nrefunds     -\n");
        assert_eq!(table::<Lag>(&[]), "topic  lag\n");
    }
}
