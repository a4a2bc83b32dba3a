//! How what apply produces is laid out for the gateway: a [`Delivery`] and a whole frame, written once, in
//! the place from which the gateway sends it.

use ordain_agent::wire::{DELIVERY, Delivery};
use ordain_api::Buf;
use ordain_types::frame::{REPLY_MAX, SERVER_HEADER, ServerHeader, frame_len};
use zerocopy::IntoBytes;

/// Longest message that apply hands to the gateway, bytes.
pub const MESSAGE_MAX: usize = DELIVERY + frame_len(REPLY_MAX);

/// Takes messages for the gateway. Whoever steps a [`Replica`](crate::Replica) has made sure that a whole
/// step has room.
pub trait Emit {
    /// Contiguous space of `len` bytes, at most [`MESSAGE_MAX`], holding anything.
    ///
    /// # Panics
    /// If there is no room.
    fn claim(&mut self, len: usize) -> &mut [u8];

    /// Sends the first `len` bytes of the claim.
    fn commit(&mut self, len: usize);
}

/// Throws everything away: for a copy of the state that answers nobody.
#[derive(Debug)]
pub struct Discard(Box<[u8; MESSAGE_MAX]>);

impl Default for Discard {
    fn default() -> Self {
        Self(Box::new([0; MESSAGE_MAX]))
    }
}

impl Emit for Discard {
    fn claim(&mut self, len: usize) -> &mut [u8] {
        &mut self.0[..len]
    }

    fn commit(&mut self, _len: usize) {}
}

/// Keeps every message.
#[derive(Debug, Default)]
pub struct Collect {
    /// The messages, in order.
    pub messages: Vec<Vec<u8>>,
    claim: Vec<u8>,
}

impl Emit for Collect {
    fn claim(&mut self, len: usize) -> &mut [u8] {
        // Not zero, as in a ring: padding must be written.
        self.claim.clear();
        self.claim.resize(len, 0xA5);
        &mut self.claim
    }

    fn commit(&mut self, len: usize) {
        self.messages.push(self.claim[..len].to_vec());
    }
}

/// Writes a message whose frame has a payload of at most `bound` bytes; says how long the payload is. What
/// fills it may also complete the header.
pub(crate) fn write_frame(
    space: &mut [u8],
    delivery: &Delivery,
    mut header: ServerHeader,
    bound: usize,
    fill: impl FnOnce(&mut Buf<'_>, &mut ServerHeader),
) -> usize {
    const PAYLOAD: usize = DELIVERY + SERVER_HEADER;
    space[..DELIVERY].copy_from_slice(delivery.as_bytes());
    let mut buf = Buf::new(&mut space[PAYLOAD..PAYLOAD + bound]);
    fill(&mut buf, &mut header);
    let len = buf.len();
    header.length = (len as u32).into();
    space[DELIVERY..PAYLOAD].copy_from_slice(header.as_bytes());
    space[PAYLOAD + len..DELIVERY + frame_len(len)].fill(0);
    len
}

/// The frame that [`write_frame`] wrote.
pub(crate) fn frame_of(space: &[u8], payload: usize) -> &[u8] {
    &space[DELIVERY..DELIVERY + frame_len(payload)]
}

/// The payload of the frame that [`write_frame`] wrote.
pub(crate) fn payload_of(space: &[u8], payload: usize) -> &[u8] {
    &space[DELIVERY + SERVER_HEADER..][..payload]
}

/// Bytes of a message whose frame has this much payload.
pub(crate) const fn message_len(payload: usize) -> usize {
    DELIVERY + frame_len(payload)
}
