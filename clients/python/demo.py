"""Trades with itself on an exchange node: python3 demo.py 127.0.0.1:7400 ordain-data/keys/operator.key

Creates an instrument and two accounts that the node does not have yet, enters orders, and prints the book and the
fills.
"""

import random
import sys

import exchange as x
from ordain import ACCOUNT, Client, Key


def accepted(client, payload):
    """The reply to a command that must be accepted."""
    _, reply = client.call(x.SCHEMA, payload)
    if x.code_of(reply):
        sys.exit(f"refused with reject code {x.code_of(reply)}: see docs/format/exchange.md")
    return reply


def main(address, key_file):
    client = Client(address, Key.load(key_file))
    client.connect()
    print(f"session {client.open_session()}")
    # Fresh numbers, so that the demo can run again.
    instrument, maker = random.randint(1, 1024), random.randrange(1, 65535, 2)
    taker, base, quote = maker + 1, 1, 2
    accepted(client, x.create_instrument(instrument, f"DEMO{instrument}", base, quote))
    for account in (maker, taker):
        accepted(client, x.create_account(account))
        client.subscribe(ACCOUNT + account, 1)
    accepted(client, x.deposit(maker, base, 1, 1_000))
    accepted(client, x.deposit(taker, quote, 1, 1_000_000))

    # Many at a time: answers are collected when all are sent.
    for number, (price, quantity) in enumerate([(101, 5), (102, 5), (103, 5)], 1):
        client.submit(x.SCHEMA, x.new_order(maker, instrument, number, x.SELL, price, quantity))
    for number, price in enumerate([99, 98], 1):
        client.submit(x.SCHEMA, x.new_order(taker, instrument, number, x.BUY, price, 4))
    while result := client.collect():
        order = x.parse_order(result.frame.check().payload)
        print(f"order {order['order']:#x} of account {order['account']}: state {order['state']}")
    order = x.parse_order(accepted(client, x.new_order(taker, instrument, 9, x.BUY, 102, 7)))
    print(f"order {order['order']:#x} takes {order['cumulative']} for {order['notional']} in {order['fills']} fills")

    while output := client.next_output(0.5):
        fill = x.parse_fill(output.payload)
        print(f"account {fill['account']} {['', 'buys', 'sells'][fill['side']]} {fill['quantity']} at {fill['price']}")
    seq, answer = client.query(x.SCHEMA, x.book_levels(instrument))
    bids, asks = x.parse_book(answer)
    print(f"book as of record {seq}")
    for price, quantity, orders in reversed(asks):
        print(f"  ask {price:6} {quantity:6} in {orders}")
    for price, quantity, orders in bids:
        print(f"  bid {price:6} {quantity:6} in {orders}")
    client.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
