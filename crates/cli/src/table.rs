//! Tables that fit the terminal.

use std::borrow::Cow;

use crate::screen::{Ink, Look, painted, readable};

/// Between two columns.
const GAP: usize = 2;
/// No column is made narrower.
const NARROWEST: usize = 6;

/// A column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    title: Cow<'static, str>,
    /// Whether a narrow terminal may cut its texts short. Ids are never cut: half an id is of no use.
    may_shrink: bool,
}

/// A column that is always shown in full.
pub(crate) const fn whole(title: &'static str) -> Column {
    Column {
        title: Cow::Borrowed(title),
        may_shrink: false,
    }
}

/// A column that a narrow terminal may cut short.
pub(crate) const fn elastic(title: &'static str) -> Column {
    Column {
        title: Cow::Borrowed(title),
        may_shrink: true,
    }
}

/// The same with a title that somebody else chose.
pub(crate) fn elastic_named(title: &str) -> Column {
    Column {
        title: readable(title).into(),
        may_shrink: true,
    }
}

/// Rows under titles. The titled `STATE` is coloured by its meaning.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, which has as many cells as there are columns.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.row_of(cells);
    }

    /// The same where the number of columns depends on what is shown.
    pub(crate) fn row_of(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| readable(&cell)).collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    pub(crate) fn lines(&self, look: Look) -> Vec<String> {
        let widths = self.widths(look.width);
        let titles = self.columns.iter().map(|column| column.title.to_string());
        let head = self.line(&titles.collect::<Vec<_>>(), &widths, |_, text| {
            painted(look, Ink::Title, text)
        });
        let rows = self.rows.iter().map(|row| {
            self.line(row, &widths, |column, text| {
                let ink = match &*column.title {
                    "STATE" => Ink::of_state(text.trim_end()),
                    _ => Ink::Plain,
                };
                painted(look, ink, text)
            })
        });
        std::iter::once(head).chain(rows).collect()
    }

    fn line(
        &self,
        cells: &[String],
        widths: &[usize],
        paint: impl Fn(&Column, &str) -> String,
    ) -> String {
        let last = cells.len() - 1;
        let cells = cells.iter().zip(&self.columns).zip(widths);
        let painted = cells.enumerate().map(|(at, ((cell, column), width))| {
            let text = cut(cell, *width);
            let blanks = match at {
                at if at == last => 0,
                _ => width - width_of(&text) + GAP,
            };
            paint(column, &text) + &" ".repeat(blanks)
        });
        painted.collect::<String>().trim_end().to_owned()
    }

    /// What each column needs; where that is too much, the widest of those that may shrink gives way, again and again.
    fn widths(&self, available: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns.len()).map(|at| self.needs(at)).collect();
        let Some(available) = available else {
            return widths;
        };
        let gaps = GAP * (widths.len() - 1);
        while widths.iter().sum::<usize>() + gaps > available {
            let elastic = widths.iter_mut().zip(&self.columns);
            let widest = elastic
                .filter(|(width, column)| column.may_shrink && **width > NARROWEST)
                .map(|(width, _)| width)
                .max();
            match widest {
                Some(width) => *width -= 1,
                None => break,
            }
        }
        widths
    }

    fn needs(&self, at: usize) -> usize {
        let cells = self.rows.iter().map(|row| width_of(&row[at]));
        let title = width_of(&self.columns[at].title);
        cells.max().unwrap_or(0).max(title)
    }
}

/// `text` in at most `width` columns; what was cut off is told by an ellipsis.
fn cut(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += width_of_char(c);
        if used > width {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

fn width_of(text: &str) -> usize {
    text.chars().map(width_of_char).sum()
}

/// Columns that a terminal gives to a character: none to combining marks, two to the scripts and signs of East Asia and
/// to pictures.
fn width_of_char(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036F | 0x200B..=0x200F | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0x303E
        | 0x3041..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1FAFF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&[whole("ID"), elastic("NAME"), whole("STATE")]);
        table.row(["mar-eu-1-twwto7g0".into(), "echo".into(), "running".into()]);
        table.row([
            "mar-eu-1-1lcyazw4".into(),
            "世界 and a long name".into(),
            "crashed".into(),
        ]);
        table
    }

    fn at(width: Option<usize>) -> Vec<String> {
        sample().lines(Look {
            width,
            ..Look::default()
        })
    }

    #[test]
    fn a_file_gets_every_line_in_full() {
        assert_eq!(
            at(None),
            [
                "ID                 NAME                  STATE",
                "mar-eu-1-twwto7g0  echo                  running",
                "mar-eu-1-1lcyazw4  世界 and a long name  crashed",
            ]
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_names_but_never_ids() {
        assert_eq!(
            at(Some(40)),
            [
                "ID                 NAME          STATE",
                "mar-eu-1-twwto7g0  echo          running",
                "mar-eu-1-1lcyazw4  世界 and a …  crashed",
            ]
        );
        assert_eq!(at(Some(10))[2], "mar-eu-1-1lcyazw4  世界 …  crashed");
    }

    #[test]
    fn a_state_has_its_colour() {
        let look = Look {
            colour: true,
            ..Look::default()
        };
        let lines = sample().lines(look);
        assert!(lines[1].ends_with("\x1b[32mrunning\x1b[0m"), "{lines:?}");
        assert!(lines[2].ends_with("\x1b[31mcrashed\x1b[0m"), "{lines:?}");
    }
}
