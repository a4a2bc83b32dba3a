//! One who listens: from requests, replies and reports alone it keeps the books and the balances, and objects to what no
//! exchange may do, whatever engine or model said it.

use ordain_exchange_engine::Context;
use ordain_exchange_protocol::{
    Access, Amend2, Answer, Audience, BalancesQuery, BookLevelsQuery, CancelReport, Definition, FillReport,
    Flag, IntoBytes, MarketState, NewOrder2, OrderRef, OrderReply, OrderState, OrderType, Output, PostOnly,
    PreventReport, Reason, Reply, Request, Scope, SelfTrade, Side, TimeInForce, TradeReport, Transfer,
    TriggerReport,
};
use std::collections::BTreeMap;

/// A live order, as far as its owner can know it.
#[derive(Clone, Copy)]
struct Live {
    request: NewOrder2,
    price: i64,
    cumulative: u64,
    left: u64,
    shown: u64,
    /// Comes before others that were entered later.
    entered: u64,
    /// Comes before others of its price or trigger with a higher one.
    place: u64,
    /// Whether it is in the book or waits, rather than trading now.
    rests: bool,
    /// Whether it waits for the auction that it is for.
    awaits: bool,
    /// Whether its instrument was halted since it was entered.
    halted: bool,
    /// The session that entered it.
    session: u64,
}

impl Live {
    fn waits(&self) -> bool {
        self.request.order_type.waits()
    }

    fn part(&self) -> u64 {
        match self.request.display.get() {
            0 => self.left,
            display => display.min(self.left),
        }
    }

    /// Whether it waits for trades at its trigger and above, not below.
    fn up(&self) -> bool {
        let stop = matches!(self.request.order_type, OrderType::Stop | OrderType::StopLimit);
        stop == (self.request.side == Side::Buy)
    }

    fn is_met(&self, low: i64, high: i64) -> bool {
        let trigger = self.request.trigger.get();
        if self.up() { trigger <= high } else { trigger >= low }
    }
}

#[derive(Default)]
pub struct Listener {
    definitions: BTreeMap<u32, Definition>,
    modes: BTreeMap<u32, SelfTrade>,
    /// States other than continuous.
    states: BTreeMap<u32, MarketState>,
    groups: BTreeMap<u32, u32>,
    firms: BTreeMap<u32, u32>,
    /// By scope and id, other than active.
    access: BTreeMap<(u8, u32), Access>,
    owned: BTreeMap<(u32, u32), i128>,
    /// Sessions that cancel on disconnect, and the first order that each would lose.
    on: BTreeMap<u64, u64>,
    orders: BTreeMap<u64, Live>,
    places: u64,
    /// Who trades now, and whether a trade or meeting of this command was its doing.
    taker: Option<u64>,
    /// Trades of the command, and those of their prices that may trigger orders.
    trades: u32,
    prices: Vec<i64>,
    meetings: u32,
    triggered: u32,
    /// Makers that traded in this command.
    traded: Vec<u64>,
    /// An auction whose trades are being told, and one that is over before the state changes.
    uncrossing: Option<auction::Uncrossing>,
    auction_ends: Option<u32>,
    /// The instrument that became continuous last.
    cascades: Option<u32>,
    /// Prices of auctions since an instrument was continuous.
    auction_prices: BTreeMap<u32, Vec<i64>>,
    /// Price, volume, side and imbalance that were indicated last.
    told: BTreeMap<u32, (i64, u64, u8, u64)>,
    /// What was reached.
    pub marks: Vec<&'static str>,
}

macro_rules! check {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}

#[path = "listener/auction.rs"]
mod auction;
#[path = "listener/feed.rs"]
pub mod feed;
#[path = "listener/operators.rs"]
mod operators;

type Checked = Result<(), String>;

impl Listener {
    /// Hears what came of a request.
    pub fn hear(
        &mut self,
        context: &Context,
        request: &Request<'_>,
        reply: &[u8],
        outputs: &[(Audience, Vec<u8>)],
    ) -> Checked {
        (self.taker, self.trades, self.meetings, self.triggered) = (None, 0, 0, 0);
        self.prices.clear();
        self.traded.clear();
        let outputs: Vec<Output<'_>> =
            outputs.iter().map(|(_, bytes)| Output::decode(bytes).expect("an output")).collect();
        let (mut ended, mut expired, mut accounts) = ([0, 0], 0, Vec::new());
        for output in &outputs {
            match output {
                Output::Cancel(it) if matches!(it.reason, Reason::Expired | Reason::Disconnected) => {
                    self.cancelled(context, output)?;
                    let disconnected = it.reason == Reason::Disconnected;
                    ended[usize::from(disconnected)] += 1;
                    if disconnected {
                        accounts.push(it.account.get());
                    }
                }
                // Else it is of the command.
                Output::Indication(it) if ended != [0, 0] && self.fits(it) => {
                    self.indication(context, it)?;
                    self.marks.push(match ended[1] {
                        0 => "indication: of orders that expire",
                        _ => "indication: of orders that end before",
                    });
                }
                _ => break,
            }
            expired += 1;
        }
        if ended[0] > 1 {
            self.marks.push("expiry: several");
        }
        if ended[1] > 1 {
            self.marks.push("disconnect: several");
        }
        if ended[0] > 0 && ended[1] > 0 {
            self.marks.push("disconnect: behind orders that expire");
        }
        accounts.dedup();
        if accounts.len() > 1 {
            self.marks.push("disconnect: of several accounts");
        }
        for live in self.orders.values() {
            let expiry = live.request.expiry.get();
            check!(expiry == 0 || expiry > context.time, "an order outlives its expiry {expiry}");
        }
        let reply = Reply::decode(reply).expect("a reply");
        if reply.code() == 0 {
            self.begin(context, request, &reply)?;
        }
        let indications =
            outputs[expired..].iter().rev().take_while(|it| matches!(it, Output::Indication(_))).count();
        let (of_command, last) = outputs[expired..].split_at(outputs.len() - expired - indications);
        match request {
            Request::SetState(it) if reply.code() == 0 => {
                return self.set_state(context, it, &outputs[expired..]);
            }
            Request::MassCancel(_) | Request::Control(_) if reply.code() == 0 => {
                self.control(context, request, &reply, of_command)?;
                if !last.is_empty() {
                    self.marks.push("indication: of a mass cancel, a purge or a kill");
                }
                return last.iter().try_for_each(|it| self.last_indication(context, it));
            }
            _ => self.outputs(context, of_command)?,
        }
        self.rest();
        if let (0, Some(reply)) = (reply.code(), order_reply(&reply)) {
            self.conclude(request, &reply)?;
        } else {
            check!(
                of_command.is_empty() && last.is_empty(),
                "a command that is none on orders, or was refused, made outputs"
            );
        }
        if let (false, Some(reply)) = (self.prices.is_empty(), order_reply(&reply)) {
            self.check_overdue(reply.instrument.get())?;
        }
        last.iter().try_for_each(|it| self.last_indication(context, it))
    }

    fn last_indication(&mut self, context: &Context, it: &Output<'_>) -> Checked {
        let Output::Indication(it) = it else { return Err(format!("no indication: {it:?}")) };
        self.indication(context, it)
    }

    /// Nobody waits who should have been triggered.
    fn check_overdue(&self, instrument: u32) -> Checked {
        if let (Some(low), Some(high)) = (self.prices.iter().min(), self.prices.iter().max()) {
            for live in self.orders.values() {
                let overdue =
                    live.waits() && live.request.instrument == instrument && live.is_met(*low, *high);
                check!(!overdue, "client order {} should have been triggered", live.request.client_order_id);
            }
        }
        Ok(())
    }

    /// What an accepted request changes before anything trades.
    fn begin(&mut self, context: &Context, request: &Request<'_>, reply: &Reply<'_>) -> Checked {
        match request {
            Request::CreateInstrument(it) => {
                self.definitions.insert(it.definition.instrument.get(), it.definition);
            }
            Request::SetSelfTrade(it) => {
                self.modes.insert(it.instrument.get(), it.self_trade);
            }
            Request::SetGroup(it) => {
                self.groups.insert(it.account.get(), it.group.get());
            }
            Request::Deposit(it) | Request::Withdraw(it) => {
                let Reply::Transfer(reply) = reply else { return Err("a transfer has another reply".into()) };
                if reply.seq.get() == context.seq {
                    let amount = i128::from(it.amount.get());
                    let by = self.least_access(it.account.get());
                    match (by, it.tag == Transfer::DEPOSIT, it.account.get()) {
                        (_, _, 0) if self.access.contains_key(&(Scope::All as u8, 0)) => {
                            self.marks.push("suspended: the exchange's own money");
                        }
                        (_, _, 0) => {}
                        (Access::Suspended, false, _) => return Err("a suspended account withdraws".into()),
                        (Access::Suspended, true, _) => self.marks.push("suspended: deposit"),
                        (Access::Blocked, false, _) => self.marks.push("blocked: withdraws"),
                        _ => {}
                    }
                    let change = if it.tag == Transfer::DEPOSIT { amount } else { -amount };
                    *self.owned.entry((it.account.get(), it.currency.get())).or_default() += change;
                }
            }
            Request::NewOrder(it) => self.entered(context, NewOrder2::from_first(it), reply)?,
            Request::NewOrder2(it) => self.entered(context, **it, reply)?,
            Request::Amend(it) => {
                let second = Amend2::new(it.account.get(), it.order(), it.price.get(), it.quantity.get());
                self.amended(&second, reply)?;
            }
            Request::Amend2(it) => self.amended(it, reply)?,
            Request::SetDisconnect(it) => match it.on {
                Flag::Yes => drop(self.on.entry(context.session).or_insert(self.places + 1)),
                Flag::No => drop(self.on.remove(&context.session)),
            },
            Request::Cancel(it) => {
                self.named(it.account.get(), it.order())?;
            }
            _ => {}
        }
        Ok(())
    }

    fn entered(&mut self, context: &Context, mut order: NewOrder2, reply: &Reply<'_>) -> Checked {
        let id = order_reply(reply).expect("a reply to an order").order_id.get();
        check!(!self.orders.contains_key(&id), "order {id:#x} is live already");
        let state = self.state(order.instrument.get());
        let tif = order.time_in_force;
        let passive = order.post_only != PostOnly::No || order.order_type.waits() || tif.is_for_auction();
        let gathers = state.gathers() && !tif.is_immediate() && order.post_only == PostOnly::No;
        let admits =
            state == MarketState::Continuous || (state == MarketState::PostOnly && passive) || gathers;
        check!(admits, "an order is accepted in state {state:?}");
        let access = self.least_access(order.account.get());
        check!(access == Access::Active, "an order of an account is accepted that is {access:?}");
        let definition = &self.definitions[&order.instrument.get()];
        let price = match (reply, order.order_type, order.side) {
            (Reply::Order2(reply), ..) => reply.price.get(),
            (_, OrderType::Market, Side::Buy) => definition.max_price.get(),
            (_, OrderType::Market, Side::Sell) => 1,
            _ => order.price.get(),
        };
        if order.cash.get() != 0 {
            order.quantity = definition.max_quantity;
        }
        if order.order_type == OrderType::MarketToLimit {
            order.order_type = OrderType::Limit;
        }
        let left = order.quantity.get();
        self.places += 1;
        let waits = order.order_type.waits();
        let awaits = match tif {
            TimeInForce::Ato => state != MarketState::OpeningAuction,
            TimeInForce::Atc => state != MarketState::ClosingAuction,
            _ => false,
        };
        if tif.is_for_auction() {
            self.marks.push(if awaits {
                "auction: an order waits for it"
            } else {
                "auction: an order comes in time"
            });
        }
        if state == MarketState::PostOnly {
            self.marks.push(match (waits, order.post_only) {
                (true, _) => "post-only: an order waits",
                (_, PostOnly::Reprice) => "post-only: an order may be repriced",
                _ => "post-only: an order rests",
            });
        }
        let live = Live {
            request: order,
            price,
            cumulative: 0,
            left,
            shown: 0,
            entered: self.places,
            place: self.places,
            rests: waits,
            awaits,
            halted: false,
            session: context.session,
        };
        self.orders.insert(id, live);
        self.taker = (!waits && !awaits).then_some(id);
        Ok(())
    }

    fn amended(&mut self, amend: &Amend2, reply: &Reply<'_>) -> Checked {
        let id = self.named(amend.account.get(), amend.order())?;
        let said = order_reply(reply).expect("a reply to an order");
        check!(said.order_id.get() == id, "the reply to an amend is of another order");
        let settled = self.settled(id, amend.price.get());
        let state = self.state(self.orders[&id].request.instrument.get());
        let access = self.least_access(amend.account.get());
        let live = self.orders.get_mut(&id).expect("it was found");
        if said.reason == Reason::AmendedBelowFilled {
            check!(amend.quantity.get() <= live.cumulative, "an amend above what was filled cancels");
            return Ok(());
        }
        let price = match reply {
            Reply::Order2(reply) => reply.price.get(),
            // The first layout does not tell.
            _ => settled,
        };
        if live.request.order_type == OrderType::Market {
            // Settled anew when its auction began, which nobody was told.
            live.price = price;
        }
        let total = live.cumulative + live.left;
        let display = if amend.display.get() == 0 { live.request.display } else { amend.display };
        let trigger = if amend.trigger.get() == 0 { live.request.trigger } else { amend.trigger };
        let mut keeps = amend.quantity.get() <= total;
        if live.waits() {
            keeps &= trigger == live.request.trigger;
        } else {
            keeps &= price == live.price && display == live.request.display;
        }
        // In a book that is crossed, one that reprices moves with it.
        let moves = live.request.post_only == PostOnly::Reprice && price != live.price;
        let only_smaller =
            moves || keeps && price == live.price && amend.trigger.get() == 0 && amend.display.get() == 0;
        match state {
            MarketState::Halted => return Err("an order is amended in a halt".into()),
            MarketState::Closed => return Err("an order is amended when the day is over".into()),
            MarketState::CancelOnly => {
                check!(only_smaller, "cancel-only: an amend does more than to make smaller")
            }
            _ => {}
        }
        match access {
            Access::Suspended => return Err("an order of a suspended account is amended".into()),
            Access::Blocked => {
                check!(only_smaller, "blocked: an amend does more than to make smaller");
                self.marks.push("blocked: made smaller");
            }
            _ => {}
        }
        let waits = live.waits();
        match (state, waits, amend.quantity.get() < total) {
            (MarketState::CancelOnly, false, true) => self.marks.push("cancel-only: made smaller"),
            (MarketState::CancelOnly, false, false) => self.marks.push("cancel-only: an amend to what it is"),
            (MarketState::CancelOnly, true, _) => self.marks.push("cancel-only: an amend of one that waits"),
            (MarketState::PostOnly, false, _) if !keeps => self.marks.push("post-only: an amend rests anew"),
            (MarketState::PostOnly, true, _) => self.marks.push("post-only: an amend of one that waits"),
            _ => {}
        }
        live.price = price;
        live.left = amend.quantity.get() - live.cumulative;
        live.request.display = display;
        live.request.trigger = trigger;
        if live.awaits {
            self.marks.push("auction: an order that waits for it is amended");
        } else if keeps {
            live.shown = live.shown.min(live.left);
        } else if live.waits() {
            self.places += 1;
            live.place = self.places;
            self.marks.push("amend: another trigger");
        } else {
            live.rests = false;
            self.taker = Some(id);
        }
        if keeps && live.waits() {
            self.marks.push("amend: waiting, keeps its place");
        }
        if display.get() != 0 {
            self.marks.push(if keeps {
                "amend: iceberg, keeps its place"
            } else {
                "amend: iceberg, rests anew"
            });
        }
        Ok(())
    }

    /// What an amend in the first layout makes of a price.
    fn settled(&self, id: u64, price: i64) -> i64 {
        let live = &self.orders[&id];
        let (kind, side) = (live.request.order_type, live.request.side);
        if (kind.waits() && !kind.has_price()) || kind == OrderType::Market {
            return live.price;
        }
        if live.awaits || self.state(live.request.instrument.get()).gathers() {
            return price;
        }
        let opposite = self.queue(live.request.instrument.get(), side.opposite());
        match (live.request.post_only, opposite.first().map(|best| self.orders[best].price)) {
            (PostOnly::Reprice, Some(best)) if side == Side::Buy => price.min(best - 1),
            (PostOnly::Reprice, Some(best)) => price.max(best + 1),
            _ => price,
        }
    }

    fn named(&self, account: u32, order: OrderRef) -> Result<u64, String> {
        let is_it = |(id, live): &(&u64, &Live)| {
            live.request.account.get() == account
                && match order {
                    OrderRef::Id(named) => **id == named,
                    OrderRef::Client(client) => live.request.client_order_id.get() == client,
                }
        };
        self.orders.iter().find(is_it).map(|(id, _)| *id).ok_or("an order that is not live was found".into())
    }

    fn outputs(&mut self, context: &Context, mut outputs: &[Output<'_>]) -> Checked {
        while !outputs.is_empty() {
            outputs = self.output(context, outputs)?;
        }
        Ok(())
    }

    /// Hears of one thing that happened; returns what was told after it.
    fn output<'a, 'b>(
        &mut self,
        context: &Context,
        outputs: &'a [Output<'b>],
    ) -> Result<&'a [Output<'b>], String> {
        match outputs {
            [Output::Fill(maker), Output::Fill(taker), Output::Trade(trade), others @ ..] => {
                self.trade(maker, taker, trade)?;
                Ok(others)
            }
            [Output::Prevent(maker), Output::Prevent(taker), others @ ..] => {
                self.meet(maker, taker)?;
                Ok(others)
            }
            [Output::Trigger(it), others @ ..] => {
                self.trigger(it)?;
                Ok(others)
            }
            [cancel @ Output::Cancel(_), others @ ..] => {
                self.cancelled(context, cancel)?;
                Ok(others)
            }
            others => Err(format!("reports that do not belong together: {:?}", others[0])),
        }
    }

    /// The live order that a report speaks of.
    fn of(&mut self, id: u64, account: u32, client: u64) -> Result<&mut Live, String> {
        let live = self.orders.get_mut(&id).ok_or_else(|| format!("a report of order {id:#x}, not live"))?;
        let named = live.request.account == account && live.request.client_order_id == client;
        check!(named, "a report of order {id:#x} goes to another account or names another client order");
        Ok(live)
    }

    /// Ids of a side of a book, in the order in which they have to trade.
    fn queue(&self, instrument: u32, side: Side) -> Vec<u64> {
        let mut queue: Vec<(i64, u64, u64)> = self
            .orders
            .iter()
            .filter(|(_, live)| live.rests && !live.waits() && !live.awaits)
            .filter(|(_, live)| live.request.order_type != OrderType::Market)
            .filter(|(_, live)| live.request.instrument == instrument && live.request.side == side)
            .map(|(id, live)| (if side == Side::Buy { -live.price } else { live.price }, live.place, *id))
            .collect();
        queue.sort_unstable();
        queue.into_iter().map(|entry| entry.2).collect()
    }

    fn same_owner(&self, one: &Live, other: &Live) -> bool {
        let group = |live: &Live| self.groups.get(&live.request.account.get()).copied().unwrap_or(0);
        one.request.account == other.request.account || (group(one) != 0 && group(one) == group(other))
    }

    fn ruling(&self, taker: &Live) -> SelfTrade {
        match taker.request.self_trade {
            SelfTrade::Default => {
                self.modes.get(&taker.request.instrument.get()).copied().unwrap_or(SelfTrade::Allow)
            }
            mode => mode,
        }
    }

    /// Who may be next is next: priority of price and time, the taker's limit, the maker's.
    fn check_pair(&self, maker: u64, taker: u64, price: i64) -> Checked {
        check!(self.taker == Some(taker), "an order trades that is not the taker");
        let taker = &self.orders[&taker];
        let state = self.state(taker.request.instrument.get());
        check!(state == MarketState::Continuous, "orders meet in state {state:?}");
        let side = taker.request.side;
        let queue = self.queue(taker.request.instrument.get(), side.opposite());
        check!(queue.first() == Some(&maker), "order {maker:#x} was met out of turn: {queue:x?}");
        check!(self.orders[&maker].price == price, "the price is not the maker's");
        let within = if side == Side::Buy { price <= taker.price } else { price >= taker.price };
        check!(within, "the taker's limit is {}, the price {price}", taker.price);
        Ok(())
    }

    fn trade(&mut self, maker: &FillReport, taker: &FillReport, trade: &TradeReport) -> Checked {
        let (price, lots) = (trade.price.get(), trade.quantity.get());
        let index = self.trades;
        for report in [maker, taker] {
            check!(report.price == trade.price && report.quantity == trade.quantity, "a trade of two sizes");
            check!(report.index == index && trade.index == index, "trades are not counted");
            check!(report.seq == trade.seq && report.time == trade.time, "a trade of two moments");
        }
        check!(lots > 0, "a trade of nothing");
        check!(maker.side == taker.side.opposite() && taker.side == trade.side, "sides");
        check!(maker.aggressor == Flag::No && taker.aggressor == Flag::Yes, "who was aggressive");
        self.check_pair(maker.order_id.get(), taker.order_id.get(), price)?;
        let (maker_was, taker_was) = (self.orders[&maker.order_id.get()], self.orders[&taker.order_id.get()]);
        let allowed = self.ruling(&taker_was) == SelfTrade::Allow || !self.same_owner(&maker_was, &taker_was);
        check!(allowed, "an owner trades with itself against its mode");
        check!(lots <= maker_was.shown, "{lots} lots trade where {} are shown", maker_was.shown);
        if self.same_owner(&maker_was, &taker_was) {
            self.marks.push("self-trade: allowed");
        }
        self.mark_access(&maker_was, ["blocked: a maker trades", "suspended: a maker trades"]);
        for report in [maker, taker] {
            self.filled(report)?;
        }
        self.pay(maker, taker)?;
        self.trades += 1;
        self.prices.push(price);
        if self.traded.contains(&maker.order_id.get()) {
            self.marks.push("iceberg: met again by one command");
        }
        self.traded.push(maker.order_id.get());
        if self.triggered > 0 {
            self.marks.push("cascade: trades");
        }
        Ok(())
    }

    /// Moves the money of a trade.
    fn pay(&mut self, one: &FillReport, other: &FillReport) -> Checked {
        let definition = &self.definitions[&one.instrument.get()];
        let (price, lots) = (one.price.get(), one.quantity.get());
        let notional = i128::from(price) * i128::from(lots) * i128::from(definition.quote_per_tick_lot.get());
        let base = i128::from(lots) * i128::from(definition.base_per_lot.get());
        let (base_currency, quote) = (definition.base.get(), definition.quote.get());
        let fees = i128::from(one.fee.get()) + i128::from(other.fee.get());
        check!(fees >= 0, "the fees of a trade add up to {fees}");
        if fees == 0 && one.fee != 0 {
            self.marks.push("fees: a rebate as high as the charge");
        }
        for report in [one, other] {
            let sign = if report.side == Side::Buy { 1 } else { -1 };
            let (account, fee) = (report.account.get(), i128::from(report.fee.get()));
            check!(report.fee_currency == quote, "a fee in another currency");
            *self.owned.entry((account, base_currency)).or_default() += sign * base;
            *self.owned.entry((account, quote)).or_default() -= sign * notional + fee;
            *self.owned.entry((0, quote)).or_default() += fee;
        }
        Ok(())
    }

    fn filled(&mut self, report: &FillReport) -> Checked {
        let (id, lots) = (report.order_id.get(), report.quantity.get());
        let live = self.of(id, report.account.get(), report.client_order_id.get())?;
        check!(lots <= live.left, "order {id:#x} is filled beyond its quantity");
        live.left -= lots;
        live.cumulative += lots;
        check!(
            report.remaining == live.left,
            "order {id:#x}: {} are left, not {}",
            live.left,
            report.remaining
        );
        check!(report.cumulative == live.cumulative, "order {id:#x}: cumulative");
        check!((report.state == OrderState::Filled) == (live.left == 0), "order {id:#x}: state");
        if report.aggressor == Flag::No {
            self.takes(id, lots);
        }
        Ok(())
    }

    /// Lots that a maker showed are gone: it shows anew, behind the others, if it hides some.
    fn takes(&mut self, id: u64, lots: u64) {
        self.places += 1;
        let live = self.orders.get_mut(&id).expect("a maker is live");
        live.shown -= lots.min(live.shown);
        if live.left == 0 {
            self.orders.remove(&id);
        } else if live.shown == 0 {
            live.shown = live.part();
            live.place = self.places;
            self.marks.push("iceberg: shows anew");
        }
    }

    fn meet(&mut self, maker: &PreventReport, taker: &PreventReport) -> Checked {
        let mode = taker.self_trade;
        check!(maker.price == taker.price && maker.prevented == taker.prevented, "a meeting of two sizes");
        check!(maker.index == self.meetings && taker.index == self.meetings, "meetings are not counted");
        self.check_pair(maker.order_id.get(), taker.order_id.get(), maker.price.get())?;
        let (maker_was, taker_was) = (self.orders[&maker.order_id.get()], self.orders[&taker.order_id.get()]);
        check!(self.same_owner(&maker_was, &taker_was), "orders of two owners are kept apart");
        check!(self.ruling(&taker_was) == mode && maker.self_trade == mode, "another mode rules");
        let k = maker_was.shown.min(taker_was.left);
        let (maker_loses, taker_loses) = match mode {
            SelfTrade::CancelTaker => (0, taker_was.left),
            SelfTrade::CancelMaker => (maker_was.left, 0),
            SelfTrade::CancelBoth => (maker_was.left, taker_was.left),
            _ => (k, k),
        };
        check!(maker.prevented == k, "{k} lots would have traded");
        for (report, loses) in [(maker, maker_loses), (taker, taker_loses)] {
            let live = self.of(report.order_id.get(), report.account.get(), report.client_order_id.get())?;
            check!(report.cancelled == loses, "{mode:?}: {loses} lots are lost, not {}", report.cancelled);
            live.left -= loses;
            check!(report.remaining == live.left, "after a meeting {} are left", live.left);
            check!((report.state == OrderState::Cancelled) == (live.left == 0), "state after a meeting");
        }
        self.takes(maker.order_id.get(), maker_loses);
        self.meetings += 1;
        self.marks.push(match mode {
            SelfTrade::CancelTaker => "self-trade: cancel taker",
            SelfTrade::CancelMaker => "self-trade: cancel maker",
            SelfTrade::CancelBoth => "self-trade: cancel both",
            _ => "self-trade: decrement",
        });
        if maker.account != taker.account {
            self.marks.push("self-trade: in a group");
        }
        if maker_was.left > maker_was.shown {
            self.marks.push("self-trade: maker hides some");
        }
        if self.triggered > 0 {
            self.marks.push("self-trade: in a cascade");
        }
        if self.meetings > 1 {
            self.marks.push("self-trade: more than once");
        }
        Ok(())
    }

    fn trigger(&mut self, it: &TriggerReport) -> Checked {
        self.rest();
        let id = it.order_id.get();
        let was = *self.of(id, it.account.get(), it.client_order_id.get())?;
        check!(was.waits() && was.request.order_type == it.order_type, "what does not wait is triggered");
        check!(was.request.trigger == it.trigger && was.price == it.price.get(), "its trigger and price");
        check!(was.left == it.remaining.get(), "its lots");
        let (low, high) = match (self.prices.iter().min(), self.prices.iter().max()) {
            (Some(low), Some(high)) => (*low, *high),
            _ => return Err("a trigger without a trade".into()),
        };
        // Whose turn it is: upwards first, the nearest trigger first, the oldest first.
        let turn = |(id, live): (&u64, &Live)| {
            let trigger = live.request.trigger.get();
            (!live.up(), if live.up() { trigger } else { -trigger }, live.place, *id)
        };
        let waiting = self.orders.iter().filter(|(_, live)| live.waits() && live.is_met(low, high));
        let next = waiting.filter(|(_, live)| live.request.instrument == it.instrument).map(turn).min();
        check!(next.is_some_and(|next| next.3 == id), "another order is to be triggered first");
        let live = self.orders.get_mut(&id).expect("it was found");
        live.rests = false;
        live.request.order_type = OrderType::Limit;
        live.request.trigger = 0.into();
        // Of the two that have no price of their own nothing rests.
        if matches!(it.order_type, OrderType::Stop | OrderType::MarketIfTouched) {
            live.request.time_in_force = TimeInForce::Ioc;
        }
        self.taker = Some(id);
        self.triggered += 1;
        self.marks.push(match (it.order_type, it.side) {
            (OrderType::Stop, Side::Buy) => "triggered: stop buy",
            (OrderType::Stop, Side::Sell) => "triggered: stop sell",
            (OrderType::StopLimit, Side::Buy) => "triggered: stop-limit buy",
            (OrderType::StopLimit, Side::Sell) => "triggered: stop-limit sell",
            (OrderType::MarketIfTouched, Side::Buy) => "triggered: market-if-touched buy",
            (OrderType::MarketIfTouched, Side::Sell) => "triggered: market-if-touched sell",
            (OrderType::LimitIfTouched, Side::Buy) => "triggered: limit-if-touched buy",
            (_, _) => "triggered: limit-if-touched sell",
        });
        if self.cascades.is_some() && self.triggered == 1 {
            self.marks.push("auction: its price triggers");
        }
        if self.triggered > 1 {
            self.marks.push("cascade: several");
        }
        self.mark_access(&was, ["blocked: is triggered", "suspended: is triggered"]);
        if was.halted {
            self.marks.push("triggered: waited through a halt");
        }
        Ok(())
    }

    fn cancelled(&mut self, context: &Context, output: &Output<'_>) -> Checked {
        let Output::Cancel(it) = output else { return Err("no cancel".into()) };
        let it: &CancelReport = it;
        let id = it.order_id.get();
        let was = *self.of(id, it.account.get(), it.client_order_id.get())?;
        check!(
            it.cancelled == was.left && it.cumulative == was.cumulative,
            "order {id:#x}: what was cancelled"
        );
        // What a market order is held to is settled anew when its auction begins.
        let known = was.request.order_type != OrderType::Market;
        check!(!known || it.price == was.price, "order {id:#x}: price {} is not {}", it.price, was.price);
        check!(it.seq == context.seq && it.time == context.time, "a cancel of another moment");
        match it.reason {
            Reason::Expired => {
                let expiry = was.request.expiry.get();
                check!(expiry != 0 && expiry <= context.time, "order {id:#x} expires early");
                self.marks.push(match (was.waits(), was.request.display.get()) {
                    (true, _) => "expiry: waiting",
                    (false, 0) => "expiry: in the book",
                    (false, _) => "expiry: iceberg",
                });
                self.mark_state(
                    &was,
                    [
                        "halted: an order expires",
                        "cancel-only: an order expires",
                        "post-only: an order expires",
                    ],
                );
                self.mark_access(&was, ["blocked: an order expires", "suspended: an order expires"]);
                if expiry == context.time {
                    self.marks.push("expiry: exactly now");
                }
            }
            Reason::Disconnected => {
                let first = self.on.get(&was.session).ok_or("an order of a session that has it off ends")?;
                check!(was.entered >= *first, "order {id:#x} was entered before its session had it on");
                self.marks.push(match (was.waits() || was.awaits, was.request.display.get()) {
                    (true, _) => "disconnect: waits",
                    (false, 0) => "disconnect: in the book",
                    (false, _) => "disconnect: iceberg",
                });
                if was.cumulative > 0 {
                    self.marks.push("disconnect: partly filled");
                }
                if self.state(was.request.instrument.get()) != MarketState::Continuous {
                    self.marks.push("disconnect: where nothing trades");
                }
            }
            Reason::Purged | Reason::Killed => {
                if was.waits() {
                    self.marks.push("swept: waits");
                }
                if was.left > was.shown && was.shown > 0 {
                    self.marks.push("swept: iceberg");
                }
                if self.state(was.request.instrument.get()) != MarketState::Continuous {
                    self.marks.push("swept: where nothing trades");
                }
            }
            Reason::MassCancelled => {
                self.mark_access(&was, ["blocked: mass cancel", "suspended: mass cancel"]);
                self.mark_state(
                    &was,
                    ["halted: mass cancel", "cancel-only: mass cancel", "post-only: mass cancel"],
                );
                self.marks.push(if was.waits() {
                    "mass cancel: waiting"
                } else {
                    "mass cancel: in the book"
                });
            }
            Reason::AuctionOver | Reason::DayOver | Reason::Budget => self.ends(&was, it.reason)?,
            Reason::NoLevel if was.request.time_in_force.is_for_auction() => self.ends(&was, it.reason)?,
            Reason::Remainder | Reason::NoLevel => {
                check!(self.triggered > 0 && self.taker == Some(id), "a cancel of what was not triggered");
                self.taker = None;
                let rests = was.request.time_in_force != TimeInForce::Ioc;
                check!(rests == (it.reason == Reason::NoLevel), "order {id:#x}: reason {:?}", it.reason);
                self.marks.push(if rests { "cascade: no level" } else { "cascade: remainder" });
            }
            other => return Err(format!("no cancel is reported for {other:?}")),
        }
        self.orders.remove(&id);
        Ok(())
    }

    /// The taker is done.
    fn rest(&mut self) {
        let Some(id) = self.taker.take() else { return };
        self.places += 1;
        let Some(live) = self.orders.get_mut(&id) else { return };
        if live.left == 0 || live.request.time_in_force.is_immediate() {
            self.orders.remove(&id);
            return;
        }
        live.rests = true;
        live.shown = live.part();
        live.place = self.places;
    }

    /// What the reply says of the order is what the reports said.
    fn conclude(&mut self, request: &Request<'_>, reply: &OrderReply) -> Checked {
        let id = reply.order_id.get();
        if matches!(reply.reason, Reason::Cancelled | Reason::AmendedBelowFilled) {
            let was = self.orders.remove(&id).ok_or("an order that is not live was cancelled")?;
            check!(reply.cancelled == was.left, "{} lots were cancelled, not {}", was.left, reply.cancelled);
            if was.waits() {
                self.marks.push("cancel: waiting");
            }
            self.mark_access(
                &was,
                match reply.reason {
                    Reason::Cancelled => ["blocked: cancel", "suspended: cancel"],
                    _ => ["blocked: amend to what was filled", "suspended: amend to what was filled"],
                },
            );
            let marks = match reply.reason {
                Reason::Cancelled => ["halted: cancel", "cancel-only: cancel", "post-only: cancel"],
                _ => [
                    "halted: amend to what was filled",
                    "cancel-only: amend to what was filled",
                    "post-only: amend to what was filled",
                ],
            };
            self.mark_state(&was, marks);
            return Ok(());
        }
        let total = reply.cumulative.get() + reply.remaining.get() + reply.cancelled.get();
        let (entered, fok) = match request {
            Request::NewOrder(it) => (Some(it.quantity.get()), it.time_in_force == TimeInForce::Fok),
            Request::NewOrder2(it) if it.cash.get() != 0 => (None, false),
            Request::NewOrder2(it) => (Some(it.quantity.get()), it.time_in_force == TimeInForce::Fok),
            _ => (None, false),
        };
        check!(entered.is_none_or(|quantity| quantity == total), "lots vanish: {total} of {entered:?}");
        check!(!fok || reply.state == OrderState::Filled, "a FOK was not filled whole");
        check!(!fok || entered == Some(reply.cumulative.get()), "a FOK was not filled whole");
        // The cascade may have changed it since.
        if self.triggered == 0 {
            let left = self.orders.get(&id).map_or(0, |live| live.left);
            check!(reply.remaining == left, "{left} lots are left, not {}", reply.remaining);
        }
        if fok && self.meetings > 0 {
            self.marks.push("self-trade: FOK goes past its owner's");
        }
        Ok(())
    }

    /// The books and balances that were heard of are those that queries tell.
    pub fn compare(&self, ask: impl Fn(&[u8]) -> Vec<u8>) -> Checked {
        for &instrument in self.definitions.keys() {
            let mut query = BookLevelsQuery::new(instrument, 20);
            let mut levels: [Vec<(i64, u64, u32)>; 2] = [Vec::new(), Vec::new()];
            loop {
                let answer = ask(query.as_bytes());
                let Ok(Answer::BookLevels(_, bids, asks)) = Answer::decode(&answer) else { unreachable!() };
                for (nth, list) in [bids, asks].into_iter().enumerate() {
                    let entries = list.iter().map(|it| (it.price.get(), it.quantity.get(), it.orders.get()));
                    levels[nth].extend(entries);
                }
                if bids.is_empty() && asks.is_empty() {
                    break;
                }
                query.after_bid = bids.last().map_or(1.into(), |entry| entry.price);
                query.after_ask = asks.last().map_or(i64::MAX.into(), |entry| entry.price);
            }
            for (side, told) in [Side::Buy, Side::Sell].into_iter().zip(levels) {
                let mut heard: Vec<(i64, u64, u32)> = Vec::new();
                for id in self.queue(instrument, side) {
                    let live = &self.orders[&id];
                    match heard.last_mut() {
                        Some(level) if level.0 == live.price => {
                            level.1 += live.shown;
                            level.2 += 1;
                        }
                        _ => heard.push((live.price, live.shown, 1)),
                    }
                }
                check!(heard == told, "{side:?} of {instrument}: heard {heard:?}, told {told:?}");
            }
        }
        for (&(account, currency), &owned) in &self.owned {
            check!(owned >= 0, "account {account} owes {owned} of currency {currency}");
            let answer = ask(BalancesQuery::new(account, currency - 1).as_bytes());
            let Ok(Answer::Balances(_, entries)) = Answer::decode(&answer) else { unreachable!() };
            let told = entries.iter().find(|entry| entry.currency == currency);
            let told = told.map_or(0, |it| i128::from(it.free.get()) + i128::from(it.held.get()));
            check!(told == owned, "account {account}, currency {currency}: heard {owned}, told {told}");
        }
        Ok(())
    }
}

fn order_reply(reply: &Reply<'_>) -> Option<OrderReply> {
    match reply {
        Reply::Order(reply) => Some(**reply),
        Reply::Order2(reply) => Some(reply.first()),
        _ => None,
    }
}
