//! Replies and reports, laid out as the pages list their fields.

use crate::auction::Outlook;
use crate::command::{Command, Outcome};
use crate::message::Message;
use crate::{Context, Order, code};
use ordain_exchange_protocol::{Audience, MarketState, OrderState, Reason, Reject, SelfTrade};

/// Which layout a reply has: that of its command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    First,
    Second,
}

/// `named`: instrument, account, order id and client order id as the command has them.
pub fn order_reply(
    context: &Context,
    layout: Layout,
    named: (u32, u32, u64, u64),
    result: &Result<Outcome, Reject>,
) -> Vec<u8> {
    let reply = match layout {
        Layout::First => Message::new(0x81, 96),
        Layout::Second => Message::new(0x81, 112).put(1, 1, 2),
    };
    let reply = reply.put(2, 2, code(result)).put(80, 8, context.seq).put(88, 8, context.time);
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(_) => {
            return reply
                .put(8, 4, named.0)
                .put(12, 4, named.1)
                .put(16, 8, named.2)
                .put(24, 8, named.3)
                .bytes();
        }
    };
    let reply = reply
        .put(4, 1, outcome.state as u8)
        .put(5, 1, outcome.reason as u8)
        .put(8, 4, outcome.order.instrument)
        .put(12, 4, outcome.order.account)
        .put(16, 8, outcome.order.id)
        .put(24, 8, outcome.order.client)
        .put(32, 8, outcome.order.cumulative)
        .put(40, 8, outcome.order.remaining)
        .put(48, 8, outcome.cancelled)
        .put(56, 4, outcome.fills.count)
        .put(60, 4, outcome.fee_currency)
        .put(64, 8, outcome.fills.notional)
        .put(72, 8, outcome.fills.fee);
    match layout {
        Layout::First => reply.bytes(),
        Layout::Second => reply.put(96, 8, outcome.order.price).put(104, 8, outcome.fills.prevented).bytes(),
    }
}

impl Command {
    fn tell(&mut self, account: u32, report: Message) {
        self.outputs.push((Audience::Account(account), report.bytes()));
    }

    pub fn report_cancel(&mut self, order: &Order, reason: Reason, cancelled: i128) {
        let report = Message::new(0xC2, 72)
            .put(2, 1, reason as u8)
            .put(3, 1, order.side as u8)
            .put(8, 4, order.account)
            .put(12, 4, order.instrument)
            .put(16, 8, order.id)
            .put(24, 8, order.client)
            .put(32, 8, order.cumulative)
            .put(40, 8, cancelled)
            .put(48, 8, order.price)
            .put(56, 8, self.context.seq)
            .put(64, 8, self.context.time);
        self.tell(order.account, report);
    }

    pub fn report_fill(
        &mut self,
        order: &Order,
        aggressor: bool,
        (price, lots): (i128, i128),
        (currency, fee): (u32, i128),
    ) {
        let state = if order.remaining == 0 { OrderState::Filled } else { OrderState::Live };
        let report = Message::new(0xC1, 96)
            .put(2, 1, Reason::Fill as u8)
            .put(3, 1, order.side as u8)
            .put(4, 1, u8::from(aggressor))
            .put(5, 1, state as u8)
            .put(8, 4, order.account)
            .put(12, 4, order.instrument)
            .put(16, 8, order.id)
            .put(24, 8, order.client)
            .put(32, 8, order.cumulative)
            .put(40, 8, order.remaining)
            .put(48, 8, price)
            .put(56, 8, lots)
            .put(64, 8, self.context.seq)
            .put(72, 8, self.context.time)
            .put(80, 4, self.trades)
            .put(84, 4, currency)
            .put(88, 8, fee);
        self.tell(order.account, report);
    }

    pub fn report_trade(&mut self, taker: &Order, price: i128, lots: i128) {
        let report = Message::new(0xC3, 48)
            .put(2, 1, taker.side as u8)
            .put(4, 4, taker.instrument)
            .put(8, 8, price)
            .put(16, 8, lots)
            .put(24, 8, self.context.seq)
            .put(32, 8, self.context.time)
            .put(40, 4, self.trades)
            .bytes();
        self.outputs.push((Audience::Instrument(taker.instrument), report));
    }

    /// `price`: the maker's. `lost`: the lots of this order that were cancelled.
    pub fn report_meeting(
        &mut self,
        order: &Order,
        aggressor: bool,
        mode: SelfTrade,
        (price, prevented, lost): (i128, i128, i128),
    ) {
        let state = if order.remaining == 0 { OrderState::Cancelled } else { OrderState::Live };
        let report = Message::new(0xC4, 96)
            .put(2, 1, mode as u8)
            .put(3, 1, order.side as u8)
            .put(4, 1, u8::from(aggressor))
            .put(5, 1, state as u8)
            .put(8, 4, order.account)
            .put(12, 4, order.instrument)
            .put(16, 8, order.id)
            .put(24, 8, order.client)
            .put(32, 8, order.cumulative)
            .put(40, 8, order.remaining)
            .put(48, 8, price)
            .put(56, 8, prevented)
            .put(64, 8, lost)
            .put(72, 8, self.context.seq)
            .put(80, 8, self.context.time)
            .put(88, 4, self.meetings);
        self.tell(order.account, report);
    }

    pub fn report_state(&mut self, instrument: u32, state: MarketState, before: MarketState) {
        let report = Message::new(0xC6, 24)
            .put(2, 1, state as u8)
            .put(3, 1, before as u8)
            .put(4, 4, instrument)
            .put(8, 8, self.context.seq)
            .put(16, 8, self.context.time)
            .bytes();
        self.outputs.push((Audience::Instrument(instrument), report));
    }

    pub fn report_indication(&mut self, instrument: u32, state: MarketState, outlook: &Outlook) {
        let report = self.of_outlook(0xC8, 48, instrument, state, outlook).bytes();
        self.outputs.push((Audience::Instrument(instrument), report));
    }

    /// `before`: the state in which the auction ended.
    pub fn report_auction(&mut self, instrument: u32, before: MarketState, outlook: &Outlook, trades: u32) {
        let report = self.of_outlook(0xC9, 56, instrument, before, outlook).put(48, 4, trades).bytes();
        self.outputs.push((Audience::Instrument(instrument), report));
    }

    fn of_outlook(
        &self,
        tag: u8,
        len: usize,
        instrument: u32,
        state: MarketState,
        outlook: &Outlook,
    ) -> Message {
        Message::new(tag, len)
            .put(2, 1, outlook.side as u8)
            .put(3, 1, state as u8)
            .put(4, 4, instrument)
            .put(8, 8, outlook.price)
            .put(16, 8, outlook.volume)
            .put(24, 8, outlook.imbalance)
            .put(32, 8, self.context.seq)
            .put(40, 8, self.context.time)
    }

    pub fn report_call(&mut self, instrument: u32, extensions: u8, until: u64) {
        let report = Message::new(0xCA, 32)
            .put(2, 1, extensions)
            .put(3, 1, MarketState::VolatilityAuction as u8)
            .put(4, 4, instrument)
            .put(8, 8, until)
            .put(16, 8, self.context.seq)
            .put(24, 8, self.context.time)
            .bytes();
        self.outputs.push((Audience::Instrument(instrument), report));
    }

    /// `order` as it waited.
    pub fn report_trigger(&mut self, order: &Order) {
        let report = Message::new(0xC5, 72)
            .put(2, 1, order.order_type as u8)
            .put(3, 1, order.side as u8)
            .put(8, 4, order.account)
            .put(12, 4, order.instrument)
            .put(16, 8, order.id)
            .put(24, 8, order.client)
            .put(32, 8, order.price)
            .put(40, 8, order.remaining)
            .put(48, 8, order.trigger)
            .put(56, 8, self.context.seq)
            .put(64, 8, self.context.time);
        self.tell(order.account, report);
    }
}
