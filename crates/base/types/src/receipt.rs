//! What a client keeps to see later whether history was changed.

use crate::{BatchIndex, Chain, Seq};
use core::fmt;
use core::str::FromStr;

const PREFIX: &str = "ordain-receipt-";

/// A chain value that some node gave out while batch `index` was the log's: it covers every byte up to the end
/// of that batch, and with it record `seq`. As text it is one word, `ordain-receipt-SEQ-INDEX-CHAIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The record.
    pub seq: Seq,
    /// A batch that holds the record or comes after it.
    pub index: BatchIndex,
    /// `H(index)`.
    pub chain: Chain,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}-{}", self.seq, self.index, self.chain)
    }
}

/// A text that is no receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptTextError;

impl fmt::Display for ReceiptTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a receipt is `{PREFIX}SEQ-INDEX-CHAIN`, with 64 hexadecimal digits at its end; copy all of it"
        )
    }
}

impl core::error::Error for ReceiptTextError {}

impl FromStr for Receipt {
    type Err = ReceiptTextError;

    fn from_str(text: &str) -> Result<Self, ReceiptTextError> {
        let mut parts = text.trim().strip_prefix(PREFIX).ok_or(ReceiptTextError)?.split('-');
        let mut part = || parts.next().ok_or(ReceiptTextError);
        let (seq, index, digits) = (part()?, part()?, part()?);
        let number = |text: &str| text.parse().map_err(|_| ReceiptTextError);
        let is_hex = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_hex || parts.next().is_some() {
            return Err(ReceiptTextError);
        }
        let mut chain = [0; 32];
        for (byte, at) in chain.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
        }
        Ok(Self { seq: Seq(number(seq)?), index: BatchIndex(number(index)?), chain: Chain(chain) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_survive_as_text_and_other_texts_are_none() {
        let chain = Chain(core::array::from_fn(|at| at as u8 * 7));
        let receipt = Receipt { seq: Seq(13), index: BatchIndex(u64::MAX), chain };
        let text = receipt.to_string();
        assert_eq!(format!(" {text}\n").parse(), Ok(receipt));
        let spoilt = [
            text.replace("ordain", "Ordain"),
            text.replace("-13-", "-x-"),
            text.replace("-13-", "-13-13-"),
            text.replace("-13-", "-"),
            text.replace("0007", "00+7"),
            text.replace("0007", "00é"),
            format!("{text}0"),
            format!("{text}-"),
            text[..text.len() - 1].to_owned(),
            String::new(),
        ];
        for text in spoilt {
            assert_eq!(text.parse::<Receipt>(), Err(ReceiptTextError), "{text}");
        }
    }
}
