//! What the exchange is measured with: a flow of orders like those exchanges see, the engine alone, and a load
//! over the network.
#![forbid(unsafe_code)]

pub mod engine;
pub mod flow;
pub mod load;
