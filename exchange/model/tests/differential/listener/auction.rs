//! Auctions, as they are heard of.

use super::{Checked, Listener, Live};
use ordain_exchange_engine::Context;
use ordain_exchange_protocol::{
    AuctionReport, FillReport, Flag, IndicationReport, MarketState, OrderType, Output, Reason, SetState,
    Side, Sides, StateReport, TimeInForce,
};

/// An auction that is being uncrossed.
#[derive(Default)]
pub struct Uncrossing {
    price: i64,
    volume: u64,
    trades: u32,
    /// The most that could trade at a limit of the book, before anything did.
    most: u64,
}

/// What is at a price: lots of buys and of sells.
type AtPrice = (u64, u64);

impl Listener {
    fn limits(&self, instrument: u32, side: Side) -> impl Iterator<Item = &Live> {
        self.orders.values().filter(move |live| {
            live.rests
                && !live.waits()
                && !live.awaits
                && live.request.instrument == instrument
                && live.request.side == side
                && live.request.order_type != OrderType::Market
        })
    }

    /// Where market orders take part, only who sent them knows what they are held to.
    fn has_market(&self, instrument: u32) -> bool {
        self.orders.values().any(|live| {
            live.rests
                && !live.awaits
                && live.request.instrument == instrument
                && live.request.order_type == OrderType::Market
        })
    }

    fn at_price(&self, instrument: u32, price: i64) -> AtPrice {
        let sum = |lots: &mut dyn Iterator<Item = &Live>| lots.map(|live| live.left).sum::<u64>();
        let buys = sum(&mut self.limits(instrument, Side::Buy).filter(|live| live.price >= price));
        let sells = sum(&mut self.limits(instrument, Side::Sell).filter(|live| live.price <= price));
        (buys, sells)
    }

    /// The most that limit orders alone could trade at one price.
    fn most(&self, instrument: u32) -> u64 {
        let bids = self.limits(instrument, Side::Buy);
        let prices: Vec<i64> = bids.map(|live| live.price).collect();
        let volume = |price: i64| {
            let (buys, sells) = self.at_price(instrument, price);
            buys.min(sells)
        };
        prices.into_iter().map(volume).max().unwrap_or(0)
    }

    fn check_outlook(
        &self,
        instrument: u32,
        price: i64,
        volume: u64,
        side: Sides,
        imbalance: u64,
    ) -> Checked {
        let most = self.most(instrument);
        check!(volume >= most, "{most} lots could trade, not {volume}");
        if self.has_market(instrument) {
            return Ok(());
        }
        if price == 0 {
            check!((volume, imbalance, side) == (0, 0, Sides::Any), "nothing trades, but lots are told");
            return Ok(());
        }
        let (buys, sells) = self.at_price(instrument, price);
        check!(volume == buys.min(sells), "at {price}: {buys} buys, {sells} sells, volume {volume}");
        check!(imbalance == buys.abs_diff(sells), "at {price}: {buys} buys, {sells} sells, {imbalance}");
        let larger = if buys > sells { Sides::Buy } else { Sides::Sell };
        check!(side == if imbalance == 0 { Sides::Any } else { larger }, "the imbalance is of {side:?}");
        Ok(())
    }

    /// Whether an indication is true of the books as they are.
    pub(super) fn fits(&self, it: &IndicationReport) -> bool {
        let instrument = it.instrument.get();
        let (price, volume, imbalance) = (it.price.get(), it.volume.get(), it.imbalance.get());
        self.check_outlook(instrument, price, volume, it.side, imbalance).is_ok()
    }

    pub(super) fn indication(&mut self, context: &Context, it: &IndicationReport) -> Checked {
        let instrument = it.instrument.get();
        let state = self.state(instrument);
        check!(state.is_auction() && it.state == state, "an indication in state {state:?}");
        check!(it.seq == context.seq && it.time == context.time, "an indication of another moment");
        let (price, volume, imbalance) = (it.price.get(), it.volume.get(), it.imbalance.get());
        self.check_outlook(instrument, price, volume, it.side, imbalance)?;
        let told = (price, volume, it.side as u8, imbalance);
        let before = self.told.insert(instrument, told).unwrap_or_default();
        check!(before != told, "an indication says again what was said");
        self.marks.push(if price == 0 {
            "indication: of nothing any more"
        } else {
            "indication: of a price"
        });
        Ok(())
    }

    pub(super) fn auction_trade(&mut self, buy: &FillReport, sell: &FillReport) -> Checked {
        let instrument = buy.instrument.get();
        let (price, lots) = (buy.price.get(), buy.quantity.get());
        check!(sell.price == buy.price && sell.quantity == buy.quantity, "a trade of two sizes");
        check!(buy.side == Side::Buy && sell.side == Side::Sell, "sides");
        check!(buy.index == self.trades && sell.index == self.trades, "trades are not counted");
        check!(buy.aggressor == Flag::No && sell.aggressor == Flag::No, "nobody is aggressive in an auction");
        let charged = i64::from(buy.fee > 0) + i64::from(sell.fee > 0);
        if charged == 2 {
            self.marks.push("fees: both charged in an auction");
        }
        if buy.fee < 0 || sell.fee < 0 {
            self.marks.push("fees: a rebate in an auction");
        }
        if self.uncrossing.is_none() {
            let most = self.most(instrument);
            self.uncrossing = Some(Uncrossing { price, most, ..Uncrossing::default() });
        }
        let uncrossing = self.uncrossing.as_mut().expect("it was just made");
        check!(uncrossing.price == price, "an auction trades at {} and at {price}", uncrossing.price);
        uncrossing.volume += lots;
        uncrossing.trades += 1;
        let (buyer, seller) = (self.orders[&buy.order_id.get()], self.orders[&sell.order_id.get()]);
        for (report, live) in [(buy, buyer), (sell, seller)] {
            check!(live.rests && !live.awaits && !live.waits(), "an order trades that is not in the book");
            check!(lots <= live.shown, "{lots} lots trade where {} are shown", live.shown);
            let market = live.request.order_type == OrderType::Market;
            let within = if report.side == Side::Buy { price <= live.price } else { price >= live.price };
            check!(market || within, "the limit is {}, the price {price}", live.price);
            let ranks = |other: &Live| {
                let market = other.request.order_type == OrderType::Market;
                let price = if market { 0 } else { other.price };
                (if report.side == Side::Buy { -price } else { price }, other.place)
            };
            let alike = self.orders.values().filter(|other| {
                other.rests
                    && !other.awaits
                    && !other.waits()
                    && other.request.instrument == instrument
                    && other.request.side == report.side
                    && (other.request.order_type == OrderType::Market) == market
            });
            check!(alike.map(ranks).min() == Some(ranks(&live)), "order {:#x} is not first", report.order_id);
            if market {
                self.marks.push("auction: a market order trades");
            }
            if live.request.display.get() != 0 {
                self.marks.push("auction: an iceberg trades");
            }
            if live.request.post_only != ordain_exchange_protocol::PostOnly::No {
                self.marks.push("auction: a post-only order trades");
            }
            self.mark_access(&live, ["blocked: trades in an auction", "suspended: trades in an auction"]);
        }
        if self.same_owner(&buyer, &seller) {
            self.marks.push("auction: one owner trades with itself");
        }
        for report in [buy, sell] {
            self.filled(report)?;
        }
        self.pay(buy, sell)?;
        self.trades += 1;
        Ok(())
    }

    pub(super) fn auction_over(&mut self, context: &Context, it: &AuctionReport) -> Checked {
        let instrument = it.instrument.get();
        check!(it.seq == context.seq && it.time == context.time, "an auction of another moment");
        check!(it.state == self.state(instrument), "an auction ended in {:?}", self.state(instrument));
        let uncrossing = self.uncrossing.take();
        match uncrossing {
            Some(done) => {
                check!(it.price == done.price, "another price is told");
                check!(it.volume == done.volume && it.trades == done.trades, "another volume is told");
                check!(done.volume >= done.most, "{} lots could have traded", done.most);
                let (buys, sells) = self.at_price(instrument, done.price);
                check!(buys == 0 || sells == 0, "{buys} buys and {sells} sells are left at the price");
                self.auction_prices.entry(instrument).or_default().push(done.price);
                self.marks.push(match it.state {
                    MarketState::PreOpen => "auction: pre-open trades",
                    MarketState::OpeningAuction => "auction: opening trades",
                    MarketState::VolatilityAuction => "auction: volatility trades",
                    MarketState::ClosingAuction => "auction: closing trades",
                    _ => "auction: trades out of a halt",
                });
                self.marks.push(match it.side {
                    Sides::Any => "auction: balanced",
                    Sides::Buy => "auction: buys are left",
                    Sides::Sell => "auction: sells are left",
                });
                if it.trades > 2 {
                    self.marks.push("auction: several trades");
                }
            }
            None => {
                check!(
                    it.price == 0 && it.volume == 0 && it.trades == 0,
                    "trades are told that were not made"
                );
                check!(self.most(instrument) == 0, "nothing trades in an auction that crosses");
                self.marks.push("auction: nothing trades");
            }
        }
        self.auction_ends = Some(instrument);
        Ok(())
    }

    /// What a change of states told, in the order in which it happened.
    pub(super) fn set_state(&mut self, context: &Context, it: &SetState, outputs: &[Output<'_>]) -> Checked {
        let named = it.instrument.get();
        let covered = self.definitions.keys().filter(|id| named == 0 || **id == named);
        let changed: Vec<u32> = covered.copied().filter(|id| self.state(*id) != it.state).collect();
        let mut told = changed.iter();
        let mut rest = outputs;
        while !rest.is_empty() {
            rest = match rest {
                [Output::Fill(_), Output::Fill(_), Output::Trade(_), ..] => self.output(context, rest)?,
                [Output::Fill(buy), Output::Fill(sell), others @ ..] => {
                    self.auction_trade(buy, sell)?;
                    others
                }
                [Output::Auction(it), others @ ..] => {
                    self.auction_over(context, it)?;
                    others
                }
                [Output::State(report), others @ ..] => {
                    self.end_cascade()?;
                    check!(told.next() == Some(&report.instrument.get()), "a state of another is told");
                    check!(report.state == it.state, "another state is told: {report:?}");
                    self.state_told(context, report)?;
                    others
                }
                [Output::Indication(it), others @ ..] => {
                    self.indication(context, it)?;
                    others
                }
                _ => self.output(context, rest)?,
            };
        }
        self.end_cascade()?;
        check!(told.next().is_none(), "a state changes, and nobody is told");
        check!(self.uncrossing.is_none(), "trades of an auction of which nothing is told");
        match (named, changed.len()) {
            (0, 2..) => self.marks.push("state: of several at once"),
            (0, 1) => self.marks.push("state: of all, which changes one"),
            (_, 0) => self.marks.push("state: as it was"),
            _ => {}
        }
        Ok(())
    }

    /// What an instrument's auctions set off is done.
    fn end_cascade(&mut self) -> Checked {
        self.rest();
        if let Some(instrument) = self.cascades.take() {
            self.check_overdue(instrument)?;
        }
        self.prices.clear();
        self.triggered = 0;
        Ok(())
    }

    fn state_told(&mut self, context: &Context, told: &StateReport) -> Checked {
        let id = told.instrument.get();
        check!(told.previous == self.state(id), "the state of {id} was another before: {told:?}");
        check!(told.seq == context.seq && told.time == context.time, "a state of another moment");
        check!(self.auction_ends.take().is_none_or(|of| of == id), "an auction of another was over");
        self.states.insert(id, told.state);
        let halted = told.state == MarketState::Halted;
        for live in self.orders.values_mut().filter(|live| live.request.instrument == id) {
            live.halted |= halted;
            if halted {
                self.marks.push(if live.waits() { "halt: orders wait" } else { "halt: orders rest" });
            }
        }
        self.marks.push(match told.state {
            MarketState::Continuous => "state: continuous again",
            MarketState::Halted => "state: halted",
            MarketState::CancelOnly => "state: cancel-only",
            MarketState::PostOnly => "state: post-only",
            MarketState::PreOpen => "state: pre-open",
            MarketState::OpeningAuction => "state: opening auction",
            MarketState::VolatilityAuction => "state: volatility auction",
            MarketState::ClosingAuction => "state: closing auction",
            _ => "state: closed",
        });
        if told.state.is_auction() && !told.previous.is_auction() {
            self.told.remove(&id);
        }
        match told.state {
            MarketState::OpeningAuction => self.join(id, TimeInForce::Ato),
            MarketState::ClosingAuction => self.join(id, TimeInForce::Atc),
            MarketState::Continuous => {
                self.prices = self.auction_prices.remove(&id).unwrap_or_default();
                self.cascades = Some(id);
            }
            _ => {}
        }
        if matches!(told.state, MarketState::Continuous | MarketState::PostOnly) {
            let best = |side| self.limits(id, side).map(|live| live.price);
            let (bid, ask) = (best(Side::Buy).max(), best(Side::Sell).min());
            let crossed = bid.zip(ask).is_some_and(|(bid, ask)| bid >= ask);
            check!(!crossed, "the book of {id} is crossed when it opens: {bid:?} {ask:?}");
            check!(!self.has_market(id), "market orders are in the book when it opens");
        }
        Ok(())
    }

    fn join(&mut self, instrument: u32, tif: TimeInForce) {
        let joins = |live: &Live| {
            live.awaits && live.request.instrument == instrument && live.request.time_in_force == tif
        };
        let mut ids: Vec<(u64, u64)> = self
            .orders
            .iter()
            .filter(|(_, live)| joins(live))
            .map(|(id, live)| (live.entered, *id))
            .collect();
        ids.sort_unstable();
        for (_, id) in ids {
            self.places += 1;
            let live = self.orders.get_mut(&id).expect("it was found");
            (live.awaits, live.rests, live.shown, live.place) = (false, true, live.left, self.places);
            let market = live.request.order_type == OrderType::Market;
            self.marks.push(if market {
                "auction: market orders join"
            } else {
                "auction: limit orders join"
            });
        }
    }

    /// Marks why an order ended with its auction or its day.
    pub(super) fn ends(&mut self, was: &Live, reason: Reason) -> Checked {
        let instrument = was.request.instrument.get();
        let tif = was.request.time_in_force;
        match reason {
            Reason::AuctionOver => {
                check!(self.auction_ends == Some(instrument), "an auction is not over");
                check!(tif.is_for_auction() && !was.awaits, "what was not for this auction ends with it");
                self.marks.push("auction: its orders end");
            }
            Reason::DayOver => {
                check!(self.state(instrument) == MarketState::Closed, "the day is not over");
                self.marks.push(match (tif, was.waits() || was.awaits) {
                    (TimeInForce::Day, false) => "day: an order in the book ends",
                    (TimeInForce::Day, true) => "day: an order that waits ends",
                    (_, false) => "day: an order of an auction ends in the book",
                    (_, true) => "day: an order that waits for its auction ends",
                });
            }
            _ => {
                check!(tif.is_for_auction(), "an order ends for {reason:?}");
                self.marks.push(match reason {
                    Reason::NoLevel => "auction: an order that joins finds no level",
                    _ => "auction: an order that joins finds no funds",
                });
            }
        }
        Ok(())
    }
}
