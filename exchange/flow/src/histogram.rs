//! Counts of numbers in bounded memory, and how far apart two of them are.
//!
//! Numbers up to 63 have a bucket each; above, each power of two has 32, so that a bucket is at most 3 % wide. Negative
//! numbers mirror positive ones.

use crate::random::Random;
use std::collections::BTreeMap;

/// Numbers below have a bucket each.
const EXACT: u64 = 64;
/// Buckets of a power of two, as a power of two.
const SUB_BITS: u32 = 5;

/// Most of a distance.
pub const MILLION: u64 = 1_000_000;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: BTreeMap<i32, u64>,
    count: u64,
}

fn bucket(number: i64) -> i32 {
    let size = number.unsigned_abs();
    let at = if size < EXACT {
        size as i32
    } else {
        let power = size.ilog2();
        let sub = (size >> (power - SUB_BITS)) & ((1 << SUB_BITS) - 1);
        (EXACT + u64::from(power - EXACT.ilog2()) * (1 << SUB_BITS) + sub) as i32
    };
    if number < 0 { -at } else { at }
}

/// The smallest number of a bucket by size, and how many numbers it has.
fn span(bucket: i32) -> (u64, u64) {
    let at = u64::from(bucket.unsigned_abs());
    if at < EXACT {
        return (at, 1);
    }
    let (power, sub) = ((at - EXACT) >> SUB_BITS, (at - EXACT) & ((1 << SUB_BITS) - 1));
    let width = 2 << power;
    (EXACT.wrapping_shl(power as u32) + sub * width, width)
}

impl Histogram {
    /// Counts a number.
    pub fn add(&mut self, number: i64) {
        *self.buckets.entry(bucket(number)).or_default() += 1;
        self.count += 1;
    }

    /// Numbers counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// A number that `per_mille` of those counted are not above, the smallest of its bucket by size; 0 of none.
    #[must_use]
    pub fn quantile(&self, per_mille: u64) -> i64 {
        let wanted = (u128::from(self.count) * u128::from(per_mille)).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += u128::from(*count);
            if seen >= wanted {
                return signed(*bucket, span(*bucket).0);
            }
        }
        0
    }

    /// The distance of Kolmogorov and Smirnov: the largest difference of the shares that are not above a number, in
    /// millionths; none if either has no numbers.
    #[must_use]
    pub fn distance(&self, other: &Self) -> Option<u64> {
        let (mine, theirs) = (u128::from(self.count), u128::from(other.count));
        if mine == 0 || theirs == 0 {
            return None;
        }
        let buckets: BTreeMap<i32, ()> =
            self.buckets.keys().chain(other.buckets.keys()).map(|bucket| (*bucket, ())).collect();
        let at = |histogram: &Self, bucket| u128::from(histogram.buckets.get(bucket).copied().unwrap_or(0));
        let (mut below, mut below_theirs, mut most) = (0, 0, 0);
        for bucket in buckets.keys() {
            below += at(self, bucket);
            below_theirs += at(other, bucket);
            most = most.max((below * theirs).abs_diff(below_theirs * mine));
        }
        Some(share(most, mine * theirs))
    }

    /// What draws numbers as often as they were counted; within a bucket, evenly. None if nothing was counted.
    #[must_use]
    pub fn sampler(&self) -> Option<Sampler> {
        let mut sum = 0;
        let sums = self.buckets.iter().map(|(bucket, count)| {
            sum += count;
            (sum, *bucket)
        });
        (self.count > 0).then(|| Sampler(sums.collect()))
    }
}

fn signed(bucket: i32, size: u64) -> i64 {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    if bucket < 0 { -size } else { size }
}

/// A part of a whole, in millionths.
fn share(part: u128, whole: u128) -> u64 {
    // Both are products of two counts: taken down until the multiplication cannot overflow.
    let shift = 128u32.saturating_sub(part.leading_zeros() + 20);
    let shift = shift.saturating_sub(88);
    ((part >> shift) * u128::from(MILLION) / (whole >> shift).max(1)) as u64
}

/// How far apart two lists of counts by kind are: half the sum of the differences of their shares, in millionths; none
/// if either is empty.
#[must_use]
pub fn mix_distance(one: &[u64], other: &[u64]) -> Option<u64> {
    let total = |counts: &[u64]| counts.iter().map(|count| u128::from(*count)).sum::<u128>();
    let (mine, theirs) = (total(one), total(other));
    if mine == 0 || theirs == 0 {
        return None;
    }
    let differences =
        one.iter().zip(other).map(|(a, b)| (u128::from(*a) * theirs).abs_diff(u128::from(*b) * mine));
    Some(share(differences.sum::<u128>() / 2, mine * theirs))
}

/// Draws numbers. See [`Histogram::sampler`].
#[derive(Clone, Debug)]
pub struct Sampler(Vec<(u64, i32)>);

impl Sampler {
    /// A number.
    pub fn draw(&self, random: &mut Random) -> i64 {
        let (total, _) = *self.0.last().expect("something was counted");
        let place = random.below(total);
        let (_, bucket) = self.0[self.0.partition_point(|(sum, _)| *sum <= place)];
        let (least, width) = span(bucket);
        signed(bucket, least + random.below(width))
    }
}

/// Draws a place of a list of counts, as often as the counts say. None if all are 0.
pub fn draw_kind(counts: &[u64], random: &mut Random) -> Option<usize> {
    let total: u64 = counts.iter().sum();
    let mut place = random.below(total.max(1));
    counts.iter().position(|count| {
        let is_here = place < *count;
        place = place.wrapping_sub(*count);
        is_here
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(numbers: impl IntoIterator<Item = i64>) -> Histogram {
        let mut histogram = Histogram::default();
        numbers.into_iter().for_each(|number| histogram.add(number));
        histogram
    }

    #[test]
    fn distances_are_those_of_the_book() {
        let ten = of(0..10);
        assert_eq!(ten.distance(&ten), Some(0));
        assert_eq!(ten.distance(&of(5..15)), Some(500_000));
        assert_eq!(ten.distance(&of(-20..-10)), Some(MILLION));
        assert_eq!(of([1, 2]).distance(&of([1, 1, 1, 2])), Some(250_000));
        assert_eq!(ten.distance(&of([])), None);
        assert_eq!(mix_distance(&[1, 1, 2], &[2, 2, 4]), Some(0));
        assert_eq!(mix_distance(&[1, 0], &[0, 7]), Some(MILLION));
        assert_eq!(mix_distance(&[3, 1], &[1, 1]), Some(250_000));
        assert_eq!(mix_distance(&[u64::MAX / 2, 0], &[u64::MAX / 4, u64::MAX / 4]), Some(500_000));
    }

    #[test]
    fn quantiles_are_the_numbers_themselves_while_buckets_are_single() {
        let histogram = of(-50..50);
        assert_eq!(
            (histogram.quantile(10), histogram.quantile(500), histogram.quantile(1_000)),
            (-50, -1, 49)
        );
        assert_eq!(of([]).quantile(500), 0);
    }

    #[test]
    fn a_sampler_draws_what_was_counted() {
        let histogram = of((0..5_000).map(|number: i64| number * number % 7_919 - 300));
        let sampler = histogram.sampler().unwrap();
        let mut random = Random::new(1);
        let drawn = of((0..20_000).map(|_| sampler.draw(&mut random)));
        assert!(histogram.distance(&drawn).unwrap() < 15_000);
        assert!(of([]).sampler().is_none());
        let mut kinds = [0; 3];
        for _ in 0..4_000 {
            kinds[draw_kind(&[1, 0, 3], &mut random).unwrap()] += 1;
        }
        assert!(kinds[1] == 0 && mix_distance(&kinds, &[1, 0, 3]).unwrap() < 30_000, "{kinds:?}");
        assert_eq!(draw_kind(&[0, 0], &mut random), None);
    }

    proptest! {
        /// Every number lies in its bucket's span, buckets are in the order of numbers, and are at most 3 % wide.
        #[test]
        fn buckets_hold_their_numbers(number in any::<i64>(), other in any::<i64>(), shift in 0..63u32) {
            let (number, other) = (number >> shift, other >> shift);
            let (least, width) = span(bucket(number));
            prop_assert!((least..=least + (width - 1)).contains(&number.unsigned_abs()));
            prop_assert!(width == 1 || width <= least / 32);
            prop_assert_eq!(bucket(number) < 0, number < 0);
            if number < other {
                prop_assert!(bucket(number) <= bucket(other));
            }
        }
    }
}
