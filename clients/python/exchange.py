"""The messages of the exchange that the demo and the tests use, from docs/format/exchange.md; schema version 1."""

import struct

SCHEMA = 1
BUY, SELL = 1, 2
LIMIT, MARKET = 1, 2
GTC, IOC, FOK = 1, 2, 3
TRADE, ADMIN, CUSTODY, VIEW = 1 << 8, 1 << 9, 1 << 10, 1 << 11
LIVE, FILLED, CANCELLED = 1, 2, 3

_ORDER_REPLY = struct.Struct("<xxHBBxxIIQQQQQIIQqQQ")
_FILL = struct.Struct("<xxBBBBxxIIQQQQqQQQIIq")


def create_instrument(instrument, symbol, base, quote, *, max_price=1_000_000, fees=(0, 0)):
    """One lot is one minor unit of base, and costs one minor unit of quote at one tick."""
    return struct.pack("<BB6xIBBxx16sIIQQQQQqqiiII", 0x01, SCHEMA, instrument, 2, 0, symbol.encode(), base, quote,
                       1, 1, 1, 1_000_000, 0, max_price, max_price // 10, *fees, 1, 1)


def create_account(account):
    return struct.pack("<BBxxI", 0x02, SCHEMA, account)


def grant(account, key_number):
    return struct.pack("<BBBxII4x", 0x03, SCHEMA, 1, account, key_number)


def deposit(account, currency, transaction, amount):
    return struct.pack("<BBxxII4xQQ", 0x04, SCHEMA, account, currency, transaction, amount)


def new_order(account, instrument, client_id, side, price, quantity, *, kind=LIMIT, tif=GTC, post_only=False):
    return struct.pack("<BBBBBBxxIIQqQ", 0x06, SCHEMA, side, kind, tif, post_only, account, instrument, client_id,
                       price, quantity)


def book_levels(instrument, depth=10):
    return struct.pack("<BBBxIqq", 0x41, SCHEMA, depth, instrument, 0, 0)


def balances(account):
    return struct.pack("<BBxxII4x", 0x43, SCHEMA, account, 0)


def code_of(answer):
    """The reject code of a reply or an answer; 0 if it was accepted."""
    return int.from_bytes(answer[2:4], "little")


def parse_order(reply):
    names = ("code state reason instrument account order client_id cumulative remaining cancelled fills fee_currency "
             "notional fee seq time").split()
    return dict(zip(names, _ORDER_REPLY.unpack(reply)))


def parse_fill(output):
    names = ("reason side aggressor state account instrument order client_id cumulative remaining price quantity seq "
             "time index fee_currency fee").split()
    return dict(zip(names, _FILL.unpack(output)))


def parse_book(answer):
    """The bids and the asks, each a list of (price, quantity, orders)."""
    bids, asks = struct.unpack_from("<HH", answer, 8)
    levels = [entry[:3] for entry in struct.iter_unpack("<qQI4x", answer[16:])]
    assert len(levels) == bids + asks
    return levels[:bids], levels[bids:]


def parse_balances(answer):
    """Currency -> (free, held)."""
    return {currency: (free, held) for currency, free, held in struct.iter_unpack("<I4xQQ", answer[16:])}
