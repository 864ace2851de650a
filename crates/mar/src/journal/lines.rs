//! Output of a program, cut into lines with a constant amount of memory.

use super::entry::TEXT_MAX_BYTES;

/// Collects what a program writes until a line is whole, or as long as a line may be.
#[derive(Debug, Default)]
pub(crate) struct LineCutter {
    /// The beginning of a line whose end has not come yet; never longer than [`TEXT_MAX_BYTES`].
    begun: Vec<u8>,
}

impl LineCutter {
    /// Takes the next bytes and gives every line that is whole now, without its line end.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.take(&bytes[..end], &mut each);
            each(without_return(&self.begun));
            self.begun.clear();
            bytes = &bytes[end + 1..];
        }
        self.take(bytes, &mut each);
    }

    /// Gives what was begun and has no end, when the program has closed its output.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            each(without_return(&self.begun));
            self.begun.clear();
        }
    }

    /// Adds a part of a line. What is too long for one line leaves in pieces, cut between characters.
    fn take(&mut self, mut part: &[u8], each: &mut impl FnMut(&[u8])) {
        while self.begun.len() + part.len() > TEXT_MAX_BYTES {
            let room = TEXT_MAX_BYTES - self.begun.len();
            self.begun.extend_from_slice(&part[..room]);
            part = &part[room..];
            let cut = character_boundary(&self.begun);
            each(&self.begun[..cut]);
            self.begun.drain(..cut);
        }
        self.begun.extend_from_slice(part);
    }
}

/// Where to cut so that no UTF-8 character is torn: at most three bytes before the end.
fn character_boundary(bytes: &[u8]) -> usize {
    let length = bytes.len();
    (1..=3.min(length))
        .find_map(|back| {
            let byte = bytes[length - back];
            let needs = match byte {
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf7 => 4,
                0x80..=0xbf => return None,
                _ => 1,
            };
            Some(if needs > back { length - back } else { length })
        })
        .unwrap_or(length)
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut cutter = LineCutter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            cutter.feed(chunk, |line| lines.push(line.to_vec()));
        }
        cutter.finish(|line| lines.push(line.to_vec()));
        lines
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let whole = b"one\r\n\ntwo\nthree";
        let expected = [&b"one"[..], b"", b"two", b"three"];
        assert_eq!(lines(&[whole]), expected);
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(lines(&bytes), expected);
    }

    #[test]
    fn an_endless_line_is_cut_between_characters_and_takes_no_memory() {
        let mut cutter = LineCutter::default();
        let chunk = "aü€😀".repeat(1000);
        let mut told = String::new();
        for _ in 0..1000 {
            cutter.feed(chunk.as_bytes(), |line| {
                assert!(line.len() <= TEXT_MAX_BYTES && line.len() > TEXT_MAX_BYTES - 4);
                if told.len() < 100_000 {
                    told.push_str(std::str::from_utf8(line).expect("cut between characters"));
                }
            });
            assert!(cutter.begun.capacity() <= 2 * TEXT_MAX_BYTES);
        }
        assert!(chunk.repeat(20).starts_with(&told));
    }

    #[test]
    fn what_is_no_text_at_all_is_cut_as_well() {
        let pieces = lines(&[&[0xbf; 25_000]]);
        assert_eq!(pieces.iter().map(Vec::len).sum::<usize>(), 25_000);
        assert!(pieces.iter().all(|piece| piece.len() <= TEXT_MAX_BYTES));
    }
}
