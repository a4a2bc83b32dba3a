//! Price bands, and the auctions that they call.

use crate::command::Command;
use crate::message::Message;
use crate::{Context, Model, code, ensure};
use ordain_exchange_protocol::{BandAction, MarketState, Reject, SetBands, permission};

/// 24 hours.
pub const DAY: u64 = 86_400 * 1_000_000_000;

/// The bands of an instrument.
#[derive(Clone)]
pub struct Bands {
    action: BandAction,
    buckets: u64,
    /// Widths, parts per million; 0 for no such band.
    fixed: i128,
    moving: i128,
    /// Nanoseconds of a bucket.
    bucket: u64,
    call: u64,
    extensions: u8,
    /// Trades that count: bucket, price, lots.
    counted: Vec<(u64, i128, i128)>,
}

/// The call of an auction that a band called.
#[derive(Clone, Copy)]
pub struct Call {
    pub until: u64,
    extensions: u8,
}

impl Model {
    /// Whether the call of an auction was made longer, and is under way.
    #[must_use]
    pub fn is_made_longer(&self) -> bool {
        self.calls.values().any(|call| call.extensions > 0)
    }

    pub(crate) fn set_bands(&mut self, context: &Context, it: &SetBands) -> Result<(), Reject> {
        context.may(permission::ADMIN)?;
        let id = it.instrument.get();
        ensure(self.instruments.contains_key(&id), Reject::UnknownInstrument)?;
        let (fixed, moving) = (it.fixed.get(), it.moving.get());
        let (bucket, call) = (it.width.get(), it.call.get());
        let widths = (fixed != 0 || moving != 0) == (it.action != BandAction::Off)
            && fixed <= 1_000_000
            && moving <= 1_000_000;
        let averages = if moving == 0 {
            bucket == 0 && it.buckets == 0
        } else {
            (1..=DAY).contains(&bucket) && (1..=16).contains(&it.buckets)
        };
        let calls = match it.action {
            BandAction::Auction => (1..=DAY).contains(&call),
            _ => call == 0 && it.extensions == 0,
        };
        ensure(widths && averages && calls, Reject::BandInvalid)?;
        let bands = Bands {
            action: it.action,
            buckets: it.buckets.into(),
            fixed: fixed.into(),
            moving: moving.into(),
            bucket,
            call,
            extensions: it.extensions,
            counted: Vec::new(),
        };
        self.bands.insert(id, bands);
        Ok(())
    }

    pub(crate) fn band_action(&self, instrument: u32) -> BandAction {
        self.bands.get(&instrument).map_or(BandAction::Off, |bands| bands.action)
    }

    /// The prices at which an order that begins to trade now may, both included.
    pub(crate) fn bounds(&self, instrument: u32, time: u64) -> (i128, i128) {
        let Some(bands) = self.bands.get(&instrument) else { return (i128::MIN, i128::MAX) };
        let day = self.day_references.get(&instrument).copied();
        let mut bounds = (i128::MIN, i128::MAX);
        let mut band = |reference: Option<i128>, width: i128| {
            if let (Some(reference), 1..) = (reference, width) {
                let d = reference * width / 1_000_000;
                bounds = (bounds.0.max(reference - d), bounds.1.min(reference + d));
            }
        };
        band(day, bands.fixed);
        if bands.moving != 0 {
            let now = time / bands.bucket;
            let counts = |bucket: u64| bucket <= now && now - bucket < bands.buckets;
            let counted = bands.counted.iter().filter(|trade| counts(trade.0));
            let (sum, lots) =
                counted.fold((0, 0), |(sum, lots), trade| (sum + trade.1 * trade.2, lots + trade.2));
            let average = if lots == 0 { None } else { Some(sum / lots) };
            band(average.or(self.last(instrument)).or(day), bands.moving);
        }
        bounds
    }

    /// Trades come to count for the average.
    pub(crate) fn count_trades(&mut self, instrument: u32, time: u64, trades: &[(i128, i128)]) {
        if let Some(bands) = self.bands.get_mut(&instrument)
            && bands.moving != 0
        {
            let bucket = time / bands.bucket;
            bands.counted.extend(trades.iter().map(|(price, lots)| (bucket, *price, *lots)));
        }
    }

    /// An auction traded: what was before does not count any more.
    pub(crate) fn count_auction(&mut self, instrument: u32, time: u64, price: i128, lots: i128) {
        if let Some(bands) = self.bands.get_mut(&instrument) {
            bands.counted.clear();
        }
        self.count_trades(instrument, time, &[(price, lots)]);
    }

    /// A band stopped an order: trading stops for an auction.
    pub(crate) fn call_auction(&mut self, command: &mut Command, id: u32) {
        let prices = std::mem::take(&mut command.prices);
        self.remember_prices(id, prices);
        let before = self.state(id);
        self.change_state(command, id, before, MarketState::VolatilityAuction);
        let until = command.context.time + self.bands[&id].call;
        self.calls.insert(id, Call { until, extensions: 0 });
        command.report_call(id, 0, until);
    }

    /// The time of a call has passed.
    pub(crate) fn end_call(&mut self, command: &mut Command, id: u32) {
        let call = self.calls[&id];
        let outlook = self.outlook(id);
        let (low, high) = self.bounds(id, command.context.time);
        let outside = outlook.price != 0 && !(low..=high).contains(&outlook.price);
        let (most, longer) = self.bands.get(&id).map_or((0, 0), |bands| (bands.extensions, bands.call));
        if outside && call.extensions < most {
            let call = Call { until: call.until + longer, extensions: call.extensions + 1 };
            self.calls.insert(id, call);
            command.report_call(id, call.extensions, call.until);
        } else {
            let before = self.state(id);
            self.change_state(command, id, before, MarketState::Continuous);
        }
    }
}

impl Model {
    pub(crate) fn bands_answer(&self, context: &Context, id: u32) -> Vec<u8> {
        let result = self.may_see_instrument(context, id);
        let mut answer = Message::new(0xB0, 48).put(2, 2, code(&result)).put(4, 4, id);
        if result.is_ok() {
            if let Some(bands) = self.bands.get(&id) {
                answer = answer
                    .put(8, 1, bands.action as u8)
                    .put(9, 1, bands.buckets)
                    .put(10, 1, bands.extensions)
                    .put(12, 4, bands.fixed)
                    .put(16, 4, bands.moving)
                    .put(24, 8, bands.bucket)
                    .put(32, 8, bands.call);
            }
            if let Some(call) = self.calls.get(&id) {
                answer = answer.put(11, 1, call.extensions).put(40, 8, call.until);
            }
        }
        answer.bytes()
    }
}
