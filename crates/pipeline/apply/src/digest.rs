//! The digest of what apply emits, from which the output hash is made. It tells apart what differs by accident; it is
//! no defence against anybody who chooses the bytes.

/// Odd constants whose bits look like chance: the golden ratio and the square root of 3, as 64-bit fractions.
const SPREAD: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xBB67_AE85_84CA_A73B];

/// Adds a word: every earlier word reaches every bit of the result in a few rounds.
pub(crate) const fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(23) ^ word).wrapping_mul(SPREAD[0])
}

/// Digest of whole words: each pair goes into one multiplication of 128 bits, whose halves are folded together (Wang Yi,
/// *wyhash*, 2019). One that makes a factor zero, one in 2^64, hides what came before it.
///
/// # Panics
/// If `bytes` is no multiple of 8.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
    let mut pairs = bytes.chunks_exact(16);
    let start = mix(SPREAD[0], bytes.len() as u64);
    let hash = pairs
        .by_ref()
        .fold(start, |hash, pair| multiply_fold(hash ^ word(&pair[..8]), SPREAD[1] ^ word(&pair[8..])));
    let rest = pairs.remainder();
    if rest.is_empty() { hash } else { multiply_fold(hash ^ word(rest), SPREAD[1]) }
}

fn multiply_fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Frames differ in a bit, in the order of their words, or in how many zeros follow.
    #[test]
    fn frames_that_differ_a_little_have_other_digests() {
        let mut seen = BTreeSet::new();
        let mut count = 0;
        let mut note = |bytes: &[u8]| {
            seen.insert(digest(bytes));
            count += 1;
        };
        for words in 0..12_usize {
            note(&vec![0; words * 8]);
            for bit in 0..words * 64 {
                let mut bytes = vec![0; words * 8];
                bytes[bit / 8] = 1 << (bit % 8);
                note(&bytes);
            }
        }
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn words_do_not_change_places_unseen() {
        let frame = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        assert_ne!(digest(&frame(&[1, 2, 3])), digest(&frame(&[3, 2, 1])));
        assert_ne!(digest(&frame(&[1, 2])), digest(&frame(&[2, 1])));
        assert_ne!(mix(mix(0, 1), 2), mix(mix(0, 2), 1));
    }
}
