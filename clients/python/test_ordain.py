"""Tests of the client: python3 -m unittest. Those against a node need ORDAIN_BIN, the path of the program `ordain`."""

import contextlib
import io
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import demo
import exchange as x
import ordain
from ordain import ACCOUNT, TOPIC, Client, Frame, Key

PAGE = pathlib.Path(__file__).parents[2] / "docs/format/client.md"


class Signatures(unittest.TestCase):
    # RFC 8032, section 7.1, tests 1 to 3 and SHA(abc): seed, public key, message, signature.
    VECTORS = [
        ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
         "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595"
         "bbe24655141438e7a100b"),
        ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
         "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb430"
         "2aeeb00d291612bb0c00"),
        ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
         "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
         "af82",
         "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716e"
         "d28dc027beceea1ec40a"),
        ("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
         "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
         "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643c"
         "e80e2a9ac94fa54ca49f",
         "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138a"
         "c17ad9bef1177331a704"),
    ]

    def test_vectors(self):
        for seed, public, message, signature in self.VECTORS:
            key, message, signature = Key(bytes.fromhex(seed)), bytes.fromhex(message), bytes.fromhex(signature)
            self.assertEqual(key.public.hex(), public)
            self.assertEqual(key.sign(message), signature)
            self.assertTrue(ordain.verify(key.public, message, signature))

    def test_changed_bits_are_refused(self):
        key, message = Key(bytes(32)), b"message"
        signature = key.sign(message)
        for bit in range(0, 512, 37):
            changed = bytearray(signature)
            changed[bit // 8] ^= 1 << bit % 8
            self.assertFalse(ordain.verify(key.public, message, bytes(changed)), bit)
        self.assertFalse(ordain.verify(key.public, message + b"s", signature))
        self.assertFalse(ordain.verify(Key(b"1" * 32).public, message, signature))
        above = int.from_bytes(signature[32:], "little") + 2**252 + 27742317777372353535851937790883648493
        self.assertFalse(ordain.verify(key.public, message, signature[:32] + above.to_bytes(32, "little")))

    def test_hostile_keys_and_signatures(self):
        for data in (b"", bytes(32), b"\xff" * 32, b"\xff" * 64, bytes(64)):
            self.assertFalse(ordain.verify(data, b"", data * 2))
            self.assertFalse(ordain.verify(Key(bytes(32)).public, b"", data))

    def test_key_lines(self):
        self.assertEqual(Key.from_line("ordain-secret-" + "00" * 32 + "\n").public, Key(bytes(32)).public)
        for line in ("", "ordain-public-" + "00" * 32, "ordain-secret-00", "ordain-secret-" + "zz" * 32):
            self.assertRaises(ValueError, Key.from_line, line)


class Example(unittest.TestCase):
    """The example at the end of the page, byte by byte."""

    def setUp(self):
        self.frames = {}
        for part in re.split(r"^(?:client|node): ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]:
            name, _, rest = part.partition("\n")
            self.frames[name] = bytes.fromhex(rest.split("```")[0])
        self.key = Key(b"\x01" * 32)
        self.hello = bytes([1, 0, 1, 0, 0, 0, 0, 0]) + b"\x09" * 16 + self.key.public + b"\x03" * 32

    def test_signing_in(self):
        challenge = self.frames["Challenge"][32:]
        self.assertEqual(self.frames["Hello"], ordain.frame(ordain.HELLO, self.hello))
        self.assertEqual(challenge[24:56], Key(b"\x02" * 32).public)
        digest = ordain.transcript_digest(self.hello, challenge)
        self.assertTrue(ordain.verify(challenge[24:56], ordain.NODE_LABEL + digest, challenge[88:152]))
        proof = self.key.sign(ordain.CLIENT_LABEL + digest)
        self.assertEqual(self.frames["Proof"], ordain.frame(ordain.PROOF, proof))

    def test_session(self):
        opened = self.parse("Opened")
        correlation = int.from_bytes(self.frames["SessionOpen"][16:24], "little")
        self.assertEqual(self.frames["SessionOpen"], ordain.frame(ordain.SESSION_OPEN, bytes(8), number=correlation))
        self.assertEqual(opened, Frame(ordain.OPENED, 0, 0, 12, correlation, 12, b""))
        request = ordain.frame(ordain.REQUEST, b"hello", schema=1, session=12, number=1)
        self.assertEqual(self.frames["Request"], request)
        self.assertEqual(self.parse("Reply"), Frame(ordain.REPLY, 0, 0, 12, 1, 13, b"hi"))

    def parse(self, name):
        client = Client("", self.key)
        client._received += self.frames[name]
        return client._parse()


class Refusals(unittest.TestCase):
    """Numbers after refusals, by a node that is played here."""

    def setUp(self):
        self.client = Client("", Key(bytes(32)), timeout=5)
        self.client._socket, self.node = socket.socketpair()
        self.client.welcome = ordain.Welcome(1, 0, 4, 64, 600.0, 60.0)
        self.client.session = 7
        self.addCleanup(self.client.disconnect)
        self.addCleanup(self.node.close)

    def reply(self, number, code, seq=0):
        self.node.sendall(ordain._NODE_HEADER.pack(0, ordain.REPLY, code, 0, 7, number, seq))

    def sent(self):
        """(number, open span, first byte of the payload) of every frame that was sent."""
        data, frames = self.node.recv(65536), []
        while data:
            length, _, _, span, _, number, _ = ordain._CLIENT_HEADER.unpack_from(data)
            frames.append((number, span, data[32:32 + length]))
            data = data[(32 + length + 7) // 8 * 8:]
        return frames

    def test_numbers_anew(self):
        for name in b"abcd":
            self.client.submit(1, bytes([name]))
        self.assertEqual(self.sent(), [(1, 0, b"a"), (2, 1, b"b"), (3, 2, b"c"), (4, 3, b"d")])
        self.assertRaises(ValueError, self.client.submit, 1, b"e")
        self.reply(1, 0, 50)
        self.reply(2, ordain.Busy.code)
        self.reply(3, ordain.Expected.code, 2)
        self.reply(4, ordain.NotPermitted.code)
        outcomes = [self.client.collect() for _ in range(4)]
        self.assertEqual([r.outcome for r in outcomes], ["executed"] + ["not executed"] * 3)
        self.assertRaises(ordain.Busy, outcomes[1].frame.check)
        self.assertIsNone(self.client.collect())
        self.assertEqual(self.client.submit(1, b"b"), 2)
        self.assertEqual(self.sent(), [(2, 0, b"b")])

    def test_wrong_connection_leaves_requests_open(self):
        self.client.submit(1, b"a")
        self.reply(1, ordain.NotLeader.code)
        with self.assertRaises(ordain.Disconnected) as raised:
            self.client.collect()
        self.assertEqual(raised.exception.code, ordain.NotLeader.code)
        self.assertEqual(list(self.client._open), [1])

    def resume(self, expected):
        self.node.sendall(ordain._NODE_HEADER.pack(0, ordain.RESUMED, 0, 0, 7, expected, 1))
        self.client._resume()

    def test_resume_checks_what_the_node_expects(self):
        for name in b"abc":
            self.client.submit(1, bytes([name]))
        self.reply(1, 0, 50)
        self.client.collect()
        self.sent()
        for expected in (1, 5):
            with self.assertRaises(ordain.SessionLost):
                self.resume(expected)
        self.sent()
        self.resume(3)
        # Number 2 is in the log, so a refusal says nothing and it is repeated; 3 is not, so it was not executed.
        self.reply(2, ordain.Busy.code)
        self.reply(3, ordain.NotPermitted.code)
        self.assertEqual(self.client.collect().outcome, "not executed")
        self.reply(2, ordain.UnknownSession.code)
        self.assertEqual(self.client.collect().outcome, "unknown")

    def test_resume_in_the_middle_of_a_refusal(self):
        for name in b"ab":
            self.client.submit(1, bytes([name]))
        self.reply(1, ordain.Busy.code)
        self.client.collect()
        self.sent()
        self.resume(1)
        self.reply(2, ordain.Expected.code, 1)
        self.assertEqual(self.client.submit(1, b"a"), 1)

    def test_hostile_node(self):
        for data in (ordain._NODE_HEADER.pack(1025, ordain.REPLY, 0, 0, 7, 1, 0), bytes(32)):
            self.setUp()
            self.node.sendall(data)
            self.assertRaises(ordain.ProtocolError, self.client._wait, None)

    def test_keep_alive(self):
        self.client._frames_sent = self.client._session_sent = time.monotonic() - 300
        self.client.keep_alive()
        self.client.keep_alive()
        keep_alive = ordain.frame(ordain.SESSION_KEEP_ALIVE, session=7, number=1)
        # It is a frame like any other, so no Ping is due as well.
        self.assertEqual(self.node.recv(65536), keep_alive)
        self.client._frames_sent = time.monotonic() - 30
        self.client.keep_alive()
        self.assertEqual(self.node.recv(65536), ordain.frame(ordain.PING))


class Node:
    """A node of its own on fresh ports, with a directory of its own."""

    def __init__(self):
        self.data = tempfile.mkdtemp(prefix="ordain-python-")
        self.process = None
        with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
            self.address, self.metrics = (f"127.0.0.1:{s.getsockname()[1]}" for s in (a, b))

    def start(self):
        command = [os.environ["ORDAIN_BIN"], "node", "--data", self.data, "--listen", self.address, "--metrics",
                   self.metrics, "--unix", f"{self.data}/socket", "--segment-size", "8MiB", "--log-level", "warn"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"the node ended with {self.process.returncode}: {command}")
            try:
                with urllib.request.urlopen(f"http://{self.metrics}/readyz", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def client(self, key=None, **options):
        """A client that is signed in; the operator's by default."""
        client = Client(self.address, key or Key.load(f"{self.data}/keys/operator.key"), timeout=60, **options)
        client.connect()
        return client


if not os.environ.get("ORDAIN_BIN"):
    print("SKIPPED: tests against a node, since ORDAIN_BIN does not name the program `ordain`", file=sys.stderr)


@unittest.skipUnless(os.environ.get("ORDAIN_BIN"), "ORDAIN_BIN does not name the program `ordain`")
class EndToEnd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = Node()
        cls.addClassCleanup(shutil.rmtree, cls.node.data, True)
        cls.addClassCleanup(cls.node.kill)
        cls.node.start()
        cls.instruments = 0

    def setUp(self):
        self.operator = self.connected()
        self.operator.open_session()

    def market(self):
        """A fresh instrument with a seller and a buyer who have funds: (instrument, seller, buyer)."""
        cls = type(self)
        cls.instruments += 1
        instrument = cls.instruments
        seller, buyer = 2 * instrument, 2 * instrument + 1
        for payload in (x.create_instrument(instrument, f"PY{instrument}", 1, 2), x.create_account(seller),
                        x.create_account(buyer), x.deposit(seller, 1, 1, 1000), x.deposit(buyer, 2, 1, 1000000)):
            self.assertEqual(x.code_of(self.operator.call(1, payload)[1]), 0)
        return instrument, seller, buyer

    def connected(self, key=None, **options):
        client = self.node.client(key, **options)
        self.addCleanup(client.disconnect)
        return client

    def raw(self, client, number, payload, span=0, schema=1):
        """The Reply to a request that bypasses the client's numbering."""
        client._open[number] = b""
        client._send(ordain.frame(ordain.REQUEST, payload, schema=schema, span=span, session=client.session,
                                  number=number))
        result = client.collect()
        client._free = None
        return result.frame

    def test_signing_in(self):
        client = self.connected()
        self.assertEqual(client.welcome.permissions, 0xffffffff)
        self.assertEqual(client.welcome.key_number, 1)
        client.ping()
        for options in ({"cluster": b"other cluster id"}, {"node_keys": [Key.generate().public]}):
            with self.assertRaises((ordain.Disconnected, ordain.ProtocolError)):
                self.connected(**options)

    def test_unix_socket(self):
        client = Client(f"unix:{self.node.data}/socket", Key.load(f"{self.node.data}/keys/operator.key"))
        self.addCleanup(client.disconnect)
        client.connect()
        client.ping()

    def test_wrong_key_is_refused(self):
        with self.assertRaises(ordain.Disconnected) as raised:
            self.connected(Key.generate())
        self.assertEqual(raised.exception.code, ordain.Unauthenticated.code)

    def test_wrong_proof_is_refused(self):
        class Forger(Key):
            def sign(self, message):
                return super().sign(message + b".")

        forger = Forger(bytes(32))
        self.operator.set_key(forger.public, x.VIEW)
        with self.assertRaises(ordain.Disconnected) as raised:
            self.connected(forger)
        self.assertEqual(raised.exception.code, ordain.Unauthenticated.code)

    def test_keys_and_permissions(self):
        key = Key.generate()
        _, number = self.operator.set_key(key.public, x.TRADE)
        client = self.connected(key)
        self.assertEqual((client.welcome.key_number, client.welcome.permissions), (number, x.TRADE))
        client.open_session()
        self.assertRaises(ordain.NotPermitted, client.call, 1, x.create_account(9))
        self.assertRaises(ordain.NotPermitted, client.query, 1, x.book_levels(1))
        self.assertRaises(ordain.NotPermitted, client.set_key, key.public, 0xffffffff)
        self.assertRaises(ordain.NotPermitted, client.subscribe, TOPIC + 1)
        self.operator.set_key(key.public, 0)
        with self.assertRaises(ordain.Disconnected):
            client.ping()
            client.ping()
        with self.assertRaises(ordain.Disconnected) as raised:
            client.reconnect()
        self.assertEqual(raised.exception.code, ordain.Unauthenticated.code)

    def test_orders_fills_query_and_outputs(self):
        instrument, seller, buyer = self.market()
        client = self.connected()
        client.open_session()
        self.assertEqual(client.subscribe(ACCOUNT + seller, 1), 1)
        self.assertEqual(client.subscribe(TOPIC + instrument), 1)
        for price in (101, 102, 103):
            client.submit(1, x.new_order(seller, instrument, price, x.SELL, price, 5))
        seqs = [client.collect().frame.check().seq for _ in range(3)]
        self.assertEqual(seqs, sorted(seqs))
        seq, reply = client.call(1, x.new_order(buyer, instrument, 1, x.BUY, 102, 7))
        order = x.parse_order(reply)
        self.assertEqual((order["state"], order["cumulative"], order["fills"]), (x.FILLED, 7, 2))
        self.assertEqual((order["notional"], order["seq"]), (5 * 101 + 2 * 102, seq))
        read, answer = client.query(1, x.book_levels(instrument))
        self.assertGreaterEqual(read, seq)
        self.assertEqual(x.parse_book(answer), ([], [(102, 3, 1), (103, 5, 1)]))
        self.assertEqual(x.parse_balances(client.query(1, x.balances(buyer))[1]), {1: (7, 0), 2: (1000000 - 709, 0)})
        outputs = [client.next_output() for _ in range(4)]
        self.assertTrue(all(output.seq == seq for output in outputs))
        reports = [o for o in outputs if o.session == ACCOUNT + seller]
        fills = [x.parse_fill(o.payload) for o in reports]
        self.assertEqual([(f["price"], f["quantity"], f["side"]) for f in fills], [(101, 5, x.SELL), (102, 2, x.SELL)])
        self.assertEqual([o.number for o in outputs if o.session == TOPIC + instrument], [1, 2])

        # From the second again, on another connection; the next stays away after Unsubscribe.
        other = self.connected()
        self.assertEqual(other.subscribe(ACCOUNT + seller, 2), 2)
        self.assertEqual(other.next_output(), reports[1])
        other.unsubscribe(ACCOUNT + seller)
        other.subscribe(TOPIC + instrument, 3)
        other._streams[ACCOUNT + seller] = 3  # it would take the output if it came
        client.call(1, x.new_order(buyer, instrument, 2, x.BUY, 102, 1))
        self.assertEqual(other.next_output().session, TOPIC + instrument)
        other.ping()
        self.assertFalse(other._outputs)
        client.close()

    def test_duplicates(self):
        instrument, seller, _ = self.market()
        client = self.connected()
        client.open_session()
        order = x.new_order(seller, instrument, 1, x.SELL, 100, 5)
        first = self.raw(client, 1, order)
        self.assertEqual(first.code, 0)
        self.assertEqual(self.raw(client, 1, order), first)
        for payload, schema in ((x.new_order(seller, instrument, 2, x.SELL, 100, 5), 1), (order, 0)):
            conflict = self.raw(client, 1, payload, schema=schema)
            self.assertEqual((conflict.code, conflict.seq), (ordain.Conflict.code, first.seq))
        # Number 2 confirms the answer to 1, which is then forgotten.
        self.assertEqual(self.raw(client, 2, x.create_account(instrument * 2)).code, 0)
        self.assertEqual(self.raw(client, 1, order).code, ordain.Forgotten.code)
        self.assertEqual(x.parse_book(client.query(1, x.book_levels(instrument))[1])[1], [(100, 5, 1)])

    def test_refusal_then_expected(self):
        client = self.connected()
        client.open_session()
        client.submit(1, b"no command")
        client.submit(1, x.create_account(1))
        refused, behind = client.collect(), client.collect()
        self.assertRaises(ordain.Malformed, refused.frame.check)
        self.assertRaises(ordain.Expected, behind.frame.check)
        self.assertEqual((behind.frame.number, behind.frame.seq), (2, 1))
        self.assertEqual({refused.outcome, behind.outcome}, {"not executed"})
        self.assertEqual(client.submit(1, x.create_account(1)), 1)
        self.assertEqual(client.collect().outcome, "executed")
        self.assertEqual(client.submit(1, x.create_account(1)), 2)
        self.assertEqual(client.collect().outcome, "executed")
        client.close()

    def test_receipts(self):
        client = self.connected()
        client.open_session()
        seq, _ = client.call(1, x.create_account(1))
        receipt = client.receipt(seq)
        self.assertRegex(receipt, f"^ordain-receipt-{seq}-[0-9]+-[0-9a-f]{{64}}$")
        self.assertEqual(client.receipt(), receipt)
        self.assertRaises(ordain.Malformed, client.receipt, seq + 1000)
        client.close()

    def test_keys_are_listed(self):
        key = Key.generate()
        _, number = self.operator.set_key(key.public, x.VIEW)
        self.assertIn((key.public, x.VIEW, number), self.operator.keys())
        self.assertEqual([entry[2] for entry in self.operator.keys()], list(range(1, number + 1)))

    def test_the_cluster_is_told_and_steered(self):
        client = self.operator
        cluster, facts = client.members(), client.facts()
        self.assertEqual((cluster.node, cluster.leader, cluster.copies, cluster.changing), (0, 0, (1, 1), False))
        self.assertEqual([(m.number, m.role) for m in cluster.members], [(0, "voter")])
        self.assertEqual(client.members(made=True).members, cluster.members)
        self.assertEqual((facts.voters, facts.received, facts.synced), (1, 1, 1))
        self.assertEqual(facts.operator, client.key.public)
        self.assertGreater(client.set_unsynced_max(cluster.unsynced_max + 1), 0)
        now = client.members()
        self.assertEqual((now.version, now.unsynced_max), (cluster.version + 1, cluster.unsynced_max + 1))
        with self.assertRaisesRegex(ordain.Impossible, "node 7 is no member"):
            client.promote(7)
        with self.assertRaisesRegex(ordain.Impossible, "made to be alone"):
            client.add_learner(cluster.next_number, bytes(range(32)), "h:1", "h:2")
        with self.assertRaisesRegex(ordain.Impossible, "no voter other than the leader"):
            client.transfer(3)
        self.assertRaises(ordain.NotYet, client.transfer)
        self.assertRaises(ordain.Impossible, client.remove, 0)
        self.assertRaises(ordain.Impossible, client.set_ack_policy, 2, 2)
        key = Key.generate()
        self.operator.set_key(key.public, x.VIEW)
        stranger = self.connected(key)
        self.assertRaises(ordain.NotPermitted, stranger.set_unsynced_max, 100)
        self.assertRaises(ordain.NotPermitted, stranger.facts)
        self.assertEqual(stranger.members(), now)

    def test_sessions(self):
        client = self.connected()
        session = client.open_session()
        client.call(1, x.create_account(1))
        other = self.connected()
        other.session, other._next, other._answered = session, 2, 1
        other._resume()
        client.submit(1, x.create_account(1))
        with self.assertRaises(ordain.Disconnected) as raised:
            client.collect()
        self.assertIn(raised.exception.code, (ordain.Fenced.code, ordain.NotAttached.code))
        other.close()
        self.assertRaises(ordain.UnknownSession, client.reconnect)

        key = Key.generate()
        self.operator.set_key(key.public, x.TRADE)
        thief = self.connected(key)
        thief.session = self.operator.session
        self.assertRaises(ordain.WrongKey, thief._resume)

    def test_killed_node(self):
        instrument, seller, buyer = self.market()
        client = self.connected()
        client.open_session()
        client.subscribe(ACCOUNT + seller, 1)
        originals = []
        for number in range(1, 21):
            side, account = ((x.SELL, seller), (x.BUY, buyer))[number % 2]
            client.submit(1, x.new_order(account, instrument, number, side, 100, 2 + number % 3))
        for _ in range(20):
            originals.append(client.collect().frame.check())
        trades = sum(x.parse_order(answer.payload)["fills"] for answer in originals)
        self.assertGreater(trades, 5)
        outputs = [client.next_output() for _ in range(trades)]

        # As if the last 12 answers had been lost with the connection. Two more requests are sent and not read.
        lowest = 9
        for answer in originals[lowest - 1:]:
            side, account = ((x.SELL, seller), (x.BUY, buyer))[answer.number % 2]
            payload = x.new_order(account, instrument, answer.number, side, 100, 2 + answer.number % 3)
            client._open[answer.number] = ordain.frame(ordain.REQUEST, payload, schema=1, session=client.session,
                                                       span=answer.number - lowest, number=answer.number)
        client._answered = lowest - 1
        for number in (21, 22):
            self.assertEqual(client.submit(1, x.new_order(seller, instrument, number, x.SELL, 200, 1)), number)
        self.node.kill()
        with self.assertRaises(ordain.Disconnected):
            while client.collect().frame.number < 22:
                pass
            client.ping()
        results = [result.frame for result in client._results]
        client._results.clear()
        self.node.start()
        client.reconnect()
        while result := client.collect():
            self.assertEqual(result.outcome, "executed")
            results.append(result.frame)
        by_number = {reply.number: reply for reply in results}
        for original in originals[lowest - 1:]:
            again = by_number.get(original.number, original)
            self.assertEqual((again.code, again.seq, again.payload), (0, original.seq, original.payload))
        self.assertGreaterEqual(len(by_number), 12)
        self.assertEqual(x.parse_book(client.query(1, x.book_levels(instrument))[1])[1][-1], (200, 2, 2))

        # The stream goes on behind what was seen, and holds the same from its beginning.
        _, reply = client.call(1, x.new_order(buyer, instrument, 23, x.BUY, 200, 1))
        self.assertEqual(x.parse_order(reply)["fills"], 1)
        self.assertEqual(client.next_output().number, trades + 1)
        client.subscribe(ACCOUNT + seller, 1)
        again = [client.next_output() for _ in outputs]
        self.assertEqual([(o.number, o.seq, o.payload) for o in again], [(o.number, o.seq, o.payload) for o in outputs])
        client.close()

    def test_demo(self):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            demo.main(self.node.address, f"{self.node.data}/keys/operator.key")
        self.assertIn("takes 7 for 709 in 2 fills", printed.getvalue())
        self.assertIn("bid     99      4 in 1", printed.getvalue())


@unittest.skipUnless(os.environ.get("ORDAIN_BIN"), "ORDAIN_BIN does not name the program `ordain`")
class SmallCluster(unittest.TestCase):
    """Three nodes, of which the client is told one."""

    def test_a_client_finds_who_leads_and_follows_the_lead(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        host = f"127.{64 | os.getpid() >> 16 & 63}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
        members = [f"{host}:{7900 + 10 * node},{host}:{7901 + 10 * node}" for node in range(3)]
        made = [argument for member in members for argument in ("--member", member)]
        subprocess.run([os.environ["ORDAIN_BIN"], "cluster", "init", "--dir", f"{folder}/c", *made], check=True, capture_output=True)
        nodes = [subprocess.Popen([os.environ["ORDAIN_BIN"], "node", "--data", f"{folder}/c/node-{node}", "--metrics", "127.0.0.1:0",
                                   "--log-level", "error"]) for node in range(3)]
        self.addCleanup(lambda: [(node.kill(), node.wait()) for node in nodes])
        key = Key.load(f"{folder}/c/operator.key")
        client = Client(members[0].split(",")[1], key, timeout=30.0)
        deadline = time.monotonic() + 60
        while True:
            self.assertLess(time.monotonic(), deadline)
            try:
                client.connect()
                cluster = client.members()
                if cluster.leader is not None:
                    break
            except ordain.Disconnected:
                pass
            time.sleep(0.05)
        self.assertEqual(sorted(client.addresses), sorted(member.split(",")[1] for member in members))
        self.addCleanup(client.disconnect)
        # To the leader, wherever it is, and on to the next one.
        client.session = 0
        leader = cluster.leader
        client.named = [cluster.members[leader].client]
        client.connect()
        client.open_session()
        client.call(1, x.create_account(1))
        try:
            client.transfer((leader + 1) % 3)
        except ordain.Disconnected:
            pass  # The reign may be over before the answer.
        while True:
            self.assertLess(time.monotonic(), deadline)
            try:
                client.call(1, x.create_account(2))
            except ordain.Disconnected:
                client.reconnect()
                if (result := client.collect()) is not None:
                    self.assertEqual(result.outcome, "executed")
            if client.members().leader == (leader + 1) % 3:
                break


if __name__ == "__main__":
    unittest.main()
