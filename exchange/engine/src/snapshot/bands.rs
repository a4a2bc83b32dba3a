//! Price bands in snapshots.

use super::{Chunk, LoadError, ensure};
use crate::Engine;
use crate::bands::{BUCKETS_MAX, Bands, Bucket};
use ordain_exchange_protocol::{BandAction, MarketState, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned, little_endian::U128};

/// An instrument's bands, and the call of the auction that one brought about.
#[derive(Clone, Copy, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BandItem {
    instrument: U32,
    action: BandAction,
    count: u8,
    extensions: u8,
    extended: u8,
    fixed: U32,
    moving: U32,
    width: U64,
    call: U64,
    until: U64,
}

/// What traded in a piece of time.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BucketItem {
    instrument: U32,
    place: U32,
    number: U64,
    value: U128,
    lots: U128,
}

const _: () = assert!(size_of::<BandItem>() == 40);
const _: () = assert!(size_of::<BucketItem>() == 48);

/// What is said of an instrument without bands.
fn no_bands(at: usize) -> BandItem {
    BandItem {
        instrument: (at as u32 + 1).into(),
        action: BandAction::Off,
        count: 0,
        extensions: 0,
        extended: 0,
        fixed: U32::ZERO,
        moving: U32::ZERO,
        width: U64::ZERO,
        call: U64::ZERO,
        until: U64::ZERO,
    }
}

impl Engine {
    /// Whether any instrument has bands.
    pub(super) fn has_bands(&self) -> bool {
        (0..self.bands.len()).any(|at| self.band_item(at) != no_bands(at))
    }

    /// Whether anything traded that an average goes over.
    pub(super) fn has_buckets(&self) -> bool {
        self.bands.iter().flat_map(|bands| &bands.buckets).any(|bucket| *bucket != Bucket::default())
    }

    fn band_item(&self, at: usize) -> BandItem {
        let (bands, call) = (&self.bands[at], &self.calls[at]);
        BandItem {
            instrument: (at as u32 + 1).into(),
            action: bands.action,
            count: bands.count,
            extensions: bands.extensions,
            extended: call.extended,
            fixed: bands.fixed.into(),
            moving: bands.moving.into(),
            width: bands.width.into(),
            call: bands.call.into(),
            until: call.until.into(),
        }
    }

    pub(super) fn put_bands_of(&self, at: usize, chunk: &mut Chunk<'_>) {
        let item = self.band_item(at);
        if item != no_bands(at) {
            chunk.put(&item);
        }
    }

    /// Places of buckets.
    pub(super) fn bucket_places(&self) -> usize {
        self.bands.len() * BUCKETS_MAX
    }

    pub(super) fn put_bucket(&self, at: usize, chunk: &mut Chunk<'_>) {
        let (instrument, place) = (at / BUCKETS_MAX, at % BUCKETS_MAX);
        let bucket = &self.bands[instrument].buckets[place];
        if *bucket != Bucket::default() {
            chunk.put(&BucketItem {
                instrument: (instrument as u32 + 1).into(),
                place: (place as u32).into(),
                number: bucket.number.into(),
                value: bucket.value.into(),
                lots: bucket.lots.into(),
            });
        }
    }

    pub(super) fn load_bands(&mut self, item: &BandItem) -> Result<(), LoadError> {
        let id = item.instrument.get();
        ensure(self.instrument(id).is_ok(), "an instrument is missing")?;
        let at = id as usize - 1;
        ensure(self.band_item(at) == no_bands(at) && *item != no_bands(at), "bands come twice")?;
        let bands = Bands {
            action: item.action,
            fixed: item.fixed.get(),
            moving: item.moving.get(),
            width: item.width.get(),
            count: item.count,
            call: item.call.get(),
            extensions: item.extensions,
            ..Bands::NONE
        };
        let until = item.until.get();
        let timed = self.live_instrument(id as u16).state == MarketState::VolatilityAuction;
        let sound = bands.is_sound() && if until == 0 { item.extended == 0 } else { timed };
        ensure(sound, "bands are not valid")?;
        self.put_bands(id as u16, bands);
        (self.calls[at].until, self.calls[at].extended) = (until, item.extended);
        Ok(())
    }

    pub(super) fn load_bucket(&mut self, item: &BucketItem) -> Result<(), LoadError> {
        let (id, place) = (item.instrument.get(), item.place.get() as usize);
        ensure(self.instrument(id).is_ok() && place < BUCKETS_MAX, "a bucket is nobody's")?;
        let highest = self.live_instrument(id as u16).max_price as u128;
        let bands = &mut self.bands[id as usize - 1];
        let bucket = Bucket { number: item.number.get(), value: item.value.get(), lots: item.lots.get() };
        // Prices are from 1 to the highest, so no average can be anything else.
        let priced = bucket.lots > 0
            && bucket.lots <= bucket.value
            && bucket.value / bucket.lots <= highest
            && bucket.value <= u128::MAX / BUCKETS_MAX as u128;
        let placed = bands.count > 0 && bucket.number % u64::from(bands.count) == place as u64;
        ensure(priced && placed && bands.buckets[place] == Bucket::default(), "a bucket is not valid")?;
        bands.buckets[place] = bucket;
        Ok(())
    }
}
