//! Trading: makers and takers, owners that meet themselves, and what a trade triggers.

use crate::command::{Command, Fills};
use crate::fees::Role;
use crate::instrument::at_or_better;
use crate::order::Direction;
use crate::{Instrument, Model, Order};
use ordain_exchange_protocol::{BandAction, OrderType, Reason, SelfTrade, Side};

/// What a taker may spend.
#[derive(Clone, Copy)]
pub enum Budget {
    /// What it held pays for all that it can trade.
    Held,
    /// The free funds of its account.
    Free,
    /// Those, and no more than this amount.
    Cash(i128),
}

impl Model {
    /// The mode that rules where this order is the taker.
    pub(crate) fn ruling(&self, taker: &Order) -> SelfTrade {
        match taker.self_trade {
            SelfTrade::Default => self.mode(taker.instrument),
            mode => mode,
        }
    }

    /// What counts for an order that wants to be filled whole: prices and lots, best first.
    pub(crate) fn within_reach(&self, taker: &Order, time: u64) -> Vec<(i128, i128)> {
        let (low, high) = self.bounds(taker.instrument, time);
        let mode = self.ruling(taker);
        let makers = self.side(taker.instrument, taker.side.opposite());
        let makers: Vec<&Order> = makers
            .into_iter()
            .filter(|maker| at_or_better(taker.side, taker.price, maker.price))
            .take_while(|maker| (low..=high).contains(&maker.price))
            .collect();
        let is_own = |maker: &&Order| self.same_owner(maker.account, taker.account);
        let whole = |maker: &Order| (maker.price, maker.remaining);
        match mode {
            SelfTrade::Allow => makers.into_iter().map(whole).collect(),
            SelfTrade::CancelMaker => makers.into_iter().filter(|maker| !is_own(maker)).map(whole).collect(),
            SelfTrade::CancelTaker | SelfTrade::CancelBoth | SelfTrade::Decrement => {
                let own = makers.iter().copied().find(is_own);
                let before = makers.iter().take_while(|maker| !is_own(maker));
                before
                    .map(|maker| match own {
                        Some(own) if own.price == maker.price => (maker.price, maker.shown),
                        _ => whole(maker),
                    })
                    .collect()
            }
            SelfTrade::Default => unreachable!("an instrument's mode is never default"),
        }
    }

    /// Trades an order that is not in the book with the opposite side, as far as its price allows.
    pub(crate) fn trade(&mut self, command: &mut Command, taker: &mut Order, mut budget: Budget) -> Fills {
        let instrument = self.instruments[&taker.instrument].clone();
        let (low, high) = self.bounds(taker.instrument, command.context.time);
        let mut traded: Vec<(i128, i128)> = Vec::new();
        let mut fills = Fills::default();
        while taker.remaining > 0 && !fills.budget {
            let Some(maker) = self.side(taker.instrument, taker.side.opposite()).first().copied().cloned()
            else {
                break;
            };
            if !at_or_better(taker.side, taker.price, maker.price) {
                break;
            }
            if !(low..=high).contains(&maker.price) {
                fills.banded = true;
                break;
            }
            let mode = self.ruling(taker);
            if mode != SelfTrade::Allow && self.same_owner(maker.account, taker.account) {
                self.meet(command, mode, taker, maker, &mut fills);
                continue;
            }
            let mut lots = taker.remaining.min(maker.shown);
            let free = self.free(taker.account, instrument.quote);
            let funds = match budget {
                Budget::Held => None,
                Budget::Free => Some(free),
                Budget::Cash(cash) => Some(free.min(cash)),
            };
            if let Some(funds) = funds {
                let affordable = funds / instrument.lot_cost(maker.price);
                fills.budget = affordable < lots;
                lots = lots.min(affordable);
            }
            if lots > 0 {
                traded.push((maker.price, lots));
                let cost = self.fill(command, &instrument, taker, maker, lots, &mut fills);
                if let Budget::Cash(cash) = &mut budget {
                    *cash -= cost;
                }
            }
        }
        self.count_trades(taker.instrument, command.context.time, &traded);
        fills
    }

    /// One trade, at the maker's price. Returns what it cost a taker that buys.
    fn fill(
        &mut self,
        command: &mut Command,
        instrument: &Instrument,
        taker: &mut Order,
        mut maker: Order,
        lots: i128,
        fills: &mut Fills,
    ) -> i128 {
        let price = maker.price;
        let notional = instrument.notional(price, lots);
        let (maker_fee, taker_fee) =
            self.fees(instrument, (maker.account, Role::Maker), (taker.account, Role::Taker), price, lots);
        let (buyer, buyer_fee, seller, seller_fee) = match taker.side {
            Side::Buy => (taker.account, taker_fee, maker.account, maker_fee),
            Side::Sell => (maker.account, maker_fee, taker.account, taker_fee),
        };
        self.change(buyer, instrument.quote, -(notional + buyer_fee));
        self.change(seller, instrument.quote, notional - seller_fee);
        self.change(0, instrument.quote, buyer_fee + seller_fee);
        self.change(seller, instrument.base, -lots * instrument.base_per_lot);
        self.change(buyer, instrument.base, lots * instrument.base_per_lot);
        self.move_position(buyer, seller, instrument.id, lots);

        for order in [&mut maker, &mut *taker] {
            order.cumulative += lots;
            order.remaining -= lots;
        }
        command.report_fill(&maker, false, (price, lots), (instrument.quote, maker_fee));
        command.report_fill(taker, true, (price, lots), (instrument.quote, taker_fee));
        command.report_trade(taker, price, lots);
        self.put_back(maker, lots);
        self.look_at_trade(command, instrument.id);

        command.prices.push(price);
        command.trades += 1;
        self.last.insert(instrument.id, price);
        fills.count += 1;
        fills.notional += notional;
        fills.fee += taker_fee;
        self.trades += 1;
        notional + taker_fee
    }

    /// A maker that lost `lots` of what it showed: it shows anew, is closed, or stays where it is.
    pub(crate) fn put_back(&mut self, mut maker: Order, lots: i128) {
        let at = self.orders.iter().position(|order| order.id == maker.id).expect("the maker is live");
        if maker.remaining == 0 {
            self.orders.remove(at);
            self.give_back_slot(maker.id);
            return;
        }
        maker.shown -= lots;
        if maker.shown == 0 {
            maker.shown = maker.next_part();
            maker.place = self.next_place();
        }
        self.orders[at] = maker;
    }

    /// Orders of one owner that would trade do not.
    fn meet(
        &mut self,
        command: &mut Command,
        mode: SelfTrade,
        taker: &mut Order,
        mut maker: Order,
        fills: &mut Fills,
    ) {
        let would_trade = taker.remaining.min(maker.shown);
        let (taker_loses, maker_loses) = match mode {
            SelfTrade::CancelTaker => (taker.remaining, 0),
            SelfTrade::CancelMaker => (0, maker.remaining),
            SelfTrade::CancelBoth => (taker.remaining, maker.remaining),
            SelfTrade::Decrement => (would_trade, would_trade),
            SelfTrade::Default | SelfTrade::Allow => unreachable!("they trade"),
        };
        taker.remaining -= taker_loses;
        maker.remaining -= maker_loses;
        command.report_meeting(&maker, false, mode, (maker.price, would_trade, maker_loses));
        command.report_meeting(taker, true, mode, (maker.price, would_trade, taker_loses));
        command.meetings += 1;
        fills.prevented += would_trade;
        fills.cancelled += taker_loses;
        fills.met = taker.remaining == 0;
        self.put_back(maker, maker_loses);
        self.look(command, taker.instrument);
    }

    /// Puts what is left of an order into the book, behind the others at its price.
    pub(crate) fn rest(&mut self, mut order: Order) {
        order.shown = order.next_part();
        order.place = self.next_place();
        self.insert(order);
    }

    /// Among the live orders an order keeps the position that says when it was entered.
    pub(crate) fn insert(&mut self, order: Order) {
        let at = self.orders.iter().position(|other| other.entered > order.entered);
        self.orders.insert(at.unwrap_or(self.orders.len()), order);
    }

    /// Whether a side of a book, without the order `except`, has this price or room for it.
    pub(crate) fn has_room(&self, instrument: u32, side: Side, price: i128, except: u64) -> bool {
        let orders = self.side(instrument, side);
        let mut prices: Vec<i128> = orders
            .iter()
            .filter(|order| order.id != except && order.is_at_a_level())
            .map(|order| order.price)
            .collect();
        prices.dedup();
        prices.contains(&price) || prices.len() < self.limits.levels_per_side
    }

    /// Triggers one after the other what the command's trades, those of triggered orders included, let trade.
    pub(crate) fn cascade(&mut self, command: &mut Command, instrument: u32) {
        while let Some(order) = self.next_triggered(command, instrument) {
            self.orders.retain(|live| live.id != order.id);
            command.report_trigger(&order);
            let rests = matches!(order.order_type, OrderType::StopLimit | OrderType::LimitIfTouched);
            let mut taker = Order { order_type: OrderType::Limit, trigger: 0, ..order };
            let fills = self.trade(command, &mut taker, Budget::Held);
            let action = self.band_action(instrument);
            if taker.remaining == 0 {
                self.give_back_slot(taker.id);
            } else if fills.banded && (action == BandAction::Reject || !rests) {
                command.report_cancel(&taker, Reason::Band, taker.remaining);
                self.give_back_slot(taker.id);
            } else if rests && self.has_room(instrument, taker.side, taker.price, 0) {
                self.rest(taker);
                self.look(command, instrument);
            } else {
                let reason = if rests { Reason::NoLevel } else { Reason::Remainder };
                command.report_cancel(&taker, reason, taker.remaining);
                self.give_back_slot(taker.id);
            }
            if fills.banded && action == BandAction::Auction {
                return self.call_auction(command, instrument);
            }
        }
    }

    fn next_triggered(&self, command: &Command, instrument: u32) -> Option<Order> {
        let (low, high) = (command.prices.iter().min()?, command.prices.iter().max()?);
        let waiting =
            |direction| self.waiting(instrument).filter(move |order| order.direction() == direction);
        let up = waiting(Direction::Up)
            .filter(|order| order.trigger <= *high)
            .min_by_key(|order| (order.trigger, order.place));
        let down = waiting(Direction::Down)
            .filter(|order| order.trigger >= *low)
            .min_by_key(|order| (-order.trigger, order.place));
        up.or(down).cloned()
    }
}
