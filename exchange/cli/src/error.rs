//! What a command says when it cannot do what it was asked: what happened, and what to do about it.

use std::fmt;

/// See the module.
#[derive(Debug)]
pub struct CliError {
    cause: String,
    action: String,
}

impl CliError {
    pub fn new(cause: impl fmt::Display, action: impl fmt::Display) -> Self {
        Self { cause: cause.to_string(), action: action.to_string() }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\n next: {}", self.cause, self.action)
    }
}

impl std::error::Error for CliError {}

pub type Result<T> = std::result::Result<T, CliError>;

/// Adds the next action to an error that says only what happened.
pub trait OrNext<T> {
    fn or_next(self, doing: impl fmt::Display, action: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> OrNext<T> for std::result::Result<T, E> {
    fn or_next(self, doing: impl fmt::Display, action: impl fmt::Display) -> Result<T> {
        self.map_err(|error| CliError::new(format!("{doing}: {error}"), action))
    }
}
