"""A client of Ordain in the standard library alone, written from docs/format/client.md.

    client = Client("127.0.0.1:7400", Key.load("operator.key"))
    client.connect()
    client.open_session()
    seq, reply = client.call(1, payload)

One thread, one session, blocking. Time that passes inside a method keeps the connection and the session alive; a
program that stays outside for long calls `keep_alive` in between.
"""

import hashlib
import os
import select
import socket
import struct
import time
from collections import OrderedDict, deque
from typing import NamedTuple

VERSION = 1
ROLE_CLIENT = 1
NODE_PAYLOAD_MAX = 1024
# A program that lets more outputs than this lie unread is cut off; it may subscribe again from where it was.
OUTPUTS_MAX = 65536

SESSION_OPEN, SESSION_CLOSE, SESSION_KEEP_ALIVE, KEY_SET = 2, 3, 4, 6
REQUEST, HELLO, PROOF, RESUME, QUERY, SUBSCRIBE, UNSUBSCRIBE, PING, ASK_RECEIPT = 1, 64, 65, 66, 67, 68, 69, 70, 71
ASK_KEYS, STEER, ASK_MEMBERS, ASK_FACTS = 72, 73, 74, 75
REPLY, OPENED, RESUMED, ANSWER, OUTPUT, SUBSCRIBED, CHALLENGE, WELCOME, PONG, GOODBYE, RECEIPT = range(1, 12)
KEYS, STEERED, MEMBERS, FACTS = range(12, 16)

_CLIENT_HEADER = struct.Struct("<IBBHQQQ")  # length, kind, schema, open span, session, number, zero
_NODE_HEADER = struct.Struct("<IBBHQQQ")  # length, kind, code, lineage, session, number, seq


# Ed25519 (RFC 8032, section 5.1). Points are (X, Y, Z, T) with x = X/Z, y = Y/Z, x*y = T/Z. Not in constant time: keys
# leak to whoever can time this process closely.

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_MINUS_1 = pow(2, (_P - 1) // 4, _P)
_IDENTITY = (0, 1, 1, 0)


def _add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % _P
    b = (p[1] + p[0]) * (q[1] + q[0]) % _P
    c = 2 * p[3] * q[3] * _D % _P
    d = 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _multiply(scalar, point):
    result = _IDENTITY
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _encode(point):
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _decode(data):
    """The point that 32 bytes name, or None."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if x * x % _P != square:
        x = x * _SQRT_MINUS_1 % _P
    if x * x % _P != square or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return (x, y, 1, x * y % _P)


_BASE = _decode((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))


def _hash(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def verify(public, message, signature):
    """Whether `signature` (64 bytes) is one of `message` by the owner of `public` (32 bytes)."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, r, s = _decode(public), _decode(signature[:32]), int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= _L:
        return False
    k = _hash(signature[:32], public, message) % _L
    return _encode(_multiply(s, _BASE)) == _encode(_add(r, _multiply(k, key)))


class Key:
    """An Ed25519 key pair."""

    def __init__(self, seed):
        if len(seed) != 32:
            raise ValueError("a seed has 32 bytes")
        digest = hashlib.sha512(seed).digest()
        self._scalar = int.from_bytes(digest[:32], "little") & (2**254 - 8) | 2**254
        self._prefix = digest[32:]
        self.public = _encode(_multiply(self._scalar, _BASE))

    @classmethod
    def from_line(cls, line):
        """The key in the line of a key file: `ordain-secret-` and 64 hexadecimal digits."""
        head, _, digits = line.strip().rpartition("-")
        if head != "ordain-secret" or len(digits) != 64:
            raise ValueError("not the line of a secret key: ordain-secret- and 64 hexadecimal digits are expected")
        return cls(bytes.fromhex(digits))

    @classmethod
    def load(cls, path):
        """The key in the file at `path`."""
        with open(path, encoding="ascii") as file:
            return cls.from_line(file.read())

    @classmethod
    def generate(cls):
        """A fresh key."""
        return cls(os.urandom(32))

    def sign(self, message):
        """The signature (64 bytes) of `message`."""
        r = _hash(self._prefix, message) % _L
        point = _encode(_multiply(r, _BASE))
        s = (r + _hash(point, self.public, message) * self._scalar) % _L
        return point + s.to_bytes(32, "little")


class Error(Exception):
    """All that this module raises about the other side."""


class ProtocolError(Error):
    """The node sent what the protocol does not allow."""


class Disconnected(Error):
    """The connection is gone; `code` says why if the node said so, else it is None. Open requests are unresolved:
    `reconnect` resolves them."""

    def __init__(self, text, code=None):
        super().__init__(text)
        self.code = code


class SessionLost(Error):
    """The session is not what this client believes: another program uses it, or data were lost."""


class Rejected(Error):
    """A frame was answered with another code than Executed; each code has a class of its own below.
    `frame` is the answer."""

    code = None
    meaning = "a code that this client does not know"

    def __init__(self, frame):
        why = frame.payload.decode(errors="replace") if frame.kind == STEERED else self.meaning
        super().__init__(f"{CODES.get(frame.code, Rejected).__name__} ({frame.code}): {why}; "
                         f"number {frame.number}, seq {frame.seq}")
        self.frame = frame


class Refusal(Rejected):
    """Code 64 or more: the frame was not put into the log."""


CODES = {}


def _code(code, name, meaning):
    base = Refusal if code >= 64 else Rejected
    CODES[code] = type(name, (base,), {"code": code, "meaning": meaning, "__doc__": meaning, "__module__": __name__})
    return CODES[code]


Conflict = _code(1, "Conflict", "the number was used with other bytes, whose reply stands")
Forgotten = _code(2, "Forgotten", "the number is below the lowest open number that was declared")
Expected = _code(3, "Expected", "not the next number, seq is: not executed")
UnknownSession = _code(4, "UnknownSession", "the session was never opened, was closed or has expired")
WrongKey = _code(5, "WrongKey", "the session belongs to another key")
TooManySessions = _code(6, "TooManySessions", "close some sessions, or wait until they expire")
Invalid = _code(7, "Invalid", "an impossible payload: the number is used up")
Busy = _code(64, "Busy", "too much in flight: read answers, then try again")
NoRoom = _code(65, "NoRoom", "no room on the node's disk: try again later")
NoCopies = _code(66, "NoCopies", "the copies that the ack policy names cannot exist at present: try again later")
NotLeader = _code(67, "NotLeader", "this node does not lead: go to the leader")
NotPermitted = _code(68, "NotPermitted", "the key lacks a permission")
Malformed = _code(69, "Malformed", "the payload is nothing that is understood")
Fenced = _code(70, "Fenced", "another connection resumed the session")
NotAttached = _code(71, "NotAttached", "this connection has neither opened nor resumed the session")
Stopping = _code(72, "Stopping", "the node is stopping: go to another")
Starting = _code(73, "Starting", "the node is replaying its journal: try again in a moment")
Unsupported = _code(74, "Unsupported", "a version or kind of frame that the node does not know")
Unauthenticated = _code(75, "Unauthenticated", "unknown or revoked key, wrong signature or wrong cluster")
TooSlow = _code(76, "TooSlow", "answers were read too slowly: reconnect")
TooOld = _code(77, "TooOld", "the output is no longer kept, seq is the oldest that is")
Idle = _code(78, "Idle", "no frame was sent for too long: reconnect")
NotYet = _code(79, "NotYet", "the change of the cluster waits for something that will pass: try again later")
Impossible = _code(80, "Impossible", "the cluster cannot be changed like that")

_WRONG_CONNECTION = (NotLeader.code, NotAttached.code, Stopping.code, Starting.code, Fenced.code)
_PASSING = (Busy.code, NoRoom.code, NoCopies.code)


class Frame(NamedTuple):
    """A frame from a node. `session` is the stream in Output and Subscribed."""

    kind: int
    code: int
    lineage: int
    session: int
    number: int
    seq: int
    payload: bytes

    def check(self):
        """This frame; raises the class of its code unless that is Executed."""
        if self.code:
            unknown = Refusal if self.code >= 64 else Rejected
            raise CODES.get(self.code, unknown)(self)
        return self


class Result(NamedTuple):
    """What became of a request. `outcome` is "executed", "not executed" or "unknown"."""

    outcome: str
    frame: Frame


class Welcome(NamedTuple):
    """What the node grants this connection; timeouts are in seconds."""

    key_number: int
    permissions: int
    window: int
    payload_max: int
    session_timeout: float
    idle_timeout: float


class Member(NamedTuple):
    """A node of the cluster. `role` is "voter", "learner" or "witness"."""

    number: int
    role: str
    peer: str
    client: str
    key: bytes


class Cluster(NamedTuple):
    """What a node knows of its cluster. `leader` is the number of a member, or None; `copies` and `wanted` are pairs:
    received copies that gate an answer, and how many of them synced."""

    version: int
    term: int
    node: int
    leader: int
    copies: tuple
    wanted: tuple
    changing: bool
    no_copies: bool
    unsynced_max: int
    next_number: int
    members: list


class Facts(NamedTuple):
    """What a cluster was made with; the timeout is in seconds."""

    cluster: bytes
    operator: bytes
    created: int
    voters: int
    received: int
    synced: int
    unsynced_max: int
    segment_size: int
    batch_max: int
    payload_max: int
    sessions_max: int
    sessions_per_key: int
    window: int
    reply_max: int
    session_timeout: float
    step_outputs_max: int


_ROLES = {1: "voter", 2: "learner", 3: "witness"}


def parse_members(payload):
    """The head of a page of members, without them, and the members on it."""
    if len(payload) < 48:
        raise ProtocolError("a page of members has 48 bytes at least")
    fields = struct.unpack_from("<QQIIBBBBIQII", payload)
    version, term, node, leader, received, synced, wanted_received, wanted_synced, flags, window, count, following = fields
    head = Cluster(version, term, node, leader - 1 if leader else None, (received, synced),
                   (wanted_received, wanted_synced), bool(flags & 1), bool(flags & 2), window, following, [])
    members, at = [], 48
    while at < len(payload):
        if len(payload) - at < 48:
            raise ProtocolError("a member is cut off")
        number, role, _, peer, client, key = struct.unpack_from("<IBBHH6x32s", payload, at)
        texts = payload[at + 48:at + 48 + peer + client]
        if len(texts) < peer + client:
            raise ProtocolError("a member is cut off")
        at += (48 + peer + client + 7) // 8 * 8
        members.append(Member(number, _ROLES.get(role, str(role)), texts[:peer].decode(), texts[peer:].decode(), key))
    return count, head, members


def frame(kind, payload=b"", *, schema=0, span=0, session=0, number=0):
    """The bytes of a frame from a client."""
    header = _CLIENT_HEADER.pack(len(payload), kind, schema, span, session, number, 0)
    return header + payload + bytes(-len(payload) % 8)


def transcript_digest(hello, challenge):
    """What both sides sign behind their labels, from the payloads of Hello and Challenge."""
    return hashlib.sha256(hello[:3] + challenge[8:24] + hello[24:88] + challenge[24:88]).digest()


NODE_LABEL = b"ordain handshake v1: node".ljust(32)
CLIENT_LABEL = b"ordain handshake v1: client".ljust(32)

TOPIC, ACCOUNT, SESSION = 1 << 56, 2 << 56, 3 << 56  # add an id to name a stream; public is 0


class Client:
    """A connection and at most one session, which outlives it.

    `addresses` is one address or a list of those of all nodes: `host:port` or `unix:PATH`. `node_keys`, if given, are
    the public keys (32 bytes each) that a node may have, `cluster` the id (16 bytes) that it must have. `timeout` is
    how many seconds any answer may take. With `discover`, each node that this client signs in to is asked for the
    members, whose addresses are tried as well from then on, with the keys that were told.
    """

    def __init__(self, addresses, key, *, node_keys=None, cluster=None, timeout=10.0, discover=True):
        self.named = [addresses] if isinstance(addresses, str) else list(addresses)
        self.told = {}  # address -> public key that the node there must have
        self.key, self.node_keys, self.cluster, self.timeout = key, node_keys, cluster, timeout
        self.discover = discover
        self.welcome = None
        self.session = 0
        self.lineage = 0
        self._socket = None
        self._received = bytearray()
        self._frames_sent = self._session_sent = 0.0
        self._correlation = 0
        self._wanted = self._answer = None  # (kind, number or stream) that a method waits for, and the frame
        self._outputs = deque()
        self._streams = {}  # stream -> number of its next output
        self._forget_session()

    def _forget_session(self):
        self.session = 0
        self._next = 1  # number of the next request
        self._open = OrderedDict()  # number -> bytes of its frame
        self._results = deque()
        self._answered = 0  # highest number that the log has answered
        self._logged = 1  # numbers below were in the log when the session was last resumed
        self._free = None  # number that a refusal has left free, while requests above it are open

    @property
    def addresses(self):
        """Where nodes are looked for: as named, then as told."""
        return self.named + [address for address in self.told if address not in self.named]

    # Connection

    def connect(self):
        """Connects to the first address that will have this client, and signs in. Returns the Welcome. Nodes that are
        starting are given `timeout`. With a session, use `reconnect`."""
        deadline = time.monotonic() + self.timeout
        while True:
            starting = False
            for address in self.addresses:
                try:
                    return self._connect(address)
                except (OSError, Disconnected) as failed:
                    self.disconnect()
                    error = failed
                    starting |= getattr(failed, "code", None) == Starting.code
            if not starting or time.monotonic() > deadline:
                raise error if isinstance(error, Disconnected) else Disconnected(f"no node answers: {error}") from error
            time.sleep(0.1)

    def _connect(self, address):
        self.disconnect()
        if address.startswith("unix:"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(self.timeout)
            self._socket.connect(address[5:])
        else:
            host, _, port = address.rpartition(":")
            self._socket = socket.create_connection((host.strip("[]"), int(port)), self.timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = struct.pack("<HB5x", VERSION, ROLE_CLIENT) + (self.cluster or bytes(16))
        hello += self.key.public + os.urandom(32)
        self._send(frame(HELLO, hello))
        challenge = self._wait((CHALLENGE, 0)).payload
        if len(challenge) != 152 or challenge[:2] != hello[:2]:
            self._fail("the node's Challenge is none of this version")
        if self.cluster and challenge[8:24] != self.cluster:
            self._fail("the node is of another cluster")
        told = None if address in self.named else self.told.get(address)
        if told and challenge[24:56] != told:
            self._fail("the node has another key than was told")
        if not told and self.node_keys and challenge[24:56] not in self.node_keys:
            self._fail("the node's key is unknown")
        digest = transcript_digest(hello, challenge)
        if not verify(challenge[24:56], NODE_LABEL + digest, challenge[88:152]):
            self._fail("the node's signature is wrong")
        self._send(frame(PROOF, self.key.sign(CLIENT_LABEL + digest)))
        welcome = self._wait((WELCOME, 0)).payload
        if len(welcome) != 32:
            self._fail("the node's Welcome has a wrong length")
        *counts, session_timeout, idle_timeout = struct.unpack("<IIIIQQ", welcome)
        self.welcome = Welcome(*counts, session_timeout / 1e9, idle_timeout / 1e9)
        if self.discover:
            # Before anything else: a node that does not lead answers this too.
            self.told = {member.client: member.key for member in self.members().members if member.client}
        return self.welcome

    def reconnect(self, patience=30.0):
        """Connects again, resumes the session, repeats its open requests and subscribes again behind the last outputs.
        Tries all nodes in turn for `patience` seconds. Raises Disconnected; UnknownSession, WrongKey or SessionLost
        if the session cannot be had; TooOld if outputs are lost."""
        deadline = time.monotonic() + patience
        while True:
            for address in self.addresses:
                try:
                    self._connect(address)
                    if self.session:
                        self._resume()
                    for stream, number in self._streams.items():
                        self._subscribe(stream, number)
                    return
                except (OSError, Disconnected, NotLeader, Starting, Stopping, NoCopies) as error:
                    failed = error
                    self.disconnect()
                    if getattr(error, "code", None) in (Unauthenticated.code, Unsupported.code):
                        raise
            if time.monotonic() > deadline:
                raise Disconnected(f"no node could be had: {failed}") from failed
            time.sleep(0.1)

    def _resume(self):
        self._send(frame(RESUME, session=self.session))
        expected = self._wait((RESUMED, self.session)).check().number
        lowest = self._lowest_open() if self._free is None else min(self._free, self._lowest_open())
        if not max(lowest, self._answered + 1) <= expected <= self._next:
            raise SessionLost(f"session {self.session} expects {expected}, not {lowest} to {self._next}")
        self._logged = expected
        for data in self._open.values():
            self._send(data)
        self._session_sent = time.monotonic()

    def disconnect(self):
        """Drops the connection, not the session."""
        if self._socket:
            self._socket.close()
        self._socket = None
        self._received.clear()

    def close(self):
        """Closes the session, if there is one, and the connection. Raises as `call` does."""
        if self.session:
            self._call(SESSION_CLOSE, 0, b"")
            self._forget_session()
        self.disconnect()

    def ping(self):
        """A round trip."""
        self._correlation += 1
        self._send(frame(PING, number=self._correlation))
        self._wait((PONG, self._correlation))

    def keep_alive(self):
        """Says that this client is there, if it has said nothing for a third of a timeout. To be called more often
        than that."""
        now = time.monotonic()
        span = self._next - self._lowest_open()
        if (self.session and self._free is None and span < self.welcome.window
                and now - self._session_sent > self.welcome.session_timeout / 3):
            self._send(frame(SESSION_KEEP_ALIVE, span=span, session=self.session, number=self._next))
            self._session_sent = now
        if now - self._frames_sent > self.welcome.idle_timeout / 3:
            self._send(frame(PING))

    # Session

    def open_session(self):
        """Opens a session and returns its id. Raises Rejected."""
        if self.session:
            raise ValueError("this client has a session")
        self._correlation += 1
        self._send(frame(SESSION_OPEN, bytes(8), number=self._correlation))
        opened = self._wait((OPENED, self._correlation)).check()
        self._forget_session()
        self.session, self._session_sent = opened.session, time.monotonic()
        return self.session

    def submit(self, schema, payload):
        """Sends a request without waiting for its answer, and returns its number. At most as many as the window may
        be sent and not collected; one more raises ValueError. After a refusal it first reads until everything above
        the refused number is answered, and then uses that number."""
        number = self._number()
        self._send_request(number, REQUEST, schema, payload)
        return number

    def collect(self):
        """Waits for the next answered request and returns its Result. None if no request is open."""
        while not self._results:
            if not self._open:
                return None
            self._wait(None)
        return self._results.popleft()

    def call(self, schema, payload):
        """Sends a request, waits for its answer and returns (seq, reply). Raises the class of its code. Results that
        were not collected must not be left."""
        return self._call(REQUEST, schema, payload)

    def set_key(self, public, permissions):
        """Gives the key `public` these permissions; returns (seq, number of the key)."""
        seq, reply = self._call(KEY_SET, 0, struct.pack("<32sII", public, permissions, 0))
        return seq, int.from_bytes(reply, "little")

    def _call(self, kind, schema, payload):
        if self._results or self._open:
            raise ValueError("collect the results of what was submitted first")
        self._send_request(self._number(), kind, schema, payload)
        answer = self.collect().frame.check()
        return answer.seq, answer.payload

    def _lowest_open(self):
        return next(iter(self._open), self._next)

    def _number(self):
        if not self.session:
            raise ValueError("this client has no session")
        if not self._socket:
            raise Disconnected("not connected")
        while self._free is not None:
            self._wait(None)
        window = self.welcome.window
        if len(self._open) + len(self._results) >= window or self._next - self._lowest_open() >= window:
            raise ValueError(f"the window of {window} is full: collect results first")
        return self._next

    def _send_request(self, number, kind, schema, payload):
        if len(payload) > self.welcome.payload_max:
            raise ValueError(f"a payload has at most {self.welcome.payload_max} bytes")
        span = number - self._lowest_open()
        data = frame(kind, payload, schema=schema, span=span, session=self.session, number=number)
        # Noted first: if the connection breaks in the middle, the request is open and is repeated.
        self._open[number] = data
        self._next = number + 1
        self._send(data)
        self._session_sent = time.monotonic()

    def _replied(self, reply):
        if reply.session != self.session or reply.number not in self._open:
            return
        number, code = reply.number, reply.code
        in_log = number < self._logged
        if code in _WRONG_CONNECTION:
            self.disconnect()
            raise Disconnected(f"{CODES[code].__name__}: {CODES[code].meaning}", code)
        if in_log and code in _PASSING:
            time.sleep(0.01)
            self._send(self._open[number])
            return
        data_lost = in_log and (code >= 64 or code == UnknownSession.code)
        outcome = "executed" if code == 0 else "unknown" if data_lost or code == Forgotten.code else "not executed"
        del self._open[number]
        self._results.append(Result(outcome, reply))
        if not in_log and (code >= 64 or code == Expected.code):
            free = reply.seq if code == Expected.code else number
            self._free = free if self._free is None else min(free, self._free)
        else:
            self._answered = max(self._answered, number)
        if self._free is not None and (not self._open or next(reversed(self._open)) < self._free):
            self._next, self._free = self._free, None

    # Queries and outputs

    def query(self, schema, payload):
        """Asks about the state; returns (seq, answer), the last record that the answer reflects first."""
        self._correlation += 1
        self._send(frame(QUERY, payload, schema=schema, number=self._correlation))
        answer = self._wait((ANSWER, self._correlation)).check()
        return answer.seq, answer.payload

    def receipt(self, seq=0):
        """The receipt of record `seq`, of the last record by default, as text: kept elsewhere, it shows later whether
        the journal was changed (`ordain journal verify --receipt`). Raises Malformed if there is no such record."""
        self._correlation += 1
        self._send(frame(ASK_RECEIPT, struct.pack("<Q", seq), number=self._correlation))
        answer = self._wait((RECEIPT, self._correlation)).check()
        if len(answer.payload) != 40 or seq not in (0, answer.seq):
            self._fail("the node sent no receipt of that record")
        index = int.from_bytes(answer.payload[:8], "little")
        return f"ordain-receipt-{answer.seq}-{index}-{answer.payload[8:].hex()}"

    def subscribe(self, stream, start=0):
        """Subscribes to the outputs of `stream` from number `start` on, 0 for the next to come. Returns the number of
        the first that will follow. Raises TooOld, NotPermitted, Malformed or Busy."""
        return self._subscribe(stream, start)

    def _subscribe(self, stream, start):
        self._send(frame(SUBSCRIBE, struct.pack("<QQ", stream, start)))
        return self._wait((SUBSCRIBED, stream)).check().number

    def unsubscribe(self, stream):
        """Ends a subscription; outputs that have arrived stay."""
        self._streams.pop(stream, None)
        self._send(frame(UNSUBSCRIBE, struct.pack("<QQ", stream, 0)))

    def next_output(self, timeout=None):
        """The next output of any subscribed stream as a Frame; None if none comes in `timeout` seconds, by default
        those of the client."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not self._outputs:
            if not self._receive(deadline):
                return None
        return self._outputs.popleft()

    # The cluster

    def _ask(self, kind, answer, payload=b""):
        self._correlation += 1
        self._send(frame(kind, payload, number=self._correlation))
        return self._wait((answer, self._correlation)).check()

    def keys(self):
        """The keys that the cluster knows, as (public key, permissions, number); for operators."""
        keys = []
        while True:
            page = self._ask(ASK_KEYS, KEYS, struct.pack("<Q", keys[-1][2] + 1 if keys else 1)).payload
            if not page:
                return keys
            keys += struct.iter_unpack("<32sII", page)

    def members(self, made=False):
        """The cluster as this node knows it; with `made`, with the members that it was made with."""
        members, before = [], None
        while True:
            first = members[-1].number + 1 if members else 0
            page = self._ask(ASK_MEMBERS, MEMBERS, struct.pack("<QQ", first, int(made))).payload
            count, head, more = parse_members(page)
            if before not in (None, head.version):
                members, before = [], None
                continue
            before, members = head.version, members + more
            if not more or len(members) >= count:
                return head._replace(members=members)

    def facts(self):
        """What the cluster was made with; for operators."""
        payload = self._ask(ASK_FACTS, FACTS).payload
        if len(payload) != 160:
            self._fail("the node's facts have a wrong length")
        cluster, operator, *numbers = struct.unpack("<16s32s14Q", payload)
        numbers[12] /= 1e9
        return Facts(cluster, operator, *numbers)

    def _steer(self, kind, value, received=0, synced=0, more=b""):
        return self._ask(STEER, STEERED, struct.pack("<BBB5xQ", kind, received, synced, value) + more).seq

    # Each returns the index of the batch that holds the change, 0 if none does. They raise NotYet or Impossible, whose
    # text is the node's reason, and NotLeader: ask the leader. After Disconnected the change may have happened.

    def add_learner(self, number, key, peer, client):
        """A new member with these addresses; `number` is `next_number` of `members` or above."""
        peer, client = peer.encode(), client.encode()
        return self._steer(1, number, more=struct.pack("<32sHH4x", key, len(peer), len(client)) + peer + client)

    def promote(self, number):
        """A learner becomes a voter."""
        return self._steer(2, number)

    def remove(self, number):
        """A member is removed."""
        return self._steer(3, number)

    def set_ack_policy(self, received, synced):
        """Other copies gate answers."""
        return self._steer(4, 0, received, synced)

    def set_unsynced_max(self, batches):
        """Another W."""
        return self._steer(5, batches)

    def transfer(self, number=None):
        """Another voter leads, the best one if none is named."""
        return self._steer(6, 0 if number is None else number + 1)

    # Frames

    def _fail(self, text):
        self.disconnect()
        raise ProtocolError(text)

    def _send(self, data):
        if not self._socket:
            raise Disconnected("not connected")
        try:
            self._socket.sendall(data)
        except OSError as error:
            self.disconnect()
            raise Disconnected(f"sending failed: {error}") from error
        self._frames_sent = time.monotonic()

    def _wait(self, wanted):
        """Reads until the frame `wanted` (a kind and a number) has come and returns it; with None, reads one frame."""
        deadline = time.monotonic() + self.timeout
        self._wanted, self._answer = wanted, None
        while True:
            if not self._receive(deadline):
                self.disconnect()
                raise Disconnected(f"no answer in {self.timeout} s")
            if wanted is None or self._answer:
                return self._answer

    def _receive(self, deadline):
        """Reads and handles one frame. False at the deadline."""
        while True:
            got = self._parse()
            if got:
                self._handle(got)
                return True
            if not self._socket:
                raise Disconnected("not connected")
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            pause = left
            if self.welcome:
                self.keep_alive()
                pause = min(left, self.welcome.idle_timeout / 6, self.welcome.session_timeout / 6)
            try:
                if not select.select([self._socket], [], [], pause)[0]:
                    continue
                data = self._socket.recv(65536)
            except OSError as error:
                self.disconnect()
                raise Disconnected(f"receiving failed: {error}") from error
            if not data:
                self.disconnect()
                raise Disconnected("the node closed the connection")
            self._received += data

    def _parse(self):
        """The first frame of what was received, or None if that is not whole yet."""
        if len(self._received) < 32:
            return None
        length, *fields = _NODE_HEADER.unpack_from(self._received)
        if length > NODE_PAYLOAD_MAX:
            self._fail(f"the node sent a payload of {length} bytes")
        size = (32 + length + 7) // 8 * 8
        if len(self._received) < size:
            return None
        got = Frame(*fields, bytes(self._received[32:32 + length]))
        del self._received[:size]
        return got

    def _handle(self, got):
        self.lineage = got.lineage or self.lineage
        if got.kind == REPLY:
            self._replied(got)
        elif got.kind == OUTPUT:
            # Others belong to a subscription that was ended or replaced.
            if self._streams.get(got.session) == got.number:
                if len(self._outputs) == OUTPUTS_MAX:
                    self.disconnect()
                    raise Disconnected("too many outputs lie unread")
                self._streams[got.session] += 1
                self._outputs.append(got)
        elif got.kind == SUBSCRIBED:
            # At once, since the first output may be right behind.
            if got.code == 0:
                self._streams[got.session] = got.number
        elif got.kind == GOODBYE:
            self.disconnect()
            raise Disconnected(got.payload.decode(errors="replace"), got.code)
        elif got.kind not in (OPENED, RESUMED, ANSWER, CHALLENGE, WELCOME, PONG, RECEIPT, KEYS, STEERED, MEMBERS, FACTS):
            self._fail(f"the node sent a frame of kind {got.kind}")
        if self._wanted == (got.kind, got.session if got.kind in (SUBSCRIBED, RESUMED) else got.number):
            self._answer, self._wanted = got, None
