//! `ordain`: run a node, drive it, measure it, audit it.
#![forbid(unsafe_code)]

mod replay;

fn main() {}
