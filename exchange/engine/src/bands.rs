//! Price bands: where an order may trade, and what happens where it may not. Rules: `docs/exchange/bands.md`.
//!
//! Bounds are fixed when an order begins to trade, as the worst price that it may take. So trading itself does not look at
//! them, and instruments without bands pay a test of a flag.

use crate::engine::Work;
use crate::instrument::{Instrument, live, live_mut};
use crate::levels::key;
use crate::matching::{End, Event, Taker};
use crate::reply::Answer;
use crate::states::Turn;
use crate::{Context, Engine, Sink, Step, admin::reply_admin, engine::permitted};
use ordain_exchange_protocol::{
    Audience, BandAction, BandsAnswer, BandsQuery, CallReport, IntoBytes, MarketState, Reject, Schema,
    SetBands, Side, Zero, permission,
};

/// Most buckets that an average goes over: they are looked at when an order begins to trade.
pub(crate) const BUCKETS_MAX: usize = 16;
/// 100 %.
const PPM: u32 = 1_000_000;
/// A day: longer is no bucket and no call.
const LONGEST: u64 = 86_400_000_000_000;

/// Trades of a piece of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Log time over the width of a bucket.
    pub number: u64,
    /// Sum of price times lots.
    pub value: u128,
    pub lots: u128,
}

/// An instrument's bands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bands {
    pub action: BandAction,
    /// Width either way of the reference of the day, parts per million; 0 for no such band.
    pub fixed: u32,
    /// Width either way of the average, parts per million; 0 for no such band.
    pub moving: u32,
    /// Time that a bucket covers.
    pub width: u64,
    pub count: u8,
    /// How long the call of an auction is that a band brings about, and how often it may be made longer.
    pub call: u64,
    pub extensions: u8,
    /// By number, modulo how many there are.
    pub buckets: [Bucket; BUCKETS_MAX],
}

impl Bands {
    pub const NONE: Self = Self {
        action: BandAction::Off,
        fixed: 0,
        moving: 0,
        width: 0,
        count: 0,
        call: 0,
        extensions: 0,
        buckets: [Bucket { number: 0, value: 0, lots: 0 }; BUCKETS_MAX],
    };

    /// Bands as a command wants them, if they are sound. Nothing has traded yet.
    pub fn from_message(message: &SetBands) -> Option<Self> {
        let bands = Self {
            action: message.action,
            fixed: message.fixed.get(),
            moving: message.moving.get(),
            width: message.width.get(),
            count: message.buckets,
            call: message.call.get(),
            extensions: message.extensions,
            ..Self::NONE
        };
        bands.is_sound().then_some(bands)
    }

    pub fn is_sound(&self) -> bool {
        let off = self.action == BandAction::Off;
        let averages = self.moving != 0;
        let pauses = self.action == BandAction::Auction;
        off == (self.fixed == 0 && self.moving == 0)
            && self.fixed.max(self.moving) <= PPM
            && averages == (1..=LONGEST).contains(&self.width)
            && averages == (1..=BUCKETS_MAX).contains(&usize::from(self.count))
            && pauses == (1..=LONGEST).contains(&self.call)
            && (averages || (self.width, self.count) == (0, 0))
            && (pauses || (self.call, self.extensions) == (0, 0))
    }

    /// Counts lots that traded at prices that come to `value`.
    pub fn note(&mut self, time: u64, value: u128, lots: u128) {
        if self.moving == 0 || lots == 0 {
            return;
        }
        let number = time / self.width;
        let bucket = &mut self.buckets[(number % u64::from(self.count)) as usize];
        if bucket.number != number {
            *bucket = Bucket { number, ..Bucket::default() };
        }
        bucket.value += value;
        bucket.lots += lots;
    }

    /// The average price of the trades in the buckets up to the one of `time`, rounded down.
    fn average(&self, time: u64) -> Option<i64> {
        let number = time.checked_div(self.width)?;
        let recent = |bucket: &&Bucket| number - bucket.number.min(number) < u64::from(self.count);
        let (mut value, mut lots) = (0, 0);
        for bucket in self.buckets.iter().filter(recent) {
            value += bucket.value;
            lots += bucket.lots;
        }
        value.checked_div(lots).map(|average| average as i64)
    }
}

/// The prices at most `ppm` away from `reference`; all where there is no band, or nothing to measure it from.
fn around(reference: i64, ppm: u32) -> (i64, i64) {
    if reference == 0 || ppm == 0 {
        return (1, i64::MAX);
    }
    let width = (i128::from(reference) * i128::from(ppm) / i128::from(PPM)) as i64;
    (reference - width, reference.saturating_add(width))
}

impl Engine {
    pub(crate) fn set_bands<S: Sink>(&mut self, context: &Context, message: &SetBands, sink: &mut S) -> Step {
        let id = message.instrument.get();
        let checked = permitted(context, permission::ADMIN).and_then(|()| {
            self.instrument(id)?;
            Bands::from_message(message).ok_or(Reject::BandInvalid)
        });
        let done = checked.map(|bands| self.put_bands(id as u16, bands));
        reply_admin(context, id, done, sink)
    }

    pub(crate) fn put_bands(&mut self, id: u16, bands: Bands) {
        live_mut(&mut self.instruments, id).banded = bands.action != BandAction::Off;
        self.bands[usize::from(id) - 1] = bands;
    }

    /// The lowest and the highest price at which may be traded now.
    fn bounds(&self, instrument: &Instrument, id: u16, time: u64) -> (i64, i64) {
        let (bands, day) = (&self.bands[usize::from(id) - 1], self.call(id).day_reference);
        let last = if instrument.last == 0 { day } else { instrument.last };
        let fixed = around(day, bands.fixed);
        let moving = match bands.moving {
            0 => around(0, 0),
            ppm => around(bands.average(time).unwrap_or(last), ppm),
        };
        (fixed.0.max(moving.0), fixed.1.min(moving.1))
    }

    /// Fixes the bounds of an order that begins to trade.
    #[cold]
    pub(crate) fn bind(&self, taker: &mut Taker) {
        let instrument = live(&self.instruments, taker.instrument);
        let (low, high) = self.bounds(instrument, taker.instrument, taker.event.context.time);
        let opposite = taker.side.opposite();
        let (worst, best) = match taker.side {
            Side::Buy => (key(opposite, high), key(opposite, low)),
            Side::Sell => (key(opposite, low), key(opposite, high)),
        };
        let meets =
            self.levels.best_key(instrument.ladder(opposite)).filter(|meets| *meets >= taker.limit_key);
        if meets.is_some_and(|meets| meets > best || meets < worst) {
            taker.end = End::Band;
            taker.limit_key = i64::MAX;
        } else {
            taker.limit_key = taker.limit_key.max(worst);
        }
    }

    /// An order in an instrument with bands is done trading: counts its trades, and finds out whether a band stopped it.
    #[cold]
    pub(crate) fn after_bands(&mut self, taker: &mut Taker) {
        let instrument = live(&self.instruments, taker.instrument);
        let (scale, crosses) = (instrument.scale.get(), self.crosses(instrument, taker.side, taker.price));
        if taker.fills > 0 {
            let before = if taker.listed { self.orders.get(taker.slot).cumulative } else { 0 };
            let (value, lots) = (taker.notional / scale, taker.cumulative - before);
            let bands = &mut self.bands[usize::from(taker.instrument) - 1];
            bands.note(taker.event.context.time, value.into(), lots.into());
        }
        if taker.remaining > 0 && taker.end == End::Open && crosses {
            taker.end = End::Band;
        }
    }

    /// Whether a band that an order reaches brings about an auction.
    pub(crate) fn pauses(&self, instrument: u16) -> bool {
        self.bands[usize::from(instrument) - 1].action == BandAction::Auction
    }

    /// Notes what an order's trades will set off once trading goes on, and stops trading.
    #[cold]
    pub(crate) fn pause(&mut self, event: &Event, instrument: u16) -> Turn {
        if event.high > 0 {
            let call = self.call_mut(instrument);
            call.low = if call.low == 0 { event.low } else { call.low.min(event.low) };
            call.high = call.high.max(event.high);
        }
        Turn::to_pause(instrument)
    }

    /// A command's order reached a band: its instrument goes into an auction, and then the command is answered.
    #[cold]
    pub(crate) fn begin_pause(&mut self, event: Event, instrument: u16, answer: Answer) -> Step {
        let turn = self.pause(&event, instrument);
        self.work = Some(Work::Pause(turn, event, answer));
        Step::More
    }

    pub(crate) fn go_on_pausing<S: Sink>(
        &mut self,
        mut turn: Turn,
        mut event: Event,
        answer: Answer,
        sink: &mut S,
    ) -> Step {
        let mut room = self.step_room();
        if self.turn(&mut turn, &mut event, &mut room, sink) == Step::More {
            self.work = Some(Work::Pause(turn, event, answer));
            return Step::More;
        }
        self.answer(&answer, sink);
        Step::Done
    }

    /// Begins the call of an auction that a band brought about, or makes it longer, and says until when.
    pub(crate) fn call_until<S: Sink>(&mut self, id: u16, from: u64, context: &Context, sink: &mut S) {
        let until = from + self.bands[usize::from(id) - 1].call;
        let call = self.call_mut(id);
        call.until = until;
        let report = CallReport {
            tag: CallReport::TAG,
            schema: Schema::V1,
            extensions: call.extended,
            state: MarketState::VolatilityAuction,
            instrument: u32::from(id).into(),
            until: until.into(),
            seq: context.seq.into(),
            time: context.time.into(),
        };
        self.set_timers();
        sink.output(Audience::Instrument(id.into()), report.as_bytes());
    }

    /// Whether the call of an auction that a band brought about is to be made longer: it would trade out of bounds still.
    pub(crate) fn extends(&self, id: u16, time: u64) -> bool {
        let (low, high) = self.bounds(live(&self.instruments, id), id, time);
        let price = self.indication(id).price;
        let left = self.call(id).extended < self.bands[usize::from(id) - 1].extensions;
        left && price > 0 && !(low..=high).contains(&price)
    }
}

impl Engine {
    pub(crate) fn bands_answer(&self, checked: Result<(), Reject>, query: &BandsQuery) -> BandsAnswer {
        let id = query.instrument.get();
        let found = checked.and_then(|()| self.instrument(id));
        let (bands, extended, until) = match &found {
            Ok(_) => {
                let call = self.call(id as u16);
                (self.bands[id as usize - 1], if call.until == 0 { 0 } else { call.extended }, call.until)
            }
            Err(_) => (Bands::NONE, 0, 0),
        };
        BandsAnswer {
            tag: BandsAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.err()),
            instrument: id.into(),
            action: bands.action,
            buckets: bands.count,
            extensions: bands.extensions,
            extended,
            fixed: bands.fixed.into(),
            moving: bands.moving.into(),
            reserved: [Zero::Zero; 4],
            width: bands.width.into(),
            call: bands.call.into(),
            until: until.into(),
        }
    }
}
