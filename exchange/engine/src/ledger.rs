//! Balances. Money moves here and nowhere else.

use zerocopy::{FromZeros, Immutable, IntoBytes, KnownLayout};

/// Minor units of one currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Balance {
    pub free: u64,
    pub held: u64,
}

/// The balances of all accounts, account 0 included, and the supply of every currency.
///
/// No sum can overflow: all balances of a currency add up to its supply, which is at most `i64::MAX`.
pub(crate) struct Ledger {
    balances: Vec<Balance>,
    supply: Vec<u64>,
    currencies: usize,
    /// What the current event did to the sum of each currency. Compared with the supply's change.
    #[cfg(debug_assertions)]
    delta: Vec<i128>,
}

/// Where a balance lies.
#[derive(Clone, Copy)]
pub(crate) struct At(usize);

impl Ledger {
    pub fn new(accounts: u32, currencies: u32) -> Self {
        let currencies = currencies as usize;
        let rows = (accounts as usize + 1) * currencies;
        Self {
            balances: Balance::new_vec_zeroed(rows).expect("memory for the balances at start"),
            supply: vec![0; currencies],
            currencies,
            #[cfg(debug_assertions)]
            delta: vec![0; currencies],
        }
    }

    #[inline]
    pub fn at(&self, account: u32, currency: u32) -> At {
        At(account as usize * self.currencies + currency as usize - 1)
    }

    #[inline]
    pub fn get(&self, at: At) -> Balance {
        self.balances[at.0]
    }

    #[inline]
    pub fn free(&self, at: At) -> u64 {
        self.balances[at.0].free
    }

    pub fn supply(&self, currency: u32) -> u64 {
        self.supply[currency as usize - 1]
    }

    /// Free balance grows.
    #[inline]
    pub fn receive(&mut self, at: At, amount: u64) {
        self.balances[at.0].free += amount;
        self.note(at, i128::from(amount));
    }

    /// Free balance shrinks.
    ///
    /// # Panics
    /// If there is not enough, as in all of these: the caller has checked.
    #[inline]
    pub fn pay(&mut self, at: At, amount: u64) {
        let balance = &mut self.balances[at.0];
        balance.free = balance.free.checked_sub(amount).expect("free funds were checked");
        self.note(at, -i128::from(amount));
    }

    /// Free becomes held.
    #[inline]
    pub fn hold(&mut self, at: At, amount: u64) {
        let balance = &mut self.balances[at.0];
        balance.free = balance.free.checked_sub(amount).expect("free funds were checked");
        balance.held += amount;
    }

    /// Held becomes free.
    #[inline]
    pub fn release(&mut self, at: At, amount: u64) {
        let balance = &mut self.balances[at.0];
        balance.held = balance.held.checked_sub(amount).expect("held is the sum over live orders");
        balance.free += amount;
    }

    /// Of `hold` held, `cost` is paid and the rest becomes free.
    #[inline]
    pub fn pay_held(&mut self, at: At, hold: u64, cost: u64) {
        let balance = &mut self.balances[at.0];
        balance.held = balance.held.checked_sub(hold).expect("held is the sum over live orders");
        balance.free += hold.checked_sub(cost).expect("a hold covers the worst cost");
        self.note(at, -i128::from(cost));
    }

    /// Money comes in from outside. The caller has checked the supply.
    pub fn deposit(&mut self, at: At, amount: u64) {
        let supply = &mut self.supply[at.0 % self.currencies];
        *supply += amount;
        self.balances[at.0].free += amount;
    }

    /// Money goes out.
    pub fn withdraw(&mut self, at: At, amount: u64) {
        let balance = &mut self.balances[at.0];
        balance.free = balance.free.checked_sub(amount).expect("free funds were checked");
        self.supply[at.0 % self.currencies] -= amount;
    }

    #[inline]
    fn note(&mut self, at: At, change: i128) {
        #[cfg(debug_assertions)]
        {
            self.delta[at.0 % self.currencies] += change;
        }
        #[cfg(not(debug_assertions))]
        let _ = (at, change);
    }

    /// At an event's end: what was paid was received, in every currency.
    #[inline]
    pub fn assert_balanced(&self) {
        #[cfg(debug_assertions)]
        assert!(self.delta.iter().all(|delta| *delta == 0), "money appeared or vanished: {:?}", self.delta);
    }

    /// Whether all balances of each currency add up to its supply.
    pub fn is_conserved(&self) -> bool {
        let mut sums = vec![0_u128; self.currencies];
        for row in self.balances.chunks(self.currencies) {
            for (sum, balance) in sums.iter_mut().zip(row) {
                *sum += u128::from(balance.free) + u128::from(balance.held);
            }
        }
        sums.iter().zip(&self.supply).all(|(sum, supply)| *sum == u128::from(*supply))
    }

    /// Sets a balance while restoring.
    pub fn restore(&mut self, at: At, balance: Balance) {
        self.balances[at.0] = balance;
    }

    /// Sets a supply while restoring.
    pub fn restore_supply(&mut self, currency: u32, supply: u64) {
        self.supply[currency as usize - 1] = supply;
    }
}

/// The fee on `notional` at `ppm` parts per million: a charge rounds up, a rebate (negative) towards zero.
///
/// `ppm` is at most 1,000,000 either way and `notional` at most `i64::MAX`.
#[inline]
pub(crate) fn fee(notional: u64, ppm: i32) -> i64 {
    const MILLION: u64 = 1_000_000;
    let rate = u64::from(ppm.unsigned_abs());
    let (whole, part) = if notional <= u64::MAX / MILLION {
        let product = notional * rate;
        (product / MILLION, product % MILLION)
    } else {
        let product = u128::from(notional) * u128::from(rate);
        ((product / u128::from(MILLION)) as u64, (product % u128::from(MILLION)) as u64)
    };
    if ppm >= 0 { whole as i64 + i64::from(part != 0) } else { -(whole as i64) }
}

#[cfg(test)]
mod tests {
    use super::fee;

    #[test]
    fn fees_round_against_the_payer() {
        let check = |notional: u64, ppm: i32, expected: i64| {
            assert_eq!(fee(notional, ppm), expected, "{notional} at {ppm}");
        };
        check(0, 500, 0);
        check(1, 1, 1);
        check(1_000_000, 1, 1);
        check(1_000_001, 1, 2);
        check(1, -1, 0);
        check(1_999_999, -1, -1);
        check(7, 1_000_000, 7);
        check(7, -1_000_000, -7);
        check(i64::MAX as u64, 1_000_000, i64::MAX);
        check(i64::MAX as u64, 1, 9_223_372_036_855);
        check(i64::MAX as u64, -1, -9_223_372_036_854);
    }
}
