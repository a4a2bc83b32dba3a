//! What the exchange is measured with: a flow of orders like those exchanges see, and the engine alone.
#![forbid(unsafe_code)]

pub mod engine;
pub mod flow;
