//! A model with one instrument and three rich accounts, and what it says in short.

use ordain_exchange_model::{Context, Limits, Model};
use ordain_exchange_protocol::{
    Amend2, Answer, Audience, Cancel, CreateAccount, CreateInstrument, Definition, FeedAction, Flag,
    FromZeros, IntoBytes, MarketState, NewOrder2, OrderDetailAnswer, OrderDetailQuery, OrderRef, OrderReply,
    OrderReply2, OrderType, Output, Query, Reject, Reply, Request, SelfTrade, SetFeed, SetGroup,
    SetSelfTrade, SetState, Side, TimeInForce, Transfer, note, permission,
};

/// The currencies of the instrument.
pub const BASE: u32 = 1;
pub const QUOTE: u32 = 2;

const ALL: u32 = permission::TRADE | permission::ADMIN | permission::CUSTODY | permission::VIEW;

pub struct Desk {
    model: Model,
    seq: u64,
    /// Log time of what comes next.
    pub time: u64,
    /// Session that it comes from.
    pub session: u64,
    clients: u64,
    told: Vec<String>,
    /// What firms were told by the last command, in short.
    copies: Vec<(u32, String)>,
}

pub fn limit(account: u32, side: Side, price: i64, quantity: u64) -> NewOrder2 {
    NewOrder2::limit(account, 1, 0, side, price, quantity)
}

/// An order of a type that has no price.
pub fn order(account: u32, order_type: OrderType, side: Side, quantity: u64) -> NewOrder2 {
    NewOrder2 { order_type, ..limit(account, side, 0, quantity) }
}

pub fn market(account: u32, side: Side, quantity: u64) -> NewOrder2 {
    NewOrder2 { time_in_force: TimeInForce::Ioc, ..order(account, OrderType::Market, side, quantity) }
}

pub fn amend(account: u32, order: u64, price: i64, quantity: u64) -> Amend2 {
    Amend2::new(account, OrderRef::Id(order), price, quantity)
}

impl Desk {
    pub fn new() -> Self {
        Self::with_taker_fee(0)
    }

    pub fn with_taker_fee(ppm: i32) -> Self {
        Self::with_fees(0, ppm)
    }

    pub fn with_fees(maker: i32, taker: i32) -> Self {
        let model = Model::new(Limits {
            instruments: 1,
            currencies: 2,
            accounts: 3,
            orders: 20,
            orders_per_account: 20,
            levels_per_side: 4,
            transfers: 6,
        });
        let mut desk =
            Self { model, seq: 0, time: 0, session: 0, clients: 0, told: Vec::new(), copies: Vec::new() };
        let mut symbol = [0; 16];
        symbol[0] = b'X';
        let definition = Definition {
            instrument: 1.into(),
            symbol,
            base: BASE.into(),
            quote: QUOTE.into(),
            quote_per_tick_lot: 10.into(),
            base_per_lot: 1.into(),
            min_quantity: 1.into(),
            max_quantity: 1_000.into(),
            max_price: 200.into(),
            collar: 50.into(),
            maker_ppm: maker.into(),
            taker_ppm: taker.into(),
            tick: 1.into(),
            lot: 1.into(),
            ..Definition::new_zeroed()
        };
        desk.does(CreateInstrument::new(definition).as_bytes());
        for account in 1..=3 {
            desk.does(CreateAccount::new(account).as_bytes());
            for currency in [BASE, QUOTE] {
                desk.does(Transfer::deposit(account, currency, currency.into(), 1_000_000).as_bytes());
            }
        }
        desk
    }

    fn context(&self) -> Context {
        let Self { seq, time, session, .. } = *self;
        Context { seq, time, key: 9, permissions: ALL, session }
    }

    pub fn does(&mut self, request: &[u8]) -> Vec<u8> {
        self.seq += 1;
        let request = Request::decode(request).expect("a request");
        let (reply, outputs) = self.model.apply(&self.context(), &request);
        self.told.clear();
        self.copies.clear();
        for (audience, bytes) in &outputs {
            match audience {
                Audience::Firm(firm) => self.copies.push((*firm, short_copy(bytes))),
                _ => self.told.push(short(bytes)),
            }
        }
        reply
    }

    fn order_reply(&mut self, request: &[u8]) -> OrderReply2 {
        let reply = self.does(request);
        let Ok(Reply::Order2(reply)) = Reply::decode(&reply) else {
            panic!("no reply to an order: {reply:?}")
        };
        *reply
    }

    fn enter(&mut self, mut order: NewOrder2) -> OrderReply2 {
        self.clients += 1;
        order.client_order_id = self.clients.into();
        self.order_reply(order.as_bytes())
    }

    /// It is accepted.
    pub fn enters(&mut self, order: NewOrder2) -> OrderReply2 {
        accepted(self.enter(order))
    }

    /// It is refused.
    pub fn refused(&mut self, order: NewOrder2) -> Reject {
        Reject::from_wire(self.enter(order).code.get()).expect("refused")
    }

    pub fn amends(&mut self, amend: Amend2) -> OrderReply2 {
        accepted(self.order_reply(amend.as_bytes()))
    }

    pub fn refused_amend(&mut self, amend: Amend2) -> Reject {
        Reject::from_wire(self.order_reply(amend.as_bytes()).code.get()).expect("refused")
    }

    pub fn sets_mode(&mut self, mode: SelfTrade) {
        self.does(SetSelfTrade::new(1, mode, note("a test")).as_bytes());
    }

    /// Sets the state of the instrument.
    pub fn sets_state(&mut self, state: MarketState) {
        self.does(SetState::new(1, state, note("")).as_bytes());
    }

    /// Says whether best prices, levels and orders are published. Returns what that tells.
    pub fn publishes(&mut self, top: bool, levels: bool, orders: bool) -> Vec<String> {
        let mut set = SetFeed::off(1, note("a test"));
        (set.top, set.levels, set.orders) = (top.into(), levels.into(), orders.into());
        self.controls(set.as_bytes());
        self.told()
    }

    /// An operator's command, which is accepted. Returns how many orders it cancelled.
    pub fn controls(&mut self, request: &[u8]) -> u64 {
        let reply = self.does(request);
        let reply = Reply::decode(&reply).expect("a reply");
        assert_eq!(reply.code(), 0);
        if let Reply::MassCancel(reply) = reply { reply.cancelled.get() } else { 0 }
    }

    /// The level of behaviour with all features begins.
    pub fn levels_up(&mut self) {
        self.model.begin_level(1);
    }

    /// What the log says of a session's client, now.
    pub fn hears(&mut self, session: u64, what: impl Fn(&mut Model, u64, u64)) {
        what(&mut self.model, session, self.time);
    }

    /// Log time comes to `time`. Gives what that brought about.
    pub fn passes(&mut self, time: u64) -> Vec<String> {
        self.time = time;
        let outputs = self.model.pass(&self.context(), time);
        outputs.iter().map(|(_, bytes)| short(bytes)).collect()
    }

    pub fn withdraws(&mut self, account: u32, amount: u64) -> Option<Reject> {
        let reply = self.does(Transfer::withdraw(account, BASE, 1_000 + self.seq, amount).as_bytes());
        Reject::from_wire(Reply::decode(&reply).expect("a reply").code())
    }

    pub fn cancels(&mut self, account: u32, order: u64) -> OrderReply {
        let reply = self.does(Cancel::new(account, OrderRef::Id(order)).as_bytes());
        let Ok(Reply::Order(reply)) = Reply::decode(&reply) else {
            panic!("no reply to a cancel: {reply:?}")
        };
        *reply
    }

    pub fn sets_group(&mut self, account: u32, group: u32) {
        self.does(SetGroup::new(account, group, note("")).as_bytes());
    }

    /// What a firm heard of the last command, in short.
    pub fn firm_hears(&self, firm: u32) -> Vec<String> {
        self.copies.iter().filter(|(to, _)| *to == firm).map(|(_, what)| what.clone()).collect()
    }

    /// What the last command told others but firms, in short.
    pub fn told(&self) -> Vec<String> {
        self.told.clone()
    }

    /// Bids and asks: price, lots shown, orders.
    #[expect(clippy::type_complexity, reason = "two lists of three numbers")]
    pub fn levels(&self) -> (Vec<(i64, u64, u32)>, Vec<(i64, u64, u32)>) {
        let query = ordain_exchange_protocol::BookLevelsQuery::new(1, 20);
        let answer = self.asks(query.as_bytes());
        let Ok(Answer::BookLevels(_, bids, asks)) = Answer::decode(&answer) else { panic!("no levels") };
        let short = |levels: &[ordain_exchange_protocol::LevelEntry]| {
            levels.iter().map(|it| (it.price.get(), it.quantity.get(), it.orders.get())).collect()
        };
        (short(bids), short(asks))
    }

    /// Orders at a price.
    pub fn book(&self, side: Side, price: i64) -> Vec<u64> {
        let at = self.model.side(1, side).into_iter().filter(|order| order.price == price.into());
        at.map(|order| order.id).collect()
    }

    pub fn detail(&self, account: u32, order: u64) -> OrderDetailAnswer {
        let answer = self.asks(OrderDetailQuery::new(account, OrderRef::Id(order)).as_bytes());
        let Ok(Answer::OrderDetail(answer)) = Answer::decode(&answer) else { panic!("no detail") };
        *answer
    }

    pub fn free(&self, account: u32, currency: u32) -> i128 {
        self.model.free(account, currency)
    }

    pub fn held(&self, account: u32, currency: u32) -> i128 {
        self.model.held(account, currency)
    }

    fn asks(&self, query: &[u8]) -> Vec<u8> {
        self.model.query(&self.context(), &Query::decode(query).expect("a query"))
    }
}

fn accepted(reply: OrderReply2) -> OrderReply2 {
    assert_eq!(Reject::from_wire(reply.code.get()), None);
    reply
}

fn short_copy(bytes: &[u8]) -> String {
    match Reply::decode(bytes) {
        Ok(Reply::Order(it)) => format!("reply of {}", it.account),
        Ok(Reply::Order2(it)) => format!("reply of {}", it.account),
        Ok(other) => panic!("no firm hears {other:?}"),
        Err(_) => short(bytes),
    }
}

fn short(output: &[u8]) -> String {
    let part = |aggressor| if aggressor == Flag::Yes { "taker" } else { "maker" };
    match Output::decode(output).expect("an output") {
        Output::Fill(it) => format!("fill {} {} at {}", part(it.aggressor), it.quantity, it.price),
        Output::Trade(it) => format!("trade {} at {}", it.quantity, it.price),
        Output::Cancel(it) => format!("cancelled {}, {:?}", it.cancelled, it.reason),
        Output::Prevent(it) => format!("meets {} {}", part(it.aggressor), it.prevented),
        Output::Trigger(it) => format!("triggered {} at {}", it.remaining, it.price),
        Output::State(it) => format!("state {:?}", it.state),
        Output::Indication(it) => format!("indication {} at {}", it.volume, it.price),
        Output::Call(it) => format!("call until {}", it.until),
        Output::Auction(it) => format!("auction {} at {}", it.volume, it.price),
        Output::Book(it) => {
            // Which slot says which order, as long as none is used again.
            let (order, trade) = (it.order_id.get() as u32, it.trade.get());
            let by = if trade == 0 { String::new() } else { format!(", trade {trade}") };
            match it.action {
                FeedAction::Add => format!("add {order}: {:?} {} at {}{by}", it.side, it.quantity, it.price),
                FeedAction::Change => format!("change {order}: {}{by}", it.quantity),
                FeedAction::Remove => format!("remove {order}{by}"),
                action => format!("orders {action:?}"),
            }
        }
        Output::Level(it) => match it.action {
            FeedAction::Change => format!("{:?} {}: {} of {}", it.side, it.price, it.quantity, it.orders),
            FeedAction::Remove => format!("{:?} {}: none", it.side, it.price),
            action => format!("levels {action:?}"),
        },
        Output::Top(it) => match it.action {
            FeedAction::Off => "top Off".to_owned(),
            _ => format!("top {} at {}, {} at {}", it.bid_quantity, it.bid, it.ask_quantity, it.ask),
        },
    }
}
