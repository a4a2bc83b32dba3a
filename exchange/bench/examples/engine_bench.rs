//! Prints what the engine does alone. Arguments: requests to measure (2,000,000 if none), accounts, instruments.

use ordain_exchange_bench::engine::Bench;
use ordain_exchange_bench::flow::Settings;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let requests = numbers.next().unwrap_or(2_000_000);
    let mut settings = Settings::default();
    settings.accounts = numbers.next().map_or(settings.accounts, |number| number as u32);
    settings.instruments = numbers.next().map_or(settings.instruments, |number| number as u32);
    settings.live_max = numbers.next().map_or(settings.live_max, |number| number as usize);
    println!("{}", Bench::new(&settings, requests).measure(2 * requests));
}
