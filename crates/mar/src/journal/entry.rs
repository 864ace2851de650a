//! One line of a journal, and how it is written into a file.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use pilvi_model::{Error, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest text of one entry. What is longer is told in several.
pub const TEXT_MAX_BYTES: usize = 10_000;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
    /// What the router did with requests to the app.
    Router,
    /// What the platform did with the app's processes.
    System,
}

impl Stream {
    pub const ALL: [Self; 4] = [Self::Stdout, Self::Stderr, Self::Router, Self::System];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Router => "router",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Stream {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|stream| stream.as_str() == text)
            .ok_or_else(|| Error::invalid("stream", "must be stdout, stderr, router or system"))
    }
}

/// One line of an app's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub time: Timestamp,
    pub stream: Stream,
    /// The process that it is about, such as `web.1`, or a part of the platform, such as `router`.
    pub process: String,
    pub text: String,
}

/// The spelling in a segment file. The names are short since they are written with every line.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    t: u64,
    s: Stream,
    #[serde(borrow)]
    p: Cow<'a, str>,
    #[serde(borrow)]
    l: Cow<'a, str>,
}

impl Entry {
    /// One line of JSON with its line end.
    pub(super) fn to_line(&self) -> Vec<u8> {
        let written = Written {
            t: self.time.as_millis(),
            s: self.stream,
            p: Cow::Borrowed(&self.process),
            l: Cow::Borrowed(&self.text),
        };
        let mut line =
            serde_json::to_vec(&written).expect("numbers and texts can always be written as JSON");
        line.push(b'\n');
        line
    }

    /// Reads a line without its line end. `None` for what a crash has torn.
    pub(super) fn from_line(line: &[u8]) -> Option<Self> {
        let written: Written<'_> = serde_json::from_slice(line).ok()?;
        Some(Self {
            time: Timestamp::from_millis(written.t),
            stream: written.s,
            process: written.p.into_owned(),
            text: written.l.into_owned(),
        })
    }
}

/// Bytes of a program as texts that an entry may hold: invalid UTF-8 replaced, and every control character that could
/// do something to a terminal replaced by its picture. Tabs and colours stay. An empty line is one empty text.
pub(super) fn texts(raw: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(raw);
    let harmless = harmless(&text);
    if harmless.len() <= TEXT_MAX_BYTES {
        return vec![harmless.into_owned()];
    }
    let mut rest: &str = &harmless;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(TEXT_MAX_BYTES));
        pieces.push(piece.to_owned());
        rest = after;
    }
    pieces
}

/// The text with a picture (U+2400 and up) in place of each control character, except tabs and colour sequences.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let kept = if character == '\u{1b}' {
            colour(rest)
        } else {
            0
        };
        if kept > 0 {
            clean.push_str(&rest[..kept]);
            rest = &rest[kept..];
            continue;
        }
        clean.push(match character {
            '\t' => '\t',
            '\u{7f}' => '\u{2421}',
            '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character))
                .expect("the block of control pictures has one for each of them"),
            '\u{80}'..='\u{9f}' => char::REPLACEMENT_CHARACTER,
            other => other,
        });
        rest = &rest[character.len_utf8()..];
    }
    Cow::Owned(clean)
}

/// How many bytes of `text`, which starts with an escape, are one colour sequence: `ESC [ digits and ; m`.
fn colour(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else {
        return 0;
    };
    let length = parameters
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b';')
        .count();
    match parameters.as_bytes().get(length) {
        Some(b'm') if length <= 32 => 2 + length + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_survives_its_file() {
        let entry = Entry {
            time: Timestamp::from_millis(1_372_437_512_369),
            stream: Stream::Stderr,
            process: "web.1".into(),
            text: "say \"hi\"\\ to \u{2400} and ü\t".into(),
        };
        let line = entry.to_line();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(Entry::from_line(line.trim_ascii_end()), Some(entry.clone()));
        for length in 0..line.len() - 1 {
            assert_eq!(Entry::from_line(&line[..length]), None, "torn at {length}");
        }
    }

    #[test]
    fn what_a_program_writes_does_nothing_to_a_terminal() {
        for (raw, text) in [
            (&b"plain"[..], "plain"),
            (b"", ""),
            (b"a\tb", "a\tb"),
            (b"\x1b[1;31mred\x1b[0m", "\u{1b}[1;31mred\u{1b}[0m"),
            (b"\x1b[2Jcleared", "\u{241b}[2Jcleared"),
            (b"\x1b]0;title\x07", "\u{241b}]0;title\u{2407}"),
            (b"over\rwritten", "over\u{240d}written"),
            (b"\0\x7f", "\u{2400}\u{2421}"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            ("\u{9b}2J".as_bytes(), "\u{fffd}2J"),
        ] {
            assert_eq!(texts(raw), [text], "{raw:?}");
        }
    }

    #[test]
    fn no_text_is_longer_than_the_limit_even_when_replacing_makes_it_longer() {
        let pieces = texts(&[0; TEXT_MAX_BYTES]);
        assert_eq!(pieces.len(), 4);
        assert!(pieces.iter().all(|piece| piece.len() <= TEXT_MAX_BYTES));
        let characters: usize = pieces.iter().map(|piece| piece.chars().count()).sum();
        assert_eq!(characters, TEXT_MAX_BYTES);
    }
}
