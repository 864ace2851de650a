//! Makes the output of other people's programs harmless for a terminal, and cuts it into lines, without losing text.

use std::fmt::Write;

/// A longer line is shown as several.
pub(super) const LINE_MAX_BYTES: usize = 4096;

/// Cuts a stream of bytes into lines: at `\n`, `\r\n` and `\r`, the last of which progress bars use.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    /// The last byte was a `\r`, so a `\n` that follows belongs to it.
    after_return: bool,
}

impl Lines {
    /// Gives every line that `bytes` complete to `each`.
    pub(super) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for &byte in bytes {
            let belongs_to_return = byte == b'\n' && std::mem::take(&mut self.after_return);
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if belongs_to_return => {}
                b'\n' | b'\r' => {
                    each(&self.begun);
                    self.begun.clear();
                }
                _ => self.push(byte, &mut each),
            }
        }
    }

    fn push(&mut self, byte: u8, each: &mut impl FnMut(&[u8])) {
        // Not within a character, of which the first byte is none of 10xxxxxx.
        if self.begun.len() >= LINE_MAX_BYTES
            && (byte & 0xC0 != 0x80 || self.begun.len() >= LINE_MAX_BYTES + 4)
        {
            each(&self.begun);
            self.begun.clear();
        }
        self.begun.push(byte);
    }

    /// The line that has no end, if there is one.
    pub(super) fn finish(&mut self) -> Option<Vec<u8>> {
        self.after_return = false;
        (!self.begun.is_empty()).then(|| std::mem::take(&mut self.begun))
    }
}

/// A line as text that no terminal obeys. Colours are left out, every other control character is made visible, and
/// bytes that are not UTF-8 are written as `\xff`.
pub(super) fn tame(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        tame_text(chunk.valid(), &mut text);
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn tame_text(mut rest: &str, text: &mut String) {
    while let Some(next) = rest.chars().next() {
        if let Some(length) = colour(rest) {
            rest = &rest[length..];
            continue;
        }
        match next {
            '\t' => text.push(next),
            '\0'..='\x1f' | '\x7f' => {
                text.push('^');
                text.push(char::from(next as u8 ^ 0x40));
            }
            // The other block of controls, and what turns the direction of writing.
            '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(text, "\\u{{{:x}}}", u32::from(next));
            }
            _ => text.push(next),
        }
        rest = &rest[next.len_utf8()..];
    }
}

/// The length of the sequence that sets a colour (`ESC [ 1 ; 31 m`) at the start of `text`.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut cutter = Lines::default();
        let mut found = Vec::new();
        for piece in pieces {
            cutter.feed(piece, |line| found.push(tame(line)));
        }
        found.extend(cutter.finish().map(|line| tame(&line)));
        found
    }

    #[test]
    fn every_kind_of_line_end_ends_a_line() {
        assert_eq!(lines(&[b"a\nb\r\nc\rd"]), ["a", "b", "c", "d"]);
        assert_eq!(lines(&[b"a\r", b"\nb\n"]), ["a", "b"]);
        assert_eq!(lines(&[b"a\n\nb\r\r"]), ["a", "", "b", ""]);
        assert_eq!(lines(&[b"a", b"b", b"c"]), ["abc"]);
        assert_eq!(lines(&[b""]), Vec::<String>::new());
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_nothing_is_lost() {
        let long = "ä".repeat(LINE_MAX_BYTES);
        let found = lines(&[b"x", long.as_bytes(), b"\nend"]);
        assert!(found.iter().all(|line| line.len() <= LINE_MAX_BYTES + 4));
        assert!(found.len() >= 3);
        assert_eq!(found.concat(), format!("x{long}end"));
        // Bytes that look like the middle of a character for ever.
        let found = lines(&[&[0x80; 3 * LINE_MAX_BYTES]]);
        assert_eq!(found.concat(), "\\x80".repeat(3 * LINE_MAX_BYTES));
        assert!(found.len() >= 2);
    }

    #[test]
    fn a_terminal_obeys_nothing_of_it() {
        for (line, shown) in [
            (&b"plain \tt\xc3\xa4xt"[..], "plain \ttäxt"),
            (
                b"\x1b[31mred\x1b[0m and \x1b[1;38;5;9mbold\x1b[m",
                "red and bold",
            ),
            (b"\x1b[2Jgone", "^[[2Jgone"),
            (b"\x1b]0;title\x07", "^[]0;title^G"),
            (b"\x1b[12", "^[[12"),
            (b"a\x08b\x00c\x7f", "a^Hb^@c^?"),
            (
                "\u{9b}31m \u{202e}abc".as_bytes(),
                "\\u{9b}31m \\u{202e}abc",
            ),
            (b"latin \xe9\x9b end", "latin \\xe9\\x9b end"),
        ] {
            assert_eq!(tame(line), shown);
        }
    }
}
