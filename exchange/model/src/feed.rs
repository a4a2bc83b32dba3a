//! Market data: what everybody is told of books.
//!
//! Whatever changes a book calls [`Model::look`], which compares what the book shows with what it showed the last time:
//! the differences are what is told of orders, and from those follows what is told of levels and best prices.

use crate::command::Command;
use crate::message::Message;
use crate::{Context, Model, Order, code, ensure};
use ordain_exchange_protocol::{Audience, FeedAction, Flag, Reject, SetFeed, Side, permission, topic};
use std::collections::BTreeMap;

const SIDES: [Side; 2] = [Side::Buy, Side::Sell];

/// What is published of an instrument.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Feeds {
    /// Best prices.
    pub top: bool,
    /// Levels.
    pub levels: bool,
    /// Orders.
    pub orders: bool,
}

/// An order as the book shows it.
#[derive(Clone, PartialEq)]
struct Shown {
    id: u64,
    side: Side,
    price: i128,
    /// As long as this is the same, it stands where it stood.
    place: u64,
    lots: i128,
}

/// Price and lots of the best level of either side, 0 where there is none.
type Top = [(i128, i128); 2];

/// What a command knows of the books that it may change.
#[derive(Default)]
pub struct Seen {
    /// By instrument of which anything is published: the book when it was last looked at.
    books: BTreeMap<u32, Vec<Shown>>,
    /// The best prices before the command.
    tops: BTreeMap<u32, Top>,
    /// The level that changed last and of which nothing was told since.
    level: Option<(u32, Side, i128)>,
}

fn shown(order: &Order) -> Shown {
    let Order { id, side, price, place, shown, .. } = *order;
    Shown { id, side, price, place, lots: shown }
}

impl Model {
    /// What is published of an instrument.
    #[must_use]
    pub fn feeds(&self, instrument: u32) -> Feeds {
        self.feeds.get(&instrument).copied().unwrap_or_default()
    }

    pub(crate) fn feed_answer(&self, context: &Context, id: u32) -> Vec<u8> {
        let result = self.may_see_instrument(context, id);
        let mut answer = Message::new(0xB2, 16).put(2, 2, code(&result)).put(4, 4, id);
        if result.is_ok() {
            let Feeds { top, levels, orders } = self.feeds(id);
            for (at, is_on) in [(8, top), (9, levels), (10, orders)] {
                answer = answer.put(at, 1, u8::from(is_on));
            }
        }
        answer.bytes()
    }

    fn published(&self) -> impl Iterator<Item = u32> {
        self.feeds.iter().filter(|(_, feeds)| **feeds != Feeds::default()).map(|(id, _)| *id)
    }

    /// Bids, then asks, best price first, at a price in their priority.
    fn shown_book(&self, instrument: u32) -> Vec<Shown> {
        SIDES.iter().flat_map(|side| self.shown_side(instrument, *side)).map(shown).collect()
    }

    /// Lots and orders at a price.
    fn level_at(&self, instrument: u32, side: Side, price: i128) -> (i128, usize) {
        let mut orders = self.shown_side(instrument, side);
        orders.retain(|order| order.price == price);
        (orders.iter().map(|order| order.shown).sum(), orders.len())
    }

    fn top(&self, instrument: u32) -> Top {
        SIDES.map(|side| match self.shown_side(instrument, side).first() {
            Some(best) => (best.price, self.level_at(instrument, side, best.price).0),
            None => (0, 0),
        })
    }

    /// A command begins, or what one log time brings about.
    pub(crate) fn begin_feeds(&self, command: &mut Command) {
        command.seen = Seen {
            books: self.published().map(|id| (id, self.shown_book(id))).collect(),
            tops: self.published().map(|id| (id, self.top(id))).collect(),
            level: None,
        };
    }

    /// A book may have changed.
    pub(crate) fn look(&self, command: &mut Command, instrument: u32) {
        self.tell_changes(command, instrument, 0);
    }

    /// A book was changed by the trade that the command makes now.
    pub(crate) fn look_at_trade(&self, command: &mut Command, instrument: u32) {
        self.tell_changes(command, instrument, command.trades + 1);
    }

    /// `trade`: one more than the index of the trade that did it, or 0.
    fn tell_changes(&self, command: &mut Command, instrument: u32, trade: u32) {
        let now = self.shown_book(instrument);
        let Some(before) = command.seen.books.get_mut(&instrument) else { return };
        let before = std::mem::replace(before, now.clone());
        let same_place = |book: &[Shown], order: &Shown| {
            book.iter().find(|other| other.id == order.id && other.place == order.place).cloned()
        };
        let mut changes: Vec<(FeedAction, Shown)> = Vec::new();
        for order in &before {
            match same_place(&now, order) {
                None => changes.push((FeedAction::Remove, Shown { lots: 0, ..order.clone() })),
                Some(after) if after != *order => changes.push((FeedAction::Change, after)),
                Some(_) => {}
            }
        }
        let added = now.iter().filter(|order| same_place(&before, order).is_none());
        changes.extend(added.map(|order| (FeedAction::Add, order.clone())));
        for (action, order) in changes {
            if self.feeds(instrument).orders {
                // What comes to stand in the book was not traded, also where a trade used up the part before it.
                let trade = if action == FeedAction::Add { 0 } else { trade };
                command.report_book(instrument, action, &order, trade);
            }
            let level = (instrument, order.side, order.price);
            if self.feeds(instrument).levels && command.seen.level != Some(level) {
                // Of the other level nothing has changed since.
                self.tell_level(command);
                command.seen.level = Some(level);
            }
        }
    }

    /// How the level is that changed last.
    fn tell_level(&self, command: &mut Command) {
        if let Some((instrument, side, price)) = command.seen.level.take() {
            let level = self.level_at(instrument, side, price);
            command.report_level(instrument, side, price, level);
        }
    }

    /// The command is over.
    ///
    /// # Panics
    /// If a book has changed and nobody looked.
    pub(crate) fn end_feeds(&self, command: &mut Command) {
        let seen = &command.seen.books;
        assert!(seen.iter().all(|(id, book)| *book == self.shown_book(*id)), "a book changed unseen");
        self.tell_level(command);
        for (id, before) in std::mem::take(&mut command.seen.tops) {
            if self.feeds(id).top && self.top(id) != before {
                command.report_top(id, &self.top(id));
            }
        }
    }

    pub(crate) fn set_feed(&mut self, command: &mut Command, it: &SetFeed) -> Result<(), Reject> {
        let id = it.instrument.get();
        command.context.may(permission::ADMIN)?;
        ensure(self.level >= 1, Reject::NotBegun)?;
        ensure(self.instruments.contains_key(&id), Reject::UnknownInstrument)?;
        let is = |flag| flag == Flag::Yes;
        let now = Feeds { top: is(it.top), levels: is(it.levels), orders: is(it.orders) };
        let before = self.feeds.insert(id, now).unwrap_or_default();
        if now.orders {
            command.tell_feed(topic::ORDERS, id, of_instrument(0xCD, 56, FeedAction::Reset, id), 32);
            for order in self.shown_book(id) {
                command.report_book(id, FeedAction::Add, &order, 0);
            }
        } else if before.orders {
            command.tell_feed(topic::ORDERS, id, of_instrument(0xCD, 56, FeedAction::Off, id), 32);
        }
        if now.levels {
            command.tell_feed(topic::LEVELS, id, of_instrument(0xCC, 48, FeedAction::Reset, id), 32);
            for side in SIDES {
                for level in self.shown_side(id, side).chunk_by(|a, b| a.price == b.price) {
                    let price = level[0].price;
                    command.report_level(id, side, price, self.level_at(id, side, price));
                }
            }
        } else if before.levels {
            command.tell_feed(topic::LEVELS, id, of_instrument(0xCC, 48, FeedAction::Off, id), 32);
        }
        if now.top {
            command.report_top(id, &self.top(id));
        } else if before.top {
            command.tell_feed(topic::TOP, id, of_instrument(0xCB, 56, FeedAction::Off, id), 40);
        }
        Ok(())
    }
}

fn of_instrument(tag: u8, bytes: usize, action: FeedAction, instrument: u32) -> Message {
    Message::new(tag, bytes).put(2, 1, action as u8).put(4, 4, instrument)
}

impl Command {
    /// `seq_at`: where the number of the command is put, with its time behind it.
    fn tell_feed(&mut self, feed: u32, instrument: u32, report: Message, seq_at: usize) {
        let Context { seq, time, .. } = self.context;
        let report = report.put(seq_at, 8, seq).put(seq_at + 8, 8, time);
        self.outputs.push((Audience::Feed(feed + instrument), report.bytes()));
    }

    fn report_book(&mut self, instrument: u32, action: FeedAction, order: &Shown, trade: u32) {
        let report = of_instrument(0xCD, 56, action, instrument)
            .put(3, 1, order.side as u8)
            .put(8, 8, order.id)
            .put(16, 8, order.price)
            .put(24, 8, order.lots)
            .put(48, 4, trade);
        self.tell_feed(topic::ORDERS, instrument, report, 32);
    }

    fn report_level(&mut self, instrument: u32, side: Side, price: i128, (lots, orders): (i128, usize)) {
        let action = if orders == 0 { FeedAction::Remove } else { FeedAction::Change };
        let report = of_instrument(0xCC, 48, action, instrument)
            .put(3, 1, side as u8)
            .put(8, 8, price)
            .put(16, 8, lots)
            .put(24, 4, orders as u64);
        self.tell_feed(topic::LEVELS, instrument, report, 32);
    }

    fn report_top(&mut self, instrument: u32, [bid, ask]: &Top) {
        let report = of_instrument(0xCB, 56, FeedAction::Change, instrument)
            .put(8, 8, bid.0)
            .put(16, 8, bid.1)
            .put(24, 8, ask.0)
            .put(32, 8, ask.1);
        self.tell_feed(topic::TOP, instrument, report, 40);
    }
}
