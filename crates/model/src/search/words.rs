//! What a word is: text is split by the rules of Unicode, once more at punctuation within, and written in lower case.
//!
//! `Don't e-mail me@example.com!` has the words `don t e mail me example com`. A phrase is split the same way, so
//! what looks like one word there and becomes several is found where they follow each other. Scripts without blanks
//! are split into characters, or into what Unicode takes for words there. Nothing is stemmed and no accent is taken
//! away.

use unicode_segmentation::UnicodeSegmentation;

/// Of a longer word only so many characters count.
pub const WORD_CHARS_MAX: usize = 64;

/// The words of a text, in order. They consist of ASCII letters and digits and of characters beyond ASCII.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    text.unicode_words()
        .flat_map(|word| word.split(separates))
        .filter(|piece| piece.contains(char::is_alphanumeric))
        .map(fold)
}

/// Unicode keeps `example.com` and `snake_case` together, and `don’t`; who looks for a part of it expects to find it.
fn separates(character: char) -> bool {
    match character {
        '\0'..='\x7f' => !character.is_ascii_alphanumeric(),
        // General punctuation.
        '\u{2000}'..='\u{206f}' => true,
        _ => false,
    }
}

/// The spelling that is compared. Character by character, so that the beginning of a word is spelled like the beginning
/// of a longer one; the Greek sigma is the letter for which that is not so otherwise.
fn fold(piece: &str) -> String {
    piece
        .chars()
        // A soft hyphen is not seen.
        .filter(|character| *character != '\u{ad}')
        .flat_map(char::to_lowercase)
        .map(|character| if character == 'ς' { 'σ' } else { character })
        .take(WORD_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        words(text).collect()
    }

    #[test]
    fn text_is_split_at_whatever_is_no_letter() {
        let split = |text| split(text).join(" ");
        assert_eq!(
            split("Don't e-mail me@example.com!"),
            "don t e mail me example com"
        );
        assert_eq!(split("snake_case 3.14 don’t"), "snake case 3 14 don t");
        assert_eq!(split(" \t\n!?()[]{}+*/ 🎈 "), "");
        assert_eq!(split("Ärger ÜBER Straße"), "ärger über straße");
        assert_eq!(split("ΟΔΟΣ οδός"), "οδοσ οδόσ");
        assert_eq!(split("東京タワー"), "東 京 タワー");
        assert_eq!(
            split("soft\u{ad}hyphen zero\u{200d}width"),
            "softhyphen zero width"
        );
    }

    #[test]
    fn a_word_says_nothing_that_an_index_could_take_for_syntax() {
        let every: String = (0..=0x2_ffff_u32).filter_map(char::from_u32).collect();
        for text in [
            every.clone(),
            every.chars().map(|c| format!("a{c}b ")).collect(),
        ] {
            for word in words(&text) {
                assert!(
                    word.chars()
                        .all(|c| c.is_ascii_alphanumeric() || !c.is_ascii()),
                    "{word:?}"
                );
                assert!(!word.is_empty() && !word.contains(char::is_whitespace));
                assert!(word.chars().count() <= WORD_CHARS_MAX);
                assert!(!word.contains(|c: char| c.is_ascii_uppercase()));
            }
        }
    }

    #[test]
    fn a_folded_word_stays_as_it_is() {
        let every: String = (0..=0x1_ffff_u32)
            .filter_map(char::from_u32)
            .map(|character| format!("{character} "))
            .collect();
        for word in words(&every) {
            let again: Vec<String> = words(&word).collect();
            assert_eq!(again, [word]);
        }
    }
}
