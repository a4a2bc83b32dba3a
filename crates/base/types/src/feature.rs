//! Behaviour that begins at a place in the log (a Feature control batch): every node changes at the same record, and a
//! node whose build lacks the behaviour stops there instead of going its own way.

use crate::BatchView;
use crate::control::{self, ControlError, ControlKind};

/// Version of the layout.
pub const FEATURE_VERSION: u8 = 1;

/// Numbers of the features that this build has. None exists yet: the first build is alike everywhere.
pub const KNOWN: &[u16] = &[];

/// A feature that begins behind its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature(pub u16);

impl Feature {
    /// Whether this build has it.
    #[must_use]
    pub fn is_known(self) -> bool {
        KNOWN.contains(&self.0)
    }

    /// The body of the control batch.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut body = Vec::new();
        control::begin(ControlKind::Feature, FEATURE_VERSION, &mut body);
        body.extend_from_slice(&self.0.to_le_bytes());
        body.extend_from_slice(&[0; 6]);
        body
    }

    /// The feature that a batch holds; `None` if it is another kind of batch or entry.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn of_batch(batch: &BatchView<'_>) -> Result<Option<Self>, ControlError> {
        match control::parse(batch) {
            Ok((ControlKind::Feature, FEATURE_VERSION, payload)) => match payload {
                [low, high, 0, 0, 0, 0, 0, 0, ..] => Ok(Some(Self(u16::from_le_bytes([*low, *high])))),
                _ => Err(ControlError::Field("feature")),
            },
            Ok((ControlKind::Feature, version, _)) => Err(ControlError::Version(version)),
            Ok(_) | Err(ControlError::OtherBatch) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
