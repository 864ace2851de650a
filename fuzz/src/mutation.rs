//! From an input to another that resembles it.

use crate::Random;

/// Mutants do not grow beyond this; what must be larger comes from the target's generator.
const MUTANT_BYTES_MAX: usize = 8 << 10;

/// Bytes at which parsers change their minds.
const TELLING: [u8; 20] = [
    0, 1, 9, b'\n', b'\r', b' ', b'"', b'$', b'%', b',', b'-', b'.', b'/', b'0', b':', b';', b'{',
    0x7F, 0x80, 0xFF,
];

/// Numbers at which sizes change their spelling or their fate.
const NUMBERS: [&str; 16] = [
    "0",
    "1",
    "-1",
    "7",
    "125",
    "126",
    "127",
    "128",
    "255",
    "256",
    "65535",
    "65536",
    "2147483648",
    "9007199254740993",
    "18446744073709551615",
    "99999999999999999999",
];

/// One to eight changes to `base`, some of which take from `other` or from the words of the language.
pub(crate) fn mutate(random: &mut Random, base: &[u8], other: &[u8], words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = base[..base.len().min(MUTANT_BYTES_MAX)].to_vec();
    for _ in 0..1 << random.below(4) {
        change(random, &mut bytes, other, words);
    }
    bytes.truncate(MUTANT_BYTES_MAX);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8], words: &[Vec<u8>]) {
    let at = random.below(bytes.len() + 1);
    match random.below(11) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = *random.pick(&TELLING);
            }
        }
        2 => bytes.insert(at, *random.pick(&TELLING)),
        3 => bytes.insert(at, random.number() as u8),
        4 => drop(bytes.drain(stretch(random, at, bytes.len()))),
        5 => {
            let copy = bytes[stretch(random, at, bytes.len())].to_vec();
            let times = if random.one_in(8) {
                random.below(300)
            } else {
                1
            };
            let copies = copy.repeat(times.min(MUTANT_BYTES_MAX / copy.len().max(1)));
            bytes.splice(at..at, copies);
        }
        6 => {
            let from = random.below(other.len() + 1);
            let copy = &other[stretch(random, from, other.len())];
            bytes.splice(at..at, copy.iter().copied());
        }
        7 | 8 if !words.is_empty() => {
            let word = random.pick(words);
            let end = if random.one_in(2) {
                at
            } else {
                (at + word.len()).min(bytes.len())
            };
            bytes.splice(at..end, word.iter().copied());
        }
        9 => replace_number(random, bytes, at),
        _ => bytes.truncate(at),
    }
}

/// A stretch from `at`, mostly a short one.
fn stretch(random: &mut Random, at: usize, length: usize) -> std::ops::Range<usize> {
    let longest = if random.one_in(4) { length } else { 16 };
    at..(at + random.below(longest + 1)).min(length)
}

/// Writes another number over the next one behind `at`, if there is one.
fn replace_number(random: &mut Random, bytes: &mut Vec<u8>, at: usize) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let start = at + start;
    let digits = bytes[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = random.pick(&NUMBERS).bytes();
    bytes.splice(start..start + digits, number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_differ_stay_small_and_can_be_repeated() {
        let words = [b"word".to_vec()];
        let mutants = |seed| -> Vec<Vec<u8>> {
            let mut random = Random::new(seed);
            (0..2000)
                .map(|_| mutate(&mut random, b"base 12", b"other", &words))
                .collect()
        };
        let mut some = mutants(3);
        assert_eq!(some, mutants(3));
        assert!(some.iter().all(|mutant| mutant.len() <= MUTANT_BYTES_MAX));
        assert!(
            some.iter()
                .any(|mutant| mutant.windows(4).any(|part| part == b"word"))
        );
        some.sort();
        some.dedup();
        assert!(some.len() > 1000);
    }

    #[test]
    fn nothing_can_be_mutated_too() {
        let mut random = Random::new(1);
        for _ in 0..1000 {
            mutate(&mut random, b"", b"", &[]);
        }
    }
}
