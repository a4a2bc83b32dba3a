//! An exhaustive model of safe relaxed acknowledgements.
#![forbid(unsafe_code)]

pub mod cases;
pub mod cluster;
pub mod model;
pub mod rule;
pub mod search;
