//! The questions.

use crate::engine::permitted;
use crate::levels::key;
use crate::orders::{Extra, NONE};
use crate::{Context, Engine};
use ordain_exchange_protocol::{
    AuctionAnswer, AuctionQuery, BALANCES_MAX, BalanceEntry, BalancesQuery, BookLevelsQuery, BookOrdersQuery,
    ControlQuery, CurrencyAnswer, CurrencyQuery, Definition, Flag, FromZeros, InstrumentAnswer,
    InstrumentQuery, IntoBytes, LevelEntry, ListHead, MESSAGE_MAX, MarketQuery, MarketState, ORDERS_MAX,
    OrderAnswer, OrderDetailAnswer, OrderDetailQuery, OrderEntry, OrderQuery, OrderState, OrderType,
    OwnerAnswer, OwnerQuery, PostOnly, Query, Reject, Schema, SelfTrade, Side, Sides, StatisticsAnswer,
    TimeInForce, TradingAnswer, TradingQuery, Zero, permission,
};
use zerocopy::Immutable;

/// An answer in the making.
struct Writer<'a> {
    out: &'a mut [u8; MESSAGE_MAX],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, part: &(impl IntoBytes + Immutable)) {
        let bytes = part.as_bytes();
        self.out[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

const HEAD: usize = size_of::<ListHead>();

impl Engine {
    /// Answers a query; returns how many bytes of `out` the answer takes. Changes nothing.
    ///
    /// # Panics
    /// If an event is not finished.
    pub fn query(&self, context: &Context, query: &Query<'_>, out: &mut [u8; MESSAGE_MAX]) -> usize {
        assert!(!self.is_busy(), "queries are between events");
        let checked = permitted(context, query.required_permission());
        let mut answer = Writer { out, len: 0 };
        match query {
            Query::BookLevels(query) => self.book_levels(checked, query, &mut answer),
            Query::BookOrders(query) => self.book_orders(checked, query, &mut answer),
            Query::Balances(query) => self.balances(context, checked, query, &mut answer),
            Query::Order(query) => self.order(context, checked, query, &mut answer),
            Query::Statistics(_) => self.statistics(checked, &mut answer),
            Query::Instrument(query) => self.terms(checked, query, &mut answer),
            Query::Currency(query) => self.currency(checked, query, &mut answer),
            Query::OrderDetail(query) => self.order_detail(context, checked, query, &mut answer),
            Query::Trading(query) => self.trading(checked, query, &mut answer),
            Query::Owner(query) => self.owner(context, checked, query, &mut answer),
            Query::Control(ControlQuery::Access(query)) => {
                answer.put(&self.access_answer(context, checked, query));
            }
            Query::Auction(query) => self.auction(checked, query, &mut answer),
            Query::Market(MarketQuery::Bands(query)) => answer.put(&self.bands_answer(checked, query)),
            Query::Market(MarketQuery::Schedule(query)) => answer.put(&self.schedule_answer(checked, query)),
            Query::Market(MarketQuery::Feed(query)) => answer.put(&self.feed_answer(checked, query)),
            Query::Control(ControlQuery::Limits(query)) => {
                answer.put(&self.limits_answer(context, checked, query));
            }
            Query::Control(ControlQuery::InstrumentLimits(query)) => {
                answer.put(&self.instrument_limits_answer(context, checked, query));
            }
            Query::Control(ControlQuery::Fees(query)) => {
                answer.put(&self.fees_answer(context, checked, query));
            }
        }
        answer.len
    }

    fn book_levels(&self, checked: Result<(), Reject>, query: &BookLevelsQuery, answer: &mut Writer<'_>) {
        answer.len = HEAD;
        let found = checked.and_then(|()| self.instrument(query.instrument.get()));
        let counts = found.map(|instrument| {
            [(Side::Buy, query.after_bid.get()), (Side::Sell, query.after_ask.get())].map(|(side, after)| {
                let ladder = instrument.ladder(side);
                // The negation of the lowest i64 does not exist; every ask is above it.
                let all = after == 0 || (side == Side::Sell && after == i64::MIN);
                let after = (!all).then(|| key(side, after));
                let mut count = 0;
                for (level_key, handle) in self.levels.behind(ladder, after).take(query.depth.into()) {
                    count += 1;
                    let level = self.levels.get(handle);
                    answer.put(&LevelEntry {
                        price: level_key.abs().into(),
                        quantity: level.quantity.into(),
                        orders: level.orders.into(),
                        reserved: [0; 4],
                    });
                }
                count
            })
        });
        let [bids, asks] = counts.unwrap_or_default();
        let head = ListHead::new(ListHead::LEVELS, counts.err(), query.instrument.get(), bids, asks);
        answer.out[..HEAD].copy_from_slice(head.as_bytes());
    }

    fn book_orders(&self, checked: Result<(), Reject>, query: &BookOrdersQuery, answer: &mut Writer<'_>) {
        answer.len = HEAD;
        let first = checked.and_then(|()| self.first_of_page(query));
        let mut count = 0;
        let mut slot = first.unwrap_or(NONE);
        while slot != NONE && count < ORDERS_MAX {
            let order = self.orders.get(slot);
            answer.put(&OrderEntry {
                order_id: self.orders.id(slot).into(),
                client_order_id: order.client_order_id.into(),
                account: order.account.into(),
                reserved: [0; 4],
                cumulative: order.cumulative.into(),
                remaining: order.remaining.into(),
            });
            count += 1;
            slot = order.next;
        }
        let head = ListHead::new(ListHead::ORDERS, first.err(), query.instrument.get(), count as u16, 0);
        answer.out[..HEAD].copy_from_slice(head.as_bytes());
    }

    fn first_of_page(&self, query: &BookOrdersQuery) -> Result<u32, Reject> {
        let instrument = self.instrument(query.instrument.get())?;
        let (side, price) = (query.side, query.price.get());
        let level =
            if price > 0 { self.levels.find(instrument.ladder(side), key(side, price)) } else { None };
        match query.after.get() {
            0 => Ok(level.map_or(NONE, |level| self.levels.get(level).head)),
            after => {
                let slot = self.orders.find(after).ok_or(Reject::UnknownOrder)?;
                let order = self.orders.get(slot);
                let in_book = !order.traits.waits();
                if in_book && Some(order.level) == level { Ok(order.next) } else { Err(Reject::UnknownOrder) }
            }
        }
    }

    fn balances(
        &self,
        context: &Context,
        checked: Result<(), Reject>,
        query: &BalancesQuery,
        answer: &mut Writer<'_>,
    ) {
        answer.len = HEAD;
        let account = query.account.get();
        let checked = checked.and_then(|()| match account {
            0 if context.permissions & permission::ADMIN == 0 => Err(Reject::NotGranted),
            0 => Ok(()),
            _ => self.granted(context, account).map(|_| ()),
        });
        let mut count = 0;
        if checked.is_ok() {
            for currency in query.after.get().saturating_add(1)..=self.limits.currencies {
                let balance = self.ledger.get(self.ledger.at(account, currency));
                if count < BALANCES_MAX && (balance.free, balance.held) != (0, 0) {
                    answer.put(&BalanceEntry {
                        currency: currency.into(),
                        reserved: [0; 4],
                        free: balance.free.into(),
                        held: balance.held.into(),
                    });
                    count += 1;
                }
            }
        }
        let head = ListHead::new(ListHead::BALANCES, checked.err(), account, count as u16, 0);
        answer.out[..HEAD].copy_from_slice(head.as_bytes());
    }

    fn order(
        &self,
        context: &Context,
        checked: Result<(), Reject>,
        query: &OrderQuery,
        answer: &mut Writer<'_>,
    ) {
        let account = query.account.get();
        let found = checked
            .and_then(|()| self.granted(context, account))
            .and_then(|_| self.find_order(account, query.order()));
        let blank = OrderAnswer {
            tag: OrderAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.err()),
            instrument: 0.into(),
            account: account.into(),
            side: Sides::Any,
            post_only: Flag::No,
            reserved: [Zero::Zero; 2],
            order_id: query.order_id,
            client_order_id: query.client_order_id,
            price: 0.into(),
            cumulative: 0.into(),
            remaining: 0.into(),
        };
        answer.put(&found.map_or(blank, |slot| {
            let order = self.orders.get(slot);
            OrderAnswer {
                instrument: u32::from(order.instrument).into(),
                side: order.side.into(),
                post_only: (order.traits.post_only() != PostOnly::No).into(),
                order_id: self.orders.id(slot).into(),
                client_order_id: order.client_order_id.into(),
                price: order.price.into(),
                cumulative: order.cumulative.into(),
                remaining: self.orders.left(slot).into(),
                ..blank
            }
        }));
    }

    fn statistics(&self, checked: Result<(), Reject>, answer: &mut Writer<'_>) {
        let shown = u64::from(checked.is_ok());
        answer.put(&StatisticsAnswer {
            tag: StatisticsAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(checked.err()),
            instruments: (self.instrument_count * shown as u32).into(),
            accounts: (self.account_count * shown as u32).into(),
            orders: (self.orders.live * shown as u32).into(),
            accepted: (self.accepted * shown).into(),
            trades: (self.trades * shown).into(),
        });
    }

    fn terms(&self, checked: Result<(), Reject>, query: &InstrumentQuery, answer: &mut Writer<'_>) {
        let found = checked.and_then(|()| self.instrument(query.instrument.get()));
        let code = Reject::to_wire(found.as_ref().err().copied());
        let definition = found.map_or_else(
            |_| {
                let mut definition = Definition::new_zeroed();
                definition.instrument = query.instrument;
                definition
            },
            |_| self.definitions[query.instrument.get() as usize - 1],
        );
        answer.put(&InstrumentAnswer {
            tag: InstrumentAnswer::TAG,
            schema: Schema::V1,
            code,
            reserved: [Zero::Zero; 4],
            definition,
        });
    }

    fn currency(&self, checked: Result<(), Reject>, query: &CurrencyQuery, answer: &mut Writer<'_>) {
        let currency = query.currency.get();
        let found = checked.and_then(|()| self.check_currency(currency));
        let (supply, fees) = match found {
            Ok(()) => (self.ledger.supply(currency), self.ledger.free(self.ledger.at(0, currency))),
            Err(_) => (0, 0),
        };
        answer.put(&CurrencyAnswer {
            tag: CurrencyAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.err()),
            currency: currency.into(),
            supply: supply.into(),
            fees: fees.into(),
        });
    }

    fn order_detail(
        &self,
        context: &Context,
        checked: Result<(), Reject>,
        query: &OrderDetailQuery,
        answer: &mut Writer<'_>,
    ) {
        let account = query.account.get();
        let found = checked
            .and_then(|()| self.granted(context, account))
            .and_then(|_| self.find_order(account, query.order()));
        let blank = OrderDetailAnswer {
            tag: OrderDetailAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.err()),
            instrument: 0.into(),
            account: query.account,
            side: Sides::Any,
            order_type: OrderType::Limit,
            time_in_force: TimeInForce::Gtc,
            post_only: PostOnly::No,
            order_id: query.order_id,
            client_order_id: query.client_order_id,
            price: 0.into(),
            cumulative: 0.into(),
            remaining: 0.into(),
            visible: 0.into(),
            display: 0.into(),
            trigger: 0.into(),
            expiry: 0.into(),
            self_trade: SelfTrade::Default,
            state: OrderState::None,
            reserved: [Zero::Zero; 6],
        };
        answer.put(&found.map_or(blank, |slot| {
            let order = self.orders.get(slot);
            let extra = self.orders.extra(slot).copied().unwrap_or(Extra::NONE);
            let waits = order.traits.waits();
            OrderDetailAnswer {
                instrument: u32::from(order.instrument).into(),
                side: order.side.into(),
                order_type: extra.order_type(),
                time_in_force: extra.time_in_force(),
                post_only: order.traits.post_only(),
                order_id: self.orders.id(slot).into(),
                client_order_id: order.client_order_id.into(),
                price: order.price.into(),
                cumulative: order.cumulative.into(),
                remaining: self.orders.left(slot).into(),
                visible: if waits { 0 } else { order.remaining }.into(),
                display: extra.display.into(),
                trigger: extra.trigger.into(),
                expiry: extra.expiry.into(),
                self_trade: order.traits.self_trade(),
                state: if waits { OrderState::Waiting } else { OrderState::Live },
                ..blank
            }
        }));
    }

    fn trading(&self, checked: Result<(), Reject>, query: &TradingQuery, answer: &mut Writer<'_>) {
        let found = checked.and_then(|()| self.instrument(query.instrument.get()));
        let blank = TradingAnswer {
            tag: TradingAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.as_ref().err().copied()),
            instrument: query.instrument,
            last: 0.into(),
            waiting: 0.into(),
            self_trade: SelfTrade::Default,
            exists: Flag::No,
            state: MarketState::None,
            reserved: [Zero::Zero; 9],
        };
        answer.put(&found.map_or(blank, |instrument| TradingAnswer {
            last: instrument.last.into(),
            waiting: instrument.waiting.into(),
            self_trade: instrument.self_trade,
            exists: Flag::Yes,
            state: instrument.state,
            ..blank
        }));
    }

    fn auction(&self, checked: Result<(), Reject>, query: &AuctionQuery, answer: &mut Writer<'_>) {
        let found = checked.and_then(|()| self.instrument(query.instrument.get()));
        let blank = AuctionAnswer {
            tag: AuctionAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.as_ref().err().copied()),
            instrument: query.instrument,
            under_way: Flag::No,
            state: MarketState::None,
            side: Sides::Any,
            reserved: [Zero::Zero; 5],
            reference: 0.into(),
            day_reference: 0.into(),
            price: 0.into(),
            volume: 0.into(),
            imbalance: 0.into(),
            market_buys: 0.into(),
            market_sells: 0.into(),
        };
        answer.put(&found.map_or(blank, |instrument| {
            let call = self.call(query.instrument.get() as u16);
            let [buys, sells] = &call.market;
            AuctionAnswer {
                under_way: call.under_way.into(),
                state: instrument.state,
                side: call.said.side,
                reference: if call.under_way { call.reference } else { 0 }.into(),
                day_reference: call.day_reference.into(),
                price: call.said.price.into(),
                volume: call.said.volume.into(),
                imbalance: call.said.imbalance.into(),
                market_buys: buys.quantity.into(),
                market_sells: sells.quantity.into(),
                ..blank
            }
        }));
    }

    fn owner(
        &self,
        context: &Context,
        checked: Result<(), Reject>,
        query: &OwnerQuery,
        answer: &mut Writer<'_>,
    ) {
        let found = checked.and_then(|()| self.granted(context, query.account.get()));
        answer.put(&OwnerAnswer {
            tag: OwnerAnswer::TAG,
            schema: Schema::V1,
            code: Reject::to_wire(found.as_ref().err().copied()),
            account: query.account,
            group: found.map_or(0, |account| account.group).into(),
            reserved: [Zero::Zero; 20],
        });
    }
}
