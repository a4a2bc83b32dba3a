//! Prints what the engine does alone, and the rate of the median block, by the thread's own time.
//! Arguments: requests to measure (2,000,000 if none), accounts, instruments, and anything to have all books published.

use ordain_exchange_bench::engine::{BLOCK, Bench};
use ordain_exchange_bench::flow::Settings;
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds that this thread has run for: on a busy machine, what others take of it is left out.
fn cpu_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn main() {
    let publishes = std::env::args().nth(4).is_some();
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let requests = numbers.next().unwrap_or(2_000_000);
    let mut settings = Settings::default();
    settings.accounts = numbers.next().map_or(settings.accounts, |number| number as u32);
    settings.instruments = numbers.next().map_or(settings.instruments, |number| number as u32);
    let mut bench = Bench::new(&settings, requests);
    if publishes {
        bench.publish(settings.instruments);
    }
    let mut rates: Vec<u64> = (0..requests.div_ceil(BLOCK as u64))
        .map(|_| {
            bench.fill();
            let start = cpu_time();
            bench.run();
            BLOCK as u64 * 1_000_000_000 / (cpu_time() - start).max(1)
        })
        .collect();
    rates.sort_unstable();
    let quantile = |per_cent: usize| rates[(rates.len() - 1) * per_cent / 100];
    println!("{} median, {} best tenth; {}", quantile(50), quantile(90), bench.measure(requests));
}
