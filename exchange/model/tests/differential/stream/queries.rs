//! What is asked in between.

use super::Stream;
use crate::event::Event;
use ordain_exchange_model::Model;
use ordain_exchange_protocol::{
    AccessQuery, AuctionQuery, BalancesQuery, BandsQuery, BookLevelsQuery, BookOrdersQuery, CurrencyQuery,
    FeedQuery, FeesQuery, InstrumentLimitsQuery, InstrumentQuery, IntoBytes, LimitsQuery, OrderDetailQuery,
    OrderQuery, OwnerQuery, ScheduleQuery, StatisticsQuery, TradingQuery, permission,
};

impl Stream {
    pub(super) fn query(&mut self, model: &Model) -> Event {
        let account = self.account();
        let (key, mut permissions) = self.by_owner(model, account, permission::VIEW);
        if self.random.percent(30) {
            permissions |= permission::ADMIN;
        }
        let instrument = self.instrument_id(model);
        let bytes = match self.random.below(if self.profile.features.orders { 16 } else { 8 }) {
            8 => {
                let (account, order) = self.order(model);
                OrderDetailQuery::new(account, order).as_bytes().to_vec()
            }
            9 => TradingQuery::new(instrument).as_bytes().to_vec(),
            10 => OwnerQuery::new(account).as_bytes().to_vec(),
            12 => match self.seq % 4 {
                0 => AuctionQuery::new(instrument).as_bytes().to_vec(),
                1 => BandsQuery::new(instrument).as_bytes().to_vec(),
                2 => ScheduleQuery::new(instrument).as_bytes().to_vec(),
                _ => FeedQuery::new(instrument).as_bytes().to_vec(),
            },
            13 => {
                let ((scope, id), currency) = (self.limited(), self.currency());
                LimitsQuery::new(scope, id, currency).as_bytes().to_vec()
            }
            14 => InstrumentLimitsQuery::new(account, instrument).as_bytes().to_vec(),
            15 => FeesQuery::new(account, instrument).as_bytes().to_vec(),
            11 => AccessQuery::new(account).as_bytes().to_vec(),
            0 => {
                let mut query = BookLevelsQuery::new(instrument, self.random.id(1, 20) as u8);
                query.after_bid = self.random.pick(&[0, 1, 4, 5, i64::MIN, i64::MAX]).into();
                query.after_ask = self.random.pick(&[0, 1, 4, 5, i64::MIN, i64::MAX]).into();
                query.as_bytes().to_vec()
            }
            1 | 2 => {
                let (side, price) = (self.side(), self.random.between(-1, self.profile.prices + 1));
                let query = if model.orders().is_empty() || self.random.percent(30) {
                    BookOrdersQuery::new(instrument, side, price, 0)
                } else {
                    let order = self.random.pick(model.orders());
                    let after = if self.random.percent(80) { order.id } else { order.id ^ (1 << 32) };
                    let price = if self.random.percent(80) { order.price as i64 } else { price };
                    let side = if self.random.percent(90) { order.side } else { side };
                    let instrument = if self.random.percent(90) { order.instrument } else { instrument };
                    BookOrdersQuery::new(instrument, side, price, after)
                };
                query.as_bytes().to_vec()
            }
            3 => BalancesQuery::new(account, self.currency()).as_bytes().to_vec(),
            4 => {
                let (account, order) = self.order(model);
                OrderQuery::new(account, order).as_bytes().to_vec()
            }
            5 => StatisticsQuery::new().as_bytes().to_vec(),
            6 => {
                let id = self.random.id(0, self.profile.limits.instruments + 1);
                InstrumentQuery::new(id).as_bytes().to_vec()
            }
            _ => CurrencyQuery::new(self.currency()).as_bytes().to_vec(),
        };
        Event::Query(self.context(key, permissions), bytes)
    }
}
