//! Runs a flow into the engine and prints nothing but how many requests that were: for tools that count, not for clocks.
//! Arguments: `mix` or the name of an adversarial flow, requests.

use ordain_exchange_bench::adverse::Adverse;
use ordain_exchange_bench::engine::{BLOCK, Bench, Requests};
use ordain_exchange_bench::flow::Settings;

/// What counts: neither the making of requests nor what came before.
#[inline(never)]
fn counted<R: Requests>(bench: &mut Bench<R>) {
    bench.run();
}

fn go<R: Requests>(mut bench: Bench<R>, requests: u64) {
    let blocks = requests.div_ceil(BLOCK as u64);
    for _ in 0..blocks {
        bench.fill();
        counted(&mut bench);
    }
    println!("{}", blocks * BLOCK as u64);
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(Ok(requests))) = (args.next(), args.next().map(|text| text.parse())) else {
        eprintln!("usage: flow_run NAME REQUESTS");
        std::process::exit(2);
    };
    match Adverse::ALL.into_iter().find(|flow| flow.name() == name) {
        Some(flow) => go(flow.bench(1), requests),
        None if name == "mix" => go(Bench::new(&Settings::default(), 500_000), requests),
        None => {
            let known: Vec<_> = Adverse::ALL.into_iter().map(Adverse::name).collect();
            eprintln!("no flow `{name}`: mix, {}", known.join(", "));
            std::process::exit(2);
        }
    }
}
