//! `ordain replay`: real order flow through a node, compared row by row with what the market showed.

pub mod lobster;

#[cfg(test)]
mod tests;
