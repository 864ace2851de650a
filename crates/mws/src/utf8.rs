//! Checks that a text is UTF-8 while it arrives in pieces.

/// How far into a character the text seen so far has come. Starts between characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Utf8 {
    /// Bytes that the current character still lacks.
    missing: u8,
    /// The narrowest range that the next byte may come from: it rules out overlong forms, surrogates
    /// and what lies beyond U+10FFFF.
    low: u8,
    high: u8,
}

impl Utf8 {
    /// Takes the next byte. False: no text continues like this.
    pub(crate) fn accept(&mut self, byte: u8) -> bool {
        if self.missing > 0 {
            let fits = (self.low..=self.high).contains(&byte);
            *self = Self::awaiting(self.missing - 1, 0x80, 0xBF);
            return fits;
        }
        *self = match byte {
            0x00..=0x7F => return true,
            0xC2..=0xDF => Self::awaiting(1, 0x80, 0xBF),
            0xE0 => Self::awaiting(2, 0xA0, 0xBF),
            0xE1..=0xEC | 0xEE..=0xEF => Self::awaiting(2, 0x80, 0xBF),
            0xED => Self::awaiting(2, 0x80, 0x9F),
            0xF0 => Self::awaiting(3, 0x90, 0xBF),
            0xF1..=0xF3 => Self::awaiting(3, 0x80, 0xBF),
            0xF4 => Self::awaiting(3, 0x80, 0x8F),
            _ => return false,
        };
        true
    }

    /// Takes the next bytes, many at a time where it can.
    pub(crate) fn accept_all(&mut self, mut bytes: &[u8]) -> bool {
        while !self.is_complete() {
            let Some((byte, rest)) = bytes.split_first() else {
                return true;
            };
            if !self.accept(*byte) {
                return false;
            }
            bytes = rest;
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) => {
                let (_, rest) = bytes.split_at(error.valid_up_to());
                rest.iter().all(|byte| self.accept(*byte))
            }
        }
    }

    /// Whether a text may end here.
    pub(crate) fn is_complete(self) -> bool {
        self.missing == 0
    }

    fn awaiting(missing: u8, low: u8, high: u8) -> Self {
        Self { missing, low, high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_text(bytes: &[u8]) -> bool {
        let mut check = Utf8::default();
        bytes.iter().all(|byte| check.accept(*byte)) && check.is_complete()
    }

    #[test]
    fn agrees_with_the_standard_library_on_every_short_sequence_of_telling_bytes() {
        let telling = [
            0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0,
            0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF,
        ];
        for a in telling {
            for b in telling {
                for c in telling {
                    for d in telling {
                        let bytes = [a, b, c, d];
                        assert_eq!(
                            is_text(&bytes),
                            std::str::from_utf8(&bytes).is_ok(),
                            "{bytes:02x?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn many_bytes_at_once_are_judged_as_one_by_one() {
        let text = "aé€🎈z".as_bytes();
        let mut wrong = text.to_vec();
        for at in 0..text.len() {
            for replaced in [text[at], 0x80, 0xC3, 0xFF] {
                wrong.copy_from_slice(text);
                wrong[at] = replaced;
                for cut in 0..=text.len() {
                    let (left, right) = wrong.split_at(cut);
                    let mut check = Utf8::default();
                    let accepted = check.accept_all(left) && check.accept_all(right);
                    assert_eq!(
                        accepted && check.is_complete(),
                        is_text(&wrong),
                        "{wrong:02x?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_text_cannot_end_within_a_character() {
        for (text, complete) in [("é", 1), ("€", 2), ("🎈", 3)] {
            let bytes = text.as_bytes();
            assert!(is_text(bytes));
            assert!(!is_text(&bytes[..complete]), "{text}");
        }
    }
}
