//! Queries and their answers.

use crate::message::Message;
use crate::{Context, Model, Order, code, ensure};
use ordain_exchange_protocol::{
    BalancesQuery, BookLevelsQuery, BookOrdersQuery, ControlQuery, IntoBytes, MarketQuery, OrderRef,
    PostOnly, Query, Reject, Side, permission,
};

const LEVEL: usize = 24;
const ORDER: usize = 40;
const ORDERS_MAX: usize = 25;
const BALANCE: usize = 24;
const BALANCES_MAX: usize = 42;

/// A head and entries, each already laid out.
fn list(tag: u8, subject: u32, result: Result<(Vec<Vec<u8>>, usize), Reject>) -> Vec<u8> {
    let refused = code(&result);
    let (entries, asks) = result.unwrap_or_default();
    let mut bytes = Message::new(tag, 16)
        .put(2, 2, refused)
        .put(4, 4, subject)
        .put(8, 2, (entries.len() - asks) as u64)
        .put(10, 2, asks as u64)
        .bytes();
    bytes.extend(entries.into_iter().flatten());
    bytes
}

impl Model {
    /// Answers a query.
    #[must_use]
    pub fn query(&self, context: &Context, query: &Query<'_>) -> Vec<u8> {
        match query {
            Query::BookLevels(query) => list(0xA1, query.instrument.get(), self.book_levels(context, query)),
            Query::BookOrders(query) => {
                list(0xA2, query.instrument.get(), self.book_orders(context, query).map(|list| (list, 0)))
            }
            Query::Balances(query) => {
                list(0xA3, query.account.get(), self.balances(context, query).map(|list| (list, 0)))
            }
            Query::Order(query) => {
                let result = self.named(context, query.account.get(), query.order());
                let answer = Message::new(0xA4, 56).put(2, 2, code(&result)).put(8, 4, query.account.get());
                match result {
                    Ok(order) => answer
                        .put(4, 4, order.instrument)
                        .put(12, 1, order.side as u8)
                        .put(13, 1, u8::from(order.post_only != PostOnly::No))
                        .put(16, 8, order.id)
                        .put(24, 8, order.client)
                        .put(32, 8, order.price)
                        .put(40, 8, order.cumulative)
                        .put(48, 8, order.remaining)
                        .bytes(),
                    Err(_) => answer
                        .put(16, 8, query.order_id.get())
                        .put(24, 8, query.client_order_id.get())
                        .bytes(),
                }
            }
            Query::Statistics(_) => {
                let result = context.may(permission::VIEW);
                let answer = Message::new(0xA5, 32).put(2, 2, code(&result));
                match result {
                    Ok(()) => answer
                        .put(4, 4, self.instruments.len() as u64)
                        .put(8, 4, self.accounts.len() as u64)
                        .put(12, 4, self.orders.len() as u64)
                        .put(16, 8, self.accepted)
                        .put(24, 8, self.trades)
                        .bytes(),
                    Err(_) => answer.bytes(),
                }
            }
            Query::Instrument(query) => {
                let id = query.instrument.get();
                let result = context
                    .may(permission::VIEW)
                    .and_then(|()| self.instruments.get(&id).ok_or(Reject::UnknownInstrument));
                let answer = Message::new(0xA6, 112).put(2, 2, code(&result));
                match result {
                    Ok(instrument) => answer.put_bytes(8, instrument.definition.as_bytes()).bytes(),
                    Err(_) => answer.put(8, 4, id).bytes(),
                }
            }
            Query::Currency(query) => {
                let id = query.currency.get();
                let result =
                    context.may(permission::VIEW | permission::ADMIN).and_then(|()| self.is_currency(id));
                let answer = Message::new(0xA7, 24).put(2, 2, code(&result)).put(4, 4, id);
                match result {
                    Ok(()) => answer.put(8, 8, self.supply(id)).put(16, 8, self.free(0, id)).bytes(),
                    Err(_) => answer.bytes(),
                }
            }
            Query::OrderDetail(query) => {
                let result = self.named(context, query.account.get(), query.order());
                let answer = Message::new(0xA8, 96).put(2, 2, code(&result)).put(8, 4, query.account.get());
                match result {
                    Ok(order) => answer
                        .put(4, 4, order.instrument)
                        .put(12, 1, order.side as u8)
                        .put(13, 1, order.order_type as u8)
                        .put(14, 1, order.tif as u8)
                        .put(15, 1, order.post_only as u8)
                        .put(16, 8, order.id)
                        .put(24, 8, order.client)
                        .put(32, 8, order.price)
                        .put(40, 8, order.cumulative)
                        .put(48, 8, order.remaining)
                        .put(56, 8, if order.waits() || order.awaits_auction { 0 } else { order.shown })
                        .put(64, 8, order.display)
                        .put(72, 8, order.trigger)
                        .put(80, 8, order.expiry)
                        .put(88, 1, order.self_trade as u8)
                        .put(89, 1, if order.waits() || order.awaits_auction { 4 } else { 1 })
                        .bytes(),
                    Err(_) => answer
                        .put(13, 1, 1)
                        .put(14, 1, 1)
                        .put(16, 8, query.order_id.get())
                        .put(24, 8, query.client_order_id.get())
                        .bytes(),
                }
            }
            Query::Trading(query) => {
                let id = query.instrument.get();
                let result = context
                    .may(permission::VIEW)
                    .and_then(|()| ensure(self.instruments.contains_key(&id), Reject::UnknownInstrument));
                let answer = Message::new(0xA9, 32).put(2, 2, code(&result)).put(4, 4, id);
                match result {
                    Ok(()) => answer
                        .put(8, 8, self.last(id).unwrap_or(0))
                        .put(16, 4, self.waiting(id).count() as u64)
                        .put(20, 1, self.mode(id) as u8)
                        .put(21, 1, 1)
                        .put(22, 1, self.state(id) as u8)
                        .bytes(),
                    Err(_) => answer.bytes(),
                }
            }
            Query::Owner(query) => {
                let account = query.account.get();
                let result = self.may_see_trader(account, context);
                let answer = Message::new(0xAA, 32).put(2, 2, code(&result)).put(4, 4, account);
                match result {
                    Ok(()) => answer.put(8, 4, self.group(account)).bytes(),
                    Err(_) => answer.bytes(),
                }
            }
            Query::Control(ControlQuery::Access(query)) => self.access_answer(context, query),
            Query::Control(ControlQuery::Limits(query)) => self.limits_answer(context, query),
            Query::Control(ControlQuery::InstrumentLimits(query)) => {
                self.instrument_limits_answer(context, query)
            }
            Query::Control(ControlQuery::Fees(query)) => self.fees_answer(context, query),
            Query::Auction(query) => self.auction_answer(context, query),
            Query::Market(MarketQuery::Bands(query)) => self.bands_answer(context, query.instrument.get()),
            Query::Market(MarketQuery::Schedule(query)) => {
                self.schedule_answer(context, query.instrument.get())
            }
            Query::Market(MarketQuery::Feed(query)) => self.feed_answer(context, query.instrument.get()),
        }
    }

    /// Whether a key may read what the account's stream says: if it may ask for the account's balances.
    #[must_use]
    pub fn may_read(&self, account: u32, context: &Context) -> bool {
        self.may_see(account, context).is_ok()
    }

    pub(crate) fn may_see_instrument(&self, context: &Context, id: u32) -> Result<(), Reject> {
        context.may(permission::VIEW)?;
        ensure(self.instruments.contains_key(&id), Reject::UnknownInstrument)
    }

    fn may_see(&self, account: u32, context: &Context) -> Result<(), Reject> {
        context.may(permission::VIEW)?;
        self.is_account(account)?;
        self.is_granted(context, account)
    }

    fn book_levels(
        &self,
        context: &Context,
        query: &BookLevelsQuery,
    ) -> Result<(Vec<Vec<u8>>, usize), Reject> {
        context.may(permission::VIEW)?;
        let instrument = query.instrument.get();
        ensure(self.instruments.contains_key(&instrument), Reject::UnknownInstrument)?;
        let after_bid = i128::from(query.after_bid.get());
        let after_ask = i128::from(query.after_ask.get());
        let depth = query.depth.into();
        let mut entries = self.levels(instrument, Side::Buy, depth, |p| after_bid == 0 || p < after_bid);
        let asks = self.levels(instrument, Side::Sell, depth, |p| after_ask == 0 || p > after_ask);
        let count = asks.len();
        entries.extend(asks);
        Ok((entries, count))
    }

    /// The best price that the book shows.
    pub(crate) fn shown_best(&self, instrument: u32, side: Side) -> Option<i128> {
        self.shown_side(instrument, side).first().map(|order| order.price)
    }

    /// What the book shows of a side.
    pub(crate) fn shown_side(&self, instrument: u32, side: Side) -> Vec<&Order> {
        let mut orders = self.side(instrument, side);
        orders.retain(|order| order.is_at_a_level());
        orders
    }

    fn levels(
        &self,
        instrument: u32,
        side: Side,
        depth: usize,
        wanted: impl Fn(i128) -> bool,
    ) -> Vec<Vec<u8>> {
        let orders = self.shown_side(instrument, side);
        let levels = orders.chunk_by(|a, b| a.price == b.price);
        let levels = levels.filter(|level| wanted(level[0].price)).take(depth);
        let entry = |level: &[&Order]| {
            Message::entry(LEVEL)
                .put(0, 8, level[0].price)
                .put(8, 8, level.iter().map(|order| order.shown).sum::<i128>())
                .put(16, 4, level.len() as u64)
                .bytes()
        };
        levels.map(entry).collect()
    }

    fn book_orders(&self, context: &Context, query: &BookOrdersQuery) -> Result<Vec<Vec<u8>>, Reject> {
        context.may(permission::VIEW | permission::ADMIN)?;
        let instrument = query.instrument.get();
        ensure(self.instruments.contains_key(&instrument), Reject::UnknownInstrument)?;
        let price = i128::from(query.price.get());
        let mut orders = self.shown_side(instrument, query.side);
        orders.retain(|order| order.price == price);
        let behind = match query.after.get() {
            0 => 0,
            after => {
                let at = orders.iter().position(|order| order.id == after);
                at.ok_or(Reject::UnknownOrder)? + 1
            }
        };
        let entry = |order: &&Order| {
            Message::entry(ORDER)
                .put(0, 8, order.id)
                .put(8, 8, order.client)
                .put(16, 4, order.account)
                .put(24, 8, order.cumulative)
                .put(32, 8, order.shown)
                .bytes()
        };
        Ok(orders[behind..].iter().take(ORDERS_MAX).map(entry).collect())
    }

    fn balances(&self, context: &Context, query: &BalancesQuery) -> Result<Vec<Vec<u8>>, Reject> {
        let account = query.account.get();
        self.may_see(account, context)?;
        let currencies = self.owned.keys().filter(|key| key.0 == account).map(|key| key.1);
        let balances = currencies
            .filter(|currency| *currency > query.after.get())
            .map(|currency| (currency, self.free(account, currency), self.held(account, currency)))
            .filter(|(_, free, held)| *free != 0 || *held != 0);
        let entry = |(currency, free, held): (u32, i128, i128)| {
            Message::entry(BALANCE).put(0, 4, currency).put(8, 8, free).put(16, 8, held).bytes()
        };
        Ok(balances.take(BALANCES_MAX).map(entry).collect())
    }

    /// As [`Model::may_see`], without the exchange's own account.
    pub(crate) fn may_see_trader(&self, account: u32, context: &Context) -> Result<(), Reject> {
        context.may(permission::VIEW)?;
        ensure(self.accounts.contains_key(&account), Reject::UnknownAccount)?;
        self.is_granted(context, account)
    }

    fn named(&self, context: &Context, account: u32, order: OrderRef) -> Result<&Order, Reject> {
        self.may_see_trader(account, context)?;
        Ok(&self.orders[self.find(account, order)?])
    }
}
