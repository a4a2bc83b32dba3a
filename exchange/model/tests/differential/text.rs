//! Events in words, for whoever has to look into a mismatch.

use crate::event::Event;
use ordain_exchange_engine::Context;
use ordain_exchange_protocol::{Flag, Market, OrderRef, Query, Request, Transfer, permission};

/// An event in one line.
pub fn describe(event: &Event) -> String {
    match event {
        Event::Request(context, bytes) => format!("{}: {}", sender(context), request(bytes)),
        Event::Query(context, bytes) => format!("{}: query {:?}", sender(context), Query::decode(bytes)),
        Event::Presence(session, what, time) => format!("at {time}: session {session} is {what:?}"),
        Event::Level(level) => format!("level {level} begins"),
        Event::Restore => "restore the engine from its snapshot".into(),
    }
}

fn sender(context: &Context) -> String {
    let bits = [
        (permission::TRADE, "trade"),
        (permission::ADMIN, "admin"),
        (permission::CUSTODY, "custody"),
        (permission::VIEW, "view"),
    ];
    let held: Vec<&str> =
        bits.iter().filter(|(bit, _)| context.permissions & bit != 0).map(|(_, name)| *name).collect();
    format!("{} key {} ({})", context.seq, context.key, held.join(" "))
}

fn named(order: OrderRef) -> String {
    match order {
        OrderRef::Id(id) => format!("order {}.{}", id >> 32, id & 0xFFFF_FFFF),
        OrderRef::Client(client) => format!("client order {client}"),
    }
}

fn transfer(verb: &str, it: &Transfer) -> String {
    let (account, currency) = (it.account, it.currency);
    format!("{verb} {} of currency {currency}, account {account}, transaction {}", it.amount, it.transaction)
}

fn request(bytes: &[u8]) -> String {
    let request = match Request::decode(bytes) {
        Ok(request) => request,
        Err(error) => return format!("{error}"),
    };
    match request {
        Request::CreateInstrument(it) => {
            let it = &it.definition;
            format!(
                "create instrument {} {:?} base {} quote {}, scales {} {}, quantity {} to {}, \
                 notional from {}, price to {}, collar {}, fees {} {}, tick {} lot {} decimals {} {}",
                it.instrument,
                String::from_utf8_lossy(it.symbol()),
                it.base,
                it.quote,
                it.quote_per_tick_lot,
                it.base_per_lot,
                it.min_quantity,
                it.max_quantity,
                it.min_notional,
                it.max_price,
                it.collar,
                it.maker_ppm,
                it.taker_ppm,
                it.tick,
                it.lot,
                it.price_decimals,
                it.quantity_decimals,
            )
        }
        Request::CreateAccount(it) => format!("create account {}", it.account),
        Request::Grant(it) => format!("{:?} key {} for account {}", it.action, it.key, it.account),
        Request::Deposit(it) => transfer("deposit", it),
        Request::Withdraw(it) => transfer("withdraw", it),
        Request::NewOrder(it) => format!(
            "account {} {:?} {:?} {:?} {}instrument {}: {} at {}, client order {}",
            it.account,
            it.side,
            it.order_type,
            it.time_in_force,
            if it.post_only == Flag::Yes { "post-only " } else { "" },
            it.instrument,
            it.quantity,
            it.price,
            it.client_order_id,
        ),
        Request::Cancel(it) => format!("account {} cancels {}", it.account, named(it.order())),
        Request::Amend(it) => {
            format!("account {} amends {} to {} at {}", it.account, named(it.order()), it.quantity, it.price)
        }
        Request::MassCancel(it) => {
            format!("account {} cancels {:?} in instrument {}", it.account, it.sides, it.instrument)
        }
        Request::NewOrder2(it) => format!(
            "account {} {:?} {:?} {:?} post-only {:?} self-trade {:?} instrument {}: {} at {}, trigger {}, \
             display {}, expiry {}, cash {}, client order {}",
            it.account,
            it.side,
            it.order_type,
            it.time_in_force,
            it.post_only,
            it.self_trade,
            it.instrument,
            it.quantity,
            it.price,
            it.trigger,
            it.display,
            it.expiry,
            it.cash,
            it.client_order_id,
        ),
        Request::Amend2(it) => format!(
            "account {} amends {} to {} at {}, trigger {}, display {}",
            it.account,
            named(it.order()),
            it.quantity,
            it.price,
            it.trigger,
            it.display
        ),
        Request::SetSelfTrade(it) => {
            format!("self-trade {:?} in instrument {}", it.self_trade, it.instrument)
        }
        Request::SetState(it) => format!("state {:?} in instrument {}", it.state, it.instrument),
        Request::Remark(_) => "a remark".into(),
        Request::SetDisconnect(it) => format!("cancel on disconnect {:?}, grace {}", it.on, it.grace),
        Request::SetGroup(it) => format!("account {} into group {}", it.account, it.group),
        Request::Market(it @ (Market::SetBands(_) | Market::SetSchedule(_) | Market::SetFeed(_))) => {
            format!("{it:?}")
        }
        Request::Market(Market::SetReference(it)) => {
            format!("reference {} in instrument {}", it.price, it.instrument)
        }
        Request::Control(it) => format!("{it:?}"),
    }
}
