//! The ways in which a stream may be cut on its way here.

use crate::Random;

/// The input whole, byte by byte, and cut at random places that depend on the input alone.
pub(crate) fn cuts(input: &[u8]) -> [Vec<&[u8]>; 4] {
    let seed = input.iter().fold(input.len() as u64, |sum, &byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    [
        vec![input],
        input.chunks(1).collect(),
        random_cut(input, &mut Random::new(seed), 5),
        random_cut(input, &mut Random::new(seed), 200),
    ]
}

fn random_cut<'a>(mut input: &'a [u8], random: &mut Random, longest: usize) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !input.is_empty() {
        let (piece, rest) = input.split_at((1 + random.below(longest)).min(input.len()));
        pieces.push(piece);
        input = rest;
    }
    pieces
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_cut_loses_nothing() {
        let input: Vec<u8> = (0..=255).collect();
        for pieces in super::cuts(&input) {
            assert_eq!(pieces.concat(), input);
        }
    }
}
