//! The rule of relaxed acknowledgements (`docs/relaxed-acks.md`) as a model, every state of which is visited within
//! bounds. It knows nothing of the code that implements the rule.
//!
//! [`rule`] is the rule as functions, with its mistakes; [`cluster`] what a state is; [`model`] what can happen and what
//! must hold; [`cases`] the bounds; [`search`] runs them and writes counterexamples. What a state leaves out, and why
//! nothing is lost by that, is in `docs/adr/0015-model-of-the-rule.md`.
#![forbid(unsafe_code)]

pub mod cases;
pub mod cluster;
pub mod model;
pub mod rule;
pub mod search;
