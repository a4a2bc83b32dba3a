/// Most keys that may act for one account. They lie in the account's cache line, so that a check needs no search.
pub const KEYS_PER_ACCOUNT: usize = 8;

/// Every bound of an exchange. Memory is reserved for all of it when the engine is made.
///
/// Part of the state machine: every node must use the same, and a snapshot carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Highest instrument id, at most 65,535.
    pub instruments: u32,
    /// Highest currency id, at most 4,096.
    pub currencies: u32,
    /// Highest account id.
    pub accounts: u32,
    /// Live orders.
    pub orders: u32,
    /// Live orders of one account, so that one cannot use up all.
    pub orders_per_account: u32,
    /// Different prices on one side of a book, and different triggers of one direction. A new one moves what one block of
    /// them takes, and once in many times the list of the side's blocks, which grows with this number.
    pub levels_per_side: u32,
    /// Transfers remembered for answering repeats.
    pub transfers: u32,
}

impl Limits {
    /// What a server uses. Reserves about 350 MiB of address space; pages become resident when first used.
    pub const DEFAULT: Self = Self {
        instruments: 1_024,
        currencies: 64,
        accounts: 65_536,
        orders: 1 << 18,
        orders_per_account: 1 << 16,
        levels_per_side: 2_048,
        transfers: 1 << 18,
    };

    pub(crate) fn are_valid(&self) -> bool {
        const HANDLES: u32 = 1 << 30;
        // Their supplies fit one chunk of a snapshot.
        const CURRENCIES: u32 = 4_096;
        (1..=u32::from(u16::MAX)).contains(&self.instruments)
            && [
                self.currencies,
                self.accounts,
                self.orders,
                self.orders_per_account,
                self.levels_per_side,
                self.transfers,
            ]
            .iter()
            .all(|limit| (1..=HANDLES).contains(limit))
            && self.currencies <= CURRENCIES
            && u64::from(self.accounts) * u64::from(self.currencies) <= u64::from(HANDLES)
            && u64::from(self.instruments) * u64::from(self.levels_per_side) <= u64::from(HANDLES)
    }
}
