//! What the exchange is measured with: a flow of orders like those exchanges see, the engine alone, a load
//! over the network, and what a flow makes of a book.
#![forbid(unsafe_code)]

pub mod adverse;
pub mod engine;
pub mod flow;
pub mod load;
pub mod tape;
