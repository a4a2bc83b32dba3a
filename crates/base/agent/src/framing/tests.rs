use super::*;
use proptest::prelude::*;

/// A frame that says that so many of its bytes are header and body, and what travels for it.
fn sent(covered: usize, length: usize, framing: Framing) -> (Vec<u8>, Vec<u8>) {
    let mut frame: Vec<u8> = (0..length).map(|at| (at * 37 + 11) as u8).collect();
    frame[..OWN_LENGTH].copy_from_slice(&(covered as u32).to_le_bytes());
    let (head, body) = frame.split_at(covered.clamp(OWN_LENGTH, length));
    let prefix = framing.prefix(head, body);
    let bytes = [&prefix[..framing.prefix_len()], &frame].concat();
    (frame, bytes)
}

proptest! {
    #[test]
    fn what_is_sent_is_received(
        covered in 0_usize..300, length in 4_usize..300, cut in any::<prop::sample::Index>(),
    ) {
        for framing in [Framing::Plain, Framing::Checked] {
            let (frame, mut bytes) = sent(covered, length, framing);
            prop_assert_eq!(framing.first(&bytes[..cut.index(bytes.len())]), Ok(None));
            bytes.extend(b"what comes behind it");
            prop_assert_eq!(framing.first(&bytes), Ok(Some(frame.len())));
            prop_assert_eq!(&bytes[framing.prefix_len()..][..frame.len()], &frame[..]);
        }
    }

    /// In which two parts it is given makes no difference.
    #[test]
    fn parts_are_one_frame(covered in 0_usize..300, length in 4_usize..300, at in any::<prop::sample::Index>()) {
        let (frame, bytes) = sent(covered, length, Framing::Checked);
        let (head, body) = frame.split_at(OWN_LENGTH + at.index(length - OWN_LENGTH + 1));
        prop_assert_eq!(&Framing::Checked.prefix(head, body)[..], &bytes[..PREFIX_MAX]);
    }

    /// Whatever becomes of what is covered, it is never taken for a frame.
    #[test]
    fn no_damage_is_taken_for_a_frame(
        covered in 4_usize..120,
        more in 0_usize..100,
        at in any::<prop::sample::Index>(),
        damage in prop_oneof![
            (1..=u8::MAX).prop_map(|bits| (0, vec![bits])),
            (1_usize..20).prop_map(|cut| (cut, vec![])),
            prop::collection::vec(any::<u8>(), 1..20).prop_map(|new| (0, new)),
        ],
    ) {
        let (_, mut bytes) = sent(covered, covered + more, Framing::Checked);
        let end = PREFIX_MAX + covered;
        let (cut, new) = damage;
        let at = at.index(end);
        let before = bytes.clone();
        if cut == 0 && new.len() == 1 {
            bytes[at] ^= new[0];
        } else {
            bytes.splice(at..(at + cut).min(end), new);
        }
        prop_assume!(bytes[..end.min(bytes.len())] != before[..end]);
        // As much follows as is waited for.
        bytes.extend([0; 300]);
        prop_assert!(matches!(Framing::Checked.first(&bytes), Err(Damage::Prefix | Damage::Frame)));
    }

    #[test]
    fn noise_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for framing in [Framing::Plain, Framing::Checked] {
            if let Ok(Some(length)) = framing.first(&bytes) {
                prop_assert!(framing.prefix_len() + length <= bytes.len());
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_what_is_covered_is_seen() {
    let (_, bytes) = sent(80, 500, Framing::Checked);
    for bit in 0..(PREFIX_MAX + 80) * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let expected = if bit < PREFIX_MAX * 8 { Damage::Prefix } else { Damage::Frame };
        assert_eq!(Framing::Checked.first(&bad), Err(expected), "bit {bit}");
        // A length is not waited for before it is believed.
        if bit < PREFIX_MAX * 8 {
            assert_eq!(Framing::Checked.first(&bad[..PREFIX_MAX]), Err(expected), "bit {bit}");
        }
    }
}

#[test]
fn batches_have_checksums_of_their_own() {
    let (_, mut bytes) = sent(80, 500, Framing::Checked);
    bytes[PREFIX_MAX + 80] ^= 1;
    assert_eq!(Framing::Checked.first(&bytes), Ok(Some(500)));
}

#[test]
fn no_frame_is_empty_or_too_long() {
    for length in [0, PEER_FRAME_MAX as u32 + 1, u32::MAX] {
        let mut prefix = Prefix { length: length.into(), frame_crc: 0.into(), crc: 0.into() };
        prefix.crc = prefix.checksum().into();
        assert_eq!(Framing::Checked.first(prefix.as_bytes()), Err(Damage::Length(length)));
        assert_eq!(Framing::Plain.first(&length.to_le_bytes()), Err(Damage::Length(length)));
    }
}

/// Freezes the layout: `docs/format/peer.md` shows the same bytes.
#[test]
fn golden_frame() {
    // A TimeoutNow of term 7, life 8 to life 9.
    let mut frame = [0; 32];
    (frame[0], frame[4], frame[5], frame[8], frame[16], frame[24]) = (32, 1, 9, 7, 8, 9);
    let prefix = Framing::Checked.prefix(&frame, &[]);
    assert_eq!(prefix, [0x20, 0, 0, 0, 0x08, 0x8E, 0xF0, 0x8A, 0x5A, 0x36, 0x25, 0xB8]);
    assert_eq!(&Framing::Plain.prefix(&frame, &[])[..4], [32, 0, 0, 0]);
}
