//! The handshake: who is at the other end of a connection.

use crate::ingress::{Frame, Taken, malformed};
use crate::stage::{Core, Goodbye, goodbye};
use crate::table::Phase;
use ordain_api::{Application, RequestDecoder};
use ordain_keys::{HandshakeError, PublicKey, ServerHandshake};
use ordain_types::KeyId;
use ordain_types::codes::Code;
use ordain_types::frame::{ClientFrame, HelloBody, ProofBody, ServerFrame, WelcomeBody, body};
use ordain_types::record::permission;
use zerocopy::IntoBytes;

impl<A: Application, D: RequestDecoder<A>> Core<A, D> {
    pub(crate) fn sign_in(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        let phase = std::mem::replace(&mut self.table.get_mut(slot).phase, Phase::Fresh);
        match (phase, ClientFrame::from_wire(frame.header.kind)) {
            (Phase::Fresh, Some(ClientFrame::Hello)) => self.challenge(slot, frame),
            (Phase::Challenged(handshake), Some(ClientFrame::Proof)) => self.welcome(slot, frame, &handshake),
            _ => Taken::End(goodbye(Code::Unauthenticated, "sign in first: Hello, then Proof")),
        }
    }

    fn challenge(&mut self, slot: u32, frame: Frame<'_>) -> Taken {
        let Some(hello) = body::<HelloBody>(frame.payload) else {
            return malformed("the body of a Hello has 88 bytes");
        };
        // A key that is not known costs no signature.
        if let Err(goodbye) = self.permitted(PublicKey(hello.key)) {
            return Taken::End(goodbye);
        }
        self.nonces += 1;
        let nonce = *blake3::keyed_hash(&self.config.nonce_secret, &self.nonces.to_le_bytes()).as_bytes();
        match ServerHandshake::challenge(&self.config.key, self.facts.cluster, hello, nonce) {
            Ok(handshake) => {
                let body = handshake.body().as_bytes();
                self.own_frame(ServerFrame::Challenge, Code::Executed, (0, 0, 0), body);
                self.table.get_mut(slot).phase = Phase::Challenged(Box::new(handshake));
                Taken::Answered(frame.bytes.len())
            }
            Err(error) => {
                let code = match error {
                    HandshakeError::Version { .. } => Code::Unsupported,
                    _ => Code::Unauthenticated,
                };
                Taken::End(Goodbye { code, why: error.to_string().into() })
            }
        }
    }

    /// What the log says of a key.
    fn permitted(&self, key: PublicKey) -> Result<(KeyId, u32), Goodbye> {
        match self.keys.get(&key) {
            Some((id, permissions)) if *permissions != 0 => Ok((*id, *permissions)),
            Some(_) => Err(goodbye(Code::Unauthenticated, "the key was revoked")),
            // A node that does not serve may not have come to the key's record yet.
            None if self.ready_in != self.stint || self.stint.0.is_multiple_of(2) => {
                let why = "this node does not know your key yet: try again, or another node";
                Err(goodbye(Code::Starting, why))
            }
            None => {
                let why = "the key is not known to this cluster: check the key file, or have an operator add \
                           the key with `ordain keys add`";
                Err(goodbye(Code::Unauthenticated, why))
            }
        }
    }

    fn welcome(&mut self, slot: u32, frame: Frame<'_>, handshake: &ServerHandshake) -> Taken {
        let Some(proof) = body::<ProofBody>(frame.payload) else {
            return malformed("the body of a Proof has 64 bytes");
        };
        let key = match handshake.finish(proof) {
            Ok(identified) => identified.key,
            Err(error) => {
                return Taken::End(Goodbye { code: Code::Unauthenticated, why: error.to_string().into() });
            }
        };
        let (id, permissions) = match self.permitted(key) {
            Ok(known) => known,
            Err(goodbye) => return Taken::End(goodbye),
        };
        let operator = permissions & permission::OPERATOR != 0;
        let clients = self.table.signed_in() - self.table.operators();
        if self.table.signed_in() >= self.config.signed_in()
            || (!operator && clients >= self.config.clients())
        {
            self.metrics.turned_away.add(1);
            return Taken::End(goodbye(Code::Busy, "the node has as many connections as it takes"));
        }
        let deadline = self.cycle.now.plus(self.config.idle_timeout.0);
        self.table.signed(slot, deadline, operator);
        let conn = self.table.get_mut(slot);
        (conn.key, conn.permissions) = (id, permissions);
        let welcome = WelcomeBody {
            key: id.0.into(),
            permissions: permissions.into(),
            window: self.facts.window.into(),
            payload_max: self.facts.payload_max.into(),
            session_timeout: self.facts.session_timeout.0.into(),
            idle_timeout: self.config.idle_timeout.0.into(),
        };
        self.own_frame(ServerFrame::Welcome, Code::Executed, (0, 0, 0), welcome.as_bytes());
        Taken::Answered(frame.bytes.len())
    }
}
