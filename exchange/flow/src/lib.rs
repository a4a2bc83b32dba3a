//! Order flow as its statistics: what a tape of book events looks like ([`measure`]), how far two tapes are from one
//! another ([`histogram`]), and tapes drawn from measured ones ([`generate`]).
//!
//! All of it is integers: equal tapes give equal measures, equal measures and seeds give equal tapes.
#![forbid(unsafe_code)]

pub mod generate;
pub mod histogram;
pub mod measure;
pub mod random;
pub mod tape;
