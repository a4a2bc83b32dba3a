//! The table of reject codes in the format page is the enumeration.

use ordain_exchange_protocol::Reject;

#[test]
fn the_page_lists_the_codes() {
    let page = include_str!("../../../docs/format/exchange.md");
    let table = page.split("\n## Reject codes\n").nth(1).expect("the page has a table of codes");
    let rows: Vec<&str> =
        table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| code")).collect();
    let expected: Vec<String> = Reject::ALL
        .iter()
        .map(|code| format!("| {} | {} | {} |", *code as u16, code.name(), code.text()))
        .collect();
    assert_eq!(rows, expected, "the table should read:\n{}", expected.join("\n"));
}

#[test]
fn codes_survive_the_wire() {
    for code in Reject::ALL {
        assert_eq!(Reject::from_wire(*code as u16), Some(*code));
    }
    for wire in [0, 7, 9, 90, u16::MAX] {
        assert_eq!(Reject::from_wire(wire), None, "{wire}");
    }
}
