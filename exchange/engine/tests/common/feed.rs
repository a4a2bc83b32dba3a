//! Who reads market data: books from nothing but their topics.

use crate::common::{ALL, Exchange, Said};
use ordain_exchange_engine::Audience;
use ordain_exchange_protocol::*;
use std::collections::BTreeMap;

/// What the topics of an instrument have said. `None` where a topic is off.
#[derive(Default)]
struct Book {
    /// Side, price, order and lots shown, in the order of the adds.
    orders: Option<Vec<(Side, i64, u64, u64)>>,
    /// Lots and orders by side and price.
    levels: Option<BTreeMap<(u8, i64), (u64, u32)>>,
    /// Best bid and lots there, best ask and lots there.
    top: Option<[(i64, u64); 2]>,
}

/// See the module.
#[derive(Default)]
pub struct Reader {
    books: BTreeMap<u32, Book>,
}

fn side(side: Sides) -> Side {
    match side {
        Sides::Buy => Side::Buy,
        Sides::Sell => Side::Sell,
        Sides::Any => panic!("a side is missing"),
    }
}

impl Reader {
    pub fn read(&mut self, said: &Said) {
        let mut trades = 0;
        for (audience, bytes) in said.told() {
            let output = Output::decode(bytes).expect("decodes");
            if let Output::Fill(fill) = output {
                trades = fill.index.get() + 1;
            }
            match output {
                Output::Top(report) => {
                    assert_eq!(*audience, Audience::Feed(topic::TOP + report.instrument.get()));
                    self.top(report);
                }
                Output::Level(report) => {
                    assert_eq!(*audience, Audience::Feed(topic::LEVELS + report.instrument.get()));
                    self.level(report);
                }
                Output::Book(report) => {
                    assert_eq!(*audience, Audience::Feed(topic::ORDERS + report.instrument.get()));
                    assert!(report.trade.get() <= trades, "by a trade that was not told");
                    self.order(report);
                }
                _ => assert!(!matches!(audience, Audience::Feed(_)), "told in a feed: {output:?}"),
            }
        }
    }

    fn top(&mut self, report: &TopReport) {
        let top = &mut self.books.entry(report.instrument.get()).or_default().top;
        let now =
            [(report.bid.get(), report.bid_quantity.get()), (report.ask.get(), report.ask_quantity.get())];
        *top = match report.action {
            FeedAction::Change => Some(now),
            FeedAction::Off => None,
            action => panic!("no action of best prices: {action:?}"),
        };
    }

    fn level(&mut self, report: &LevelReport) {
        let levels = &mut self.books.entry(report.instrument.get()).or_default().levels;
        let now = (report.quantity.get(), report.orders.get());
        let key = |report: &LevelReport| (side(report.side) as u8, report.price.get());
        match (report.action, levels) {
            (FeedAction::Reset, levels) => *levels = Some(BTreeMap::new()),
            (FeedAction::Off, levels) => *levels = None,
            (FeedAction::Change, Some(levels)) => {
                assert!(now.0 > 0 && now.1 > 0);
                levels.insert(key(report), now);
            }
            (FeedAction::Remove, Some(levels)) => {
                assert_eq!(now, (0, 0));
                // A level that comes and goes in a command is never told of but by its end.
                levels.remove(&key(report));
            }
            (action, _) => panic!("out of place: {action:?}"),
        }
    }

    fn order(&mut self, report: &BookReport) {
        let orders = &mut self.books.entry(report.instrument.get()).or_default().orders;
        let (id, price, lots) = (report.order_id.get(), report.price.get(), report.quantity.get());
        let orders = match (report.action, orders) {
            (FeedAction::Reset, orders) => return *orders = Some(Vec::new()),
            (FeedAction::Off, orders) => return *orders = None,
            (_, orders) => orders.as_mut().expect("on"),
        };
        let at = orders.iter().position(|order| order.2 == id);
        match report.action {
            FeedAction::Add => {
                assert!(at.is_none() && lots > 0, "an order stands once");
                orders.push((side(report.side), price, id, lots));
            }
            FeedAction::Change => {
                let order = &mut orders[at.expect("known")];
                assert_eq!((order.0, order.1), (side(report.side), price));
                assert!((1..order.3).contains(&lots), "it becomes less where it stands");
                order.3 = lots;
            }
            _ => {
                let order = orders.remove(at.expect("known"));
                assert_eq!((order.0, order.1, lots), (side(report.side), price, 0));
            }
        }
    }

    /// Whether what was read is what the exchange has.
    pub fn compare(&self, x: &Exchange) {
        for (instrument, book) in &self.books {
            let levels = [Side::Buy, Side::Sell].map(|side| x.levels(*instrument, side));
            for (side, levels) in [Side::Buy, Side::Sell].into_iter().zip(&levels) {
                if let Some(told) = &book.levels {
                    let mine = told.iter().filter(|((of, _), _)| *of == side as u8);
                    let mut mine: Vec<_> =
                        mine.map(|((_, price), (lots, orders))| (*price, *lots, *orders)).collect();
                    if side == Side::Buy {
                        mine.reverse();
                    }
                    assert_eq!(mine, *levels);
                }
                if let Some(told) = &book.orders {
                    let count = told.iter().filter(|order| order.0 == side).count();
                    assert_eq!(count, levels.iter().map(|level| level.2 as usize).sum::<usize>());
                    for (price, ..) in levels {
                        let mine = told.iter().filter(|order| (order.0, order.1) == (side, *price));
                        let mine: Vec<_> = mine.map(|order| (order.2, order.3)).collect();
                        assert_eq!(mine, shown(x, *instrument, side, *price));
                    }
                }
            }
            if let Some(top) = book.top {
                let best = levels.map(|levels| levels.first().map_or((0, 0), |level| (level.0, level.1)));
                assert_eq!(top, best);
            }
        }
    }
}

/// Order ids and lots shown at a price, in priority.
fn shown(x: &Exchange, instrument: u32, side: Side, price: i64) -> Vec<(u64, u64)> {
    let bytes = x.ask(ALL, &BookOrdersQuery::new(instrument, side, price, 0));
    let Ok(Answer::BookOrders(_, orders)) = Answer::decode(&bytes) else { panic!("not orders") };
    let visible = |order: &OrderEntry| {
        let id = order.order_id.get();
        let bytes = x.ask(ALL, &OrderDetailQuery::new(order.account.get(), OrderRef::Id(id)));
        let Ok(Answer::OrderDetail(detail)) = Answer::decode(&bytes) else { panic!("not an order") };
        (id, detail.visible.get())
    };
    orders.iter().map(visible).collect()
}
