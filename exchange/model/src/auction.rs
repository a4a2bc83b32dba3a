//! Call auctions: orders that gather, and the one price at which they trade.

use crate::command::Command;
use crate::fees::Role;
use crate::instrument::at_or_better;
use crate::message::Message;
use crate::{Context, Instrument, Model, Order, code, ensure};
use ordain_exchange_protocol::{
    AuctionQuery, MarketState, OrderType, Reason, Reject, SetReference, Side, Sides, TimeInForce, permission,
};

/// What an instrument has of auctions.
#[derive(Clone, Default)]
pub struct Auction {
    under_way: bool,
    /// The reference price of the auction under way, ticks.
    reference: Option<i128>,
    /// What everybody was told last.
    told: Outlook,
    /// The prices of auctions since the instrument was last continuous, ticks.
    prices: Vec<i128>,
}

/// What an auction would do if it ended now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// Ticks; 0 if nothing would trade.
    pub price: i128,
    pub volume: i128,
    /// The side with more lots at this price.
    pub side: Sides,
    pub imbalance: i128,
}

impl Default for Outlook {
    fn default() -> Self {
        Self { price: 0, volume: 0, side: Sides::Any, imbalance: 0 }
    }
}

impl Model {
    fn auction(&self, instrument: u32) -> Auction {
        self.auctions.get(&instrument).cloned().unwrap_or_default()
    }

    fn auction_mut(&mut self, instrument: u32) -> &mut Auction {
        self.auctions.entry(instrument).or_default()
    }

    /// Prices that trigger orders once the instrument is continuous.
    pub(crate) fn remember_prices(&mut self, instrument: u32, prices: Vec<i128>) {
        self.auction_mut(instrument).prices.extend(prices);
    }

    /// Whether orders gather in an instrument without trading.
    pub(crate) fn gathers(&self, instrument: u32) -> bool {
        self.state(instrument).gathers()
    }

    pub(crate) fn set_reference(&mut self, context: &Context, request: &SetReference) -> Result<(), Reject> {
        let id = request.instrument.get();
        context.may(permission::ADMIN)?;
        let instrument = self.instruments.get(&id).ok_or(Reject::UnknownInstrument)?;
        instrument.check_price(request.price.get().into())?;
        let fixed = self.auction(id).under_way && self.state(id) != MarketState::Closed;
        ensure(!fixed, Reject::ReferenceFixed)?;
        self.day_references.insert(id, request.price.get().into());
        Ok(())
    }

    /// What a market order for an auction is held to when it is entered.
    pub(crate) fn entry_reference(&self, instrument: u32) -> Option<i128> {
        let auction = self.auction(instrument);
        if auction.under_way {
            return auction.reference;
        }
        self.last(instrument).or(self.day_references.get(&instrument).copied())
    }

    /// Whether an order for one auction takes part at once.
    pub(crate) fn joins_now(&self, instrument: u32, tif: TimeInForce) -> bool {
        matches!(
            (tif, self.state(instrument)),
            (TimeInForce::Ato, MarketState::OpeningAuction) | (TimeInForce::Atc, MarketState::ClosingAuction)
        )
    }

    /// One instrument's state becomes another, with all that follows.
    pub(crate) fn change_state(
        &mut self,
        command: &mut Command,
        id: u32,
        before: MarketState,
        state: MarketState,
    ) {
        let ends = match state {
            MarketState::Continuous | MarketState::PostOnly => true,
            MarketState::Closed => before.is_auction(),
            _ => false,
        };
        if ends && self.auction(id).under_way {
            self.uncross(command, id, before);
            let in_book = |order: &Order| order.is_in_book_of(id) && order.tif.is_for_auction();
            self.end_all(command, Reason::AuctionOver, in_book);
            self.auction_mut(id).under_way = false;
        }
        self.calls.remove(&id);
        self.states.insert(id, state);
        command.report_state(id, state, before);

        if state.gathers() {
            let anew =
                matches!(before, MarketState::Continuous | MarketState::PostOnly | MarketState::Closed);
            if anew || !self.auction(id).under_way {
                let (last, day) = (self.last(id), self.day_references.get(&id).copied());
                self.auction_mut(id).reference = match state {
                    MarketState::PreOpen | MarketState::OpeningAuction => day.or(last),
                    _ => last.or(day),
                };
            }
            self.auction_mut(id).under_way = true;
        }
        match state {
            MarketState::OpeningAuction => self.join(command, id, TimeInForce::Ato),
            MarketState::ClosingAuction => self.join(command, id, TimeInForce::Atc),
            _ => {}
        }
        if state.is_auction() {
            if !before.is_auction() {
                self.auction_mut(id).told = Outlook::default();
            }
            self.indicate(command, id);
        }
        if state == MarketState::Closed {
            let ends =
                |order: &Order, tifs: &[TimeInForce]| order.instrument == id && tifs.contains(&order.tif);
            self.end_all(command, Reason::DayOver, |order| ends(order, &[TimeInForce::Day]));
            self.end_all(command, Reason::DayOver, |order| {
                ends(order, &[TimeInForce::Ato, TimeInForce::Atc])
            });
        }
        if state == MarketState::Continuous {
            command.prices = std::mem::take(&mut self.auction_mut(id).prices);
            self.cascade(command, id);
            command.prices.clear();
        }
    }

    /// Ends orders in the order of their acceptance.
    fn end_all(&mut self, command: &mut Command, reason: Reason, ends: impl Fn(&Order) -> bool) {
        while let Some(id) = self.orders.iter().find(|order| ends(order)).map(|order| order.id) {
            self.close_and_report(command, id, reason);
        }
    }

    /// Orders that waited for this auction come into the book.
    fn join(&mut self, command: &mut Command, id: u32, tif: TimeInForce) {
        let instrument = self.instruments[&id].clone();
        let waiting = |order: &Order| order.instrument == id && order.awaits_auction && order.tif == tif;
        while let Some(at) = self.orders.iter().position(waiting) {
            let mut order = self.orders[at].clone();
            if order.order_type == OrderType::Market {
                let reference = self.auction(id).reference.expect("there was one when it was entered");
                let price = instrument.collared(order.side, reference);
                let (currency, needed) = instrument.hold(order.side, price, order.remaining);
                let (_, holds) = self.hold(&order);
                if needed - holds > self.free(order.account, currency) {
                    self.close_and_report(command, order.id, Reason::Budget);
                    continue;
                }
                order.price = price;
            } else if !self.has_room(id, order.side, order.price, 0) {
                self.close_and_report(command, order.id, Reason::NoLevel);
                continue;
            }
            order.awaits_auction = false;
            order.shown = order.next_part();
            order.place = self.next_place();
            self.orders[at] = order;
            self.look(command, id);
        }
    }

    /// The price that an auction would have now, and what would come of it.
    #[must_use]
    pub fn outlook(&self, id: u32) -> Outlook {
        let book: Vec<&Order> = self.orders.iter().filter(|order| order.is_in_book_of(id)).collect();
        let lots = |side: Side, price: i128| -> i128 {
            let of_side = book.iter().filter(|order| order.side == side);
            of_side.filter(|order| at_or_better(side, order.price, price)).map(|order| order.remaining).sum()
        };
        // Price, volume, and how many more buys than sells there are.
        let at = |price: i128| {
            let (buys, sells) = (lots(Side::Buy, price), lots(Side::Sell, price));
            (price, buys.min(sells), buys - sells)
        };
        let reference = self.auction(id).reference;
        let limits = book.iter().filter(|order| order.order_type != OrderType::Market);
        let mut rows: Vec<(i128, i128, i128)> = limits.map(|order| at(order.price)).collect();
        let most = rows.iter().map(|row| row.1).max().unwrap_or(0);
        let has_market =
            |side: Side| book.iter().any(|order| order.side == side && order.order_type == OrderType::Market);
        if let Some(reference) = reference
            && has_market(Side::Buy)
            && has_market(Side::Sell)
            && at(reference).1 > most
        {
            rows = vec![at(reference)];
        }
        // 1.
        let most = rows.iter().map(|row| row.1).max().unwrap_or(0);
        if most == 0 {
            return Outlook::default();
        }
        rows.retain(|row| row.1 == most);
        // 2.
        let least = rows.iter().map(|row| row.2.abs()).min().expect("a price with a volume");
        rows.retain(|row| row.2.abs() == least);
        // 3 and 4.
        let highest = || rows.iter().max_by_key(|row| row.0);
        let chosen = if rows.iter().all(|row| row.2 > 0) {
            highest()
        } else if rows.iter().all(|row| row.2 < 0) {
            rows.iter().min_by_key(|row| row.0)
        } else {
            match reference {
                Some(reference) => rows.iter().min_by_key(|row| ((row.0 - reference).abs(), -row.0)),
                None => highest(),
            }
        };
        let (price, volume, surplus) = *chosen.expect("a price with a volume");
        let side = match surplus {
            0 => Sides::Any,
            1.. => Sides::Buy,
            _ => Sides::Sell,
        };
        Outlook { price, volume, side, imbalance: surplus.abs() }
    }

    /// All trade at one price what can be traded at it.
    fn uncross(&mut self, command: &mut Command, id: u32, before: MarketState) {
        let instrument = self.instruments[&id].clone();
        let outlook = self.outlook(id);
        let mut trades = 0;
        // Nobody sells for the price 0, which stands for none.
        while let Some(buy) = self.first_at(id, Side::Buy, outlook.price)
            && let Some(sell) = self.first_at(id, Side::Sell, outlook.price)
        {
            self.auction_trade(command, &instrument, buy, sell, outlook.price);
            trades += 1;
        }
        if trades > 0 {
            self.day_references.insert(id, outlook.price);
            self.auction_mut(id).prices.push(outlook.price);
            self.count_auction(id, command.context.time, outlook.price, outlook.volume);
        }
        command.report_auction(id, before, &outlook, trades);
    }

    /// Who trades first of those who would at a price.
    fn first_at(&self, id: u32, side: Side, price: i128) -> Option<Order> {
        let order = self.side(id, side).first().copied().cloned();
        order.filter(|order| at_or_better(side, order.price, price))
    }

    fn auction_trade(
        &mut self,
        command: &mut Command,
        instrument: &Instrument,
        mut buy: Order,
        mut sell: Order,
        price: i128,
    ) {
        let lots = buy.shown.min(sell.shown);
        let notional = instrument.notional(price, lots);
        let (of_buyer, of_seller) =
            self.fees(instrument, (buy.account, Role::Auction), (sell.account, Role::Auction), price, lots);
        self.change(buy.account, instrument.quote, -(notional + of_buyer));
        self.change(sell.account, instrument.quote, notional - of_seller);
        self.change(0, instrument.quote, of_buyer + of_seller);
        self.move_position(buy.account, sell.account, instrument.id, lots);
        self.change(sell.account, instrument.base, -lots * instrument.base_per_lot);
        self.change(buy.account, instrument.base, lots * instrument.base_per_lot);
        for (order, charge) in [(&mut buy, of_buyer), (&mut sell, of_seller)] {
            order.cumulative += lots;
            order.remaining -= lots;
            command.report_fill(order, false, (price, lots), (instrument.quote, charge));
        }
        for order in [buy, sell] {
            self.put_back(order, lots);
            self.look_at_trade(command, instrument.id);
        }
        command.trades += 1;
        self.trades += 1;
        self.last.insert(instrument.id, price);
    }

    /// Tells everybody what the auction of an instrument would do now, if it is another thing than what was told last.
    fn indicate(&mut self, command: &mut Command, id: u32) {
        let outlook = self.outlook(id);
        if self.state(id).is_auction() && outlook != self.auction(id).told {
            self.auction_mut(id).told = outlook;
            command.report_indication(id, self.state(id), &outlook);
        }
    }

    /// The same for all, in the order in which their books first changed.
    pub(crate) fn indicate_all(&mut self, command: &mut Command) {
        let touched = std::mem::take(&mut command.touched);
        for id in touched.into_iter().chain(self.instruments.keys().copied().collect::<Vec<u32>>()) {
            self.indicate(command, id);
        }
    }

    pub(crate) fn auction_answer(&self, context: &Context, query: &AuctionQuery) -> Vec<u8> {
        let id = query.instrument.get();
        let result = context
            .may(permission::VIEW)
            .and_then(|()| ensure(self.instruments.contains_key(&id), Reject::UnknownInstrument));
        let answer = Message::new(0xAB, 72).put(2, 2, code(&result)).put(4, 4, id);
        if result.is_err() {
            return answer.bytes();
        }
        let auction = self.auction(id);
        let reference = if auction.under_way { auction.reference } else { None };
        let told = if self.state(id).is_auction() { auction.told } else { Outlook::default() };
        let market = |side: Side| -> i128 {
            let of_side =
                self.side(id, side).into_iter().filter(|order| order.order_type == OrderType::Market);
            of_side.map(|order| order.remaining).sum()
        };
        answer
            .put(8, 1, u8::from(auction.under_way))
            .put(9, 1, self.state(id) as u8)
            .put(10, 1, told.side as u8)
            .put(16, 8, reference.unwrap_or(0))
            .put(24, 8, self.day_references.get(&id).copied().unwrap_or(0))
            .put(32, 8, told.price)
            .put(40, 8, told.volume)
            .put(48, 8, told.imbalance)
            .put(56, 8, market(Side::Buy))
            .put(64, 8, market(Side::Sell))
            .bytes()
    }
}
