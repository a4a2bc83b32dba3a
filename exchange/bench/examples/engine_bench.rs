//! Prints what the engine does alone. Argument: requests to measure, 2,000,000 if none.

fn main() {
    let requests = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2_000_000);
    println!("{}", ordain_exchange_bench::engine::bench_engine(requests));
}
