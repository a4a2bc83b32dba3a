//! An operator runs the exchange of a real node, and the journal says who did what, when, why and what came of it.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod common;

use common::{Node, Said, ordain};
use serde_json::{Value, json};

use std::path::Path;

/// A node, and how its operator speaks to it.
struct Office {
    node: Node,
    address: String,
    key: String,
}

impl Office {
    fn open(data: &Path) -> Self {
        let node = Node::start(data);
        let (address, key) = (node.address("tcp"), node.operator());
        Self { node, address, key }
    }

    fn ordain(&self, arguments: &[&str]) -> Said {
        ordain(&[arguments, &["--connect", &self.address, "--key", &self.key]].concat())
    }

    fn exchange(&self, arguments: &str) -> Said {
        let words: Vec<&str> = arguments.split(' ').collect();
        self.ordain(&[&["exchange"], &words[..]].concat())
    }

    /// What a command that is done prints as JSON.
    fn done(&self, arguments: &str) -> Value {
        let said = self.exchange(&format!("{arguments} --json"));
        assert_eq!(said.code, 0, "{arguments}: {}", said.error);
        serde_json::from_str(&said.out).expect("JSON")
    }

    fn level(&self) {
        assert_eq!(self.ordain(&["cluster", "level", "1"]).code, 0);
    }
}

const INSTRUMENT: &str =
    "create-instrument 1 X-Y --base 1 --quote 2 --max-quantity 1000 --max-price 500 --collar 50";

#[test]
fn operators_are_listed_with_who_when_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let office = Office::open(&data);
    office.done(INSTRUMENT);
    let done = office.done("create-account 7");
    assert_eq!((&done["command"], &done["code"]), (&"create-account 7".into(), &0.into()));
    office.level();
    // Each of these once: what has a note takes the reason there, what has none in a remark in front of it.
    let commands = [
        ("create-account 8", "create-account 8"),
        ("grant 7 1", "grant account 7 key 1"),
        ("revoke 7 1", "revoke account 7 key 1"),
        ("deposit 7 2 5000 --transaction 1", "deposit account 7 currency 2 amount 5000 transaction 1"),
        ("withdraw 7 2 100 --transaction 2", "withdraw account 7 currency 2 amount 100 transaction 2"),
        ("self-trade 1 decrement", "self-trade 1 decrement"),
        ("group 7 3", "group account 7 group 3"),
        ("state 1 post-only", "state 1 post-only"),
        ("halt all", "state all halted"),
        ("reference 1 100", "reference 1 100"),
        (
            "bands 1 auction --static 100000 --dynamic 50000 --bucket 1s --buckets 4 --call 2m --extensions 1",
            "bands 1 auction static 100000 dynamic 50000 bucket 1000000000 buckets 4 call 120000000000 extensions 1",
        ),
        (
            "schedule 1 4000000000000000000~1s=opening-auction 4000000001000000001=continuous --period 24h",
            "schedule 1 period 86400000000000 4000000000000000000~1000000000=opening-auction \
             4000000001000000001~0=continuous",
        ),
        ("firm 7 9", "firm account 7 firm 9"),
        ("access firm:9 blocked", "access firm:9 blocked"),
        ("purge account:7 --sides buy", "purge account:7 instrument all sides buy"),
        ("kill all", "kill all"),
        (
            "limits account:7 --orders 5 --burst 2 --interval 1s --listed-only",
            "limits account:7 orders 5 burst 2 interval 1000000000 listed-only yes",
        ),
        ("gross-limit firm:9 2 1000", "gross-limit firm:9 currency 2 limit 1000"),
        (
            "instrument-limits 7 1 --quantity 10",
            "instrument-limits account 7 instrument 1 allowed yes quantity 10 notional none collar none open none \
             long none short none",
        ),
        ("position 7 1 -4", "position account 7 instrument 1 lots -4"),
        (
            "fees 1 0 --maker -5 --taker 0 --max 9",
            "fees class 1 tier 0 maker -5 taker 0 auction 0 min 0 max 9",
        ),
        ("fee-class 1 2", "fee-class instrument 1 class 2"),
        ("fee-tier 7 3", "fee-tier account 7 tier 3"),
        ("feed 1 --top --orders", "feed 1 top orders"),
        ("grant-firm 9 1", "grant-firm 9 key 1"),
        ("revoke-firm 9 1", "revoke-firm 9 key 1"),
        ("create-account 7", "create-account 7"),
    ];
    let mut expected = Vec::new();
    for (nth, (arguments, words)) in commands.iter().enumerate() {
        let done = office.exchange(&format!("{arguments} --json --why ticket-{nth}"));
        let json = serde_json::from_str::<Value>(&done.out);
        let refused = json.unwrap_or_else(|_| panic!("{arguments}: {}", done.error))["refused"].clone();
        let result = refused.as_str().unwrap_or("done").to_owned();
        assert_eq!(done.code, i32::from(result != "done"), "{arguments}: {}", done.error);
        expected.push(((*words).to_owned(), format!("ticket-{nth}"), result));
    }
    let refused: Vec<_> = expected.iter().filter(|(.., result)| result != "done").collect();
    // There was one already.
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].2, "AccountExists");
    let long = "the exchange is halted for an exercise that was announced";
    assert_eq!(office.ordain(&["exchange", "halt", "1", "--why", long]).code, 0);
    expected.push(("state 1 halted".to_owned(), long.to_owned(), "done".to_owned()));
    let public = ordain(&["keys", "show", &office.key]).out.trim().to_owned();
    office.node.stop();

    let said = ordain(&["journal", "operators", data.to_str().unwrap(), "--json"]);
    assert_eq!(said.code, 0, "{}", said.error);
    let lines: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let text = |line: &Value, field: &str| line[field].as_str().expect("text").to_owned();
    let listed: Vec<_> = lines
        .iter()
        .filter(|line| line["session"] != 0 && line["command"] != "remark")
        .map(|line| (text(line, "command"), text(line, "why"), text(line, "result")))
        .collect();
    // Before there were reasons.
    assert!(listed[0].0.starts_with("create-instrument 1 X-Y base 1 quote 2"), "{:?}", listed[0]);
    assert_eq!(listed[1], ("create-account 7".to_owned(), String::new(), "done".to_owned()));
    assert_eq!(listed[2..], expected);
    let mut last = (0, 0);
    for line in &lines {
        let now = (line["seq"].as_u64().unwrap(), line["time"].as_u64().unwrap());
        assert!(now > last && now.1 >= last.1 && now.1 > 0, "in the order of the log: {line}");
        last = now;
        if line["session"] != 0 {
            assert_eq!((&line["key"], line["public"].as_str()), (&1.into(), Some(public.as_str())));
        }
    }
    // The operator's own key, which the log begins with.
    assert!(text(&lines[0], "command").contains(&public), "{}", lines[0]);
    let said = ordain(&["journal", "operators", data.to_str().unwrap()]);
    let line = said.out.lines().find(|line| line.contains(": kill all ")).expect("a line");
    assert!(line.ends_with(&format!("key 1 {public}: kill all [done] -- ticket-15")), "{line}");
}

#[test]
fn what_was_set_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let office = Office::open(&folder.path().join("data"));
    office.done(INSTRUMENT);
    office.done("create-account 7");
    office.done("deposit 7 2 5000 --transaction 1");
    office.done("firm 7 9");
    office.done("access firm:9 blocked");
    office.done("bands 1 auction --static 100000 --call 2m --extensions 1");
    office.done("schedule 1 4000000000000000000~1s=opening-auction --period 24h");
    office.done("limits firm:9 --orders 5");
    office.done("instrument-limits 7 1 --open 30");
    office.level();
    office.done("feed 1 --top --orders");
    let instrument = office.done("show instrument 1");
    assert_eq!(instrument["feed"], json!({ "top": true, "levels": false, "orders": true }));
    assert_eq!(instrument["terms"]["symbol"], "X-Y");
    assert_eq!(instrument["trading"]["state"], "continuous");
    let bands = &instrument["bands"];
    assert_eq!((&bands["action"], &bands["static_ppm"]), (&"auction".into(), &100_000.into()));
    assert_eq!((&bands["call"], &bands["call_until"]), (&120_000_000_000_u64.into(), &0.into()));
    let schedule = &instrument["schedule"];
    assert_eq!(schedule["period"], 86_400_000_000_000_u64);
    assert_eq!(
        (&schedule["due"], schedule["entries"].as_array().unwrap().len()),
        (&4_000_000_000_000_000_000_u64.into(), 1)
    );
    let entry = &schedule["entries"][0];
    assert_eq!((&entry["state"], &entry["next"]), (&"opening-auction".into(), &true.into()));
    let account = office.done("show account 7");
    assert_eq!((&account["access"]["firm"], &account["access"]["of_firm"]), (&9.into(), &"blocked".into()));
    assert_eq!(account["balances"].as_array().unwrap().len(), 1);
    assert_eq!(account["balances"][0]["free"], 5000);
    assert_eq!(office.done("show limits firm:9 2")["max_orders"], "5");
    assert_eq!(office.done("show limits account:7 2")["max_orders"], "none");
    assert_eq!(office.done("show instrument-limits 7 1")["open"], "30");
    assert_eq!(office.done("show fees 7 1")["class"], 0);
    assert_eq!(office.done("show currency 2")["supply"], 5000);
    assert_eq!(office.done("show statistics")["accounts"], 1);
    // In words, a line a field.
    let text = office.exchange("show currency 2").out;
    assert_eq!(
        text.lines().map(|line| line.split_whitespace().collect()).collect::<Vec<Vec<_>>>(),
        [["currency", "2"], ["fees", "0"], ["supply", "5000"]]
    );
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let office = Office::open(&folder.path().join("data"));
    let check = |arguments: &[&str], code: i32, text: &str| {
        let said = office.ordain(&[&["exchange"], arguments].concat());
        assert_eq!((said.code, said.error.as_str()), (code, text), "{arguments:?}");
    };
    check(
        &["create-account", "0"],
        1,
        "error: the exchange refused `create-account 0`: AccountOutOfRange\n next: The account id is 0 or above the \
         exchange's bound. `ordain exchange show` tells how things are.\n",
    );
    check(
        &["show", "instrument", "5"],
        1,
        "error: the exchange refused the question: UnknownInstrument\n next: There is no such instrument.\n",
    );
    check(
        &["create-account", "3", "--why", "a reason that this has no note for"],
        1,
        "error: the cluster does not take the reason: the payload is no request of the application\n next: Give a reason \
         of up to 32 characters to a command that has a note, or none; longer ones begin with level 1: `ordain cluster \
         level 1`.\n",
    );
    check(
        &[
            "create-instrument",
            "1",
            "no symbol",
            "--base",
            "1",
            "--quote",
            "2",
            "--max-quantity",
            "9",
            "--max-price",
            "9",
            "--collar",
            "1",
        ],
        1,
        "error: the command cannot be said: `no symbol` is no symbol: 1 to 16 printable characters\n next: Mend the \
         arguments: `ordain exchange --help` explains them.\n",
    );
    check(
        &["fees", "17", "0", "--maker", "0", "--taker", "0"],
        1,
        "error: the command cannot be said: a field holds an undefined value, or a reserved byte is not zero\n next: \
         Mend the arguments: `ordain exchange --help` explains them.\n",
    );
    check(
        &["state", "1", "open"],
        2,
        "error: invalid value 'open' for '<STATE>': it is one of continuous, halted, cancel-only, post-only, pre-open, \
         opening-auction, volatility-auction, closing-auction, closed\n\nFor more information, try '--help'.\n",
    );
    check(
        &["kill", "everybody"],
        2,
        "error: invalid value 'everybody' for '<WHOSE>': it is account:N, firm:N or all\n\nFor more information, try \
         '--help'.\n",
    );
    check(
        &["halt", "all", "--why", "Grüße"],
        2,
        "error: invalid value 'Grüße' for '--why <TEXT>': it is 1 to 120 printable ASCII characters\n\nFor more \
         information, try '--help'.\n",
    );
    // Nothing of all this was done.
    assert_eq!(office.done("show statistics")["accounts"], 0);

    // A key that may look and nothing else.
    let viewer = folder.path().join("viewer.key");
    let viewer = viewer.to_str().unwrap();
    let public = ordain(&["keys", "new", viewer]).out.trim().to_owned();
    assert_eq!(office.ordain(&["keys", "add", &public, "--permissions", "view"]).code, 0);
    let said = ordain(&["exchange", "halt", "all", "--connect", &office.address, "--key", viewer]);
    assert_eq!(said.code, 1);
    let next = "next: Give --key the key file of an operator, or of a key that may do this.\n";
    assert!(
        said.error.starts_with("error: the cluster refused: ") && said.error.ends_with(next),
        "{}",
        said.error
    );
    let said = ordain(&["exchange", "show", "statistics", "--connect", &office.address, "--key", viewer]);
    assert_eq!(said.code, 0, "{}", said.error);

    let absent = folder.path().join("absent");
    let said = ordain(&["journal", "operators", absent.to_str().unwrap()]);
    assert_eq!(said.code, 1);
    assert!(
        said.error.contains("is no directory\n next: Give the data directory of a node"),
        "{}",
        said.error
    );
}
