//! Tables, written in both formats and read back.

mod common;

use common::{csv_rows, parquet_rows};
use ordain_exchange_export::{Column, ExportError, Format, ROWS_MAX, Table};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;

#[derive(Clone)]
struct Row {
    number: u64,
    small: u16,
    id: u32,
    maybe: Option<u64>,
    price: i64,
    limit: Option<i64>,
    money: i128,
    time: u64,
    name: &'static str,
    why: &'static str,
}

const COLUMNS: &[Column<Row>] = &[
    Column::u64("number", |row| row.number),
    Column::u16("small", |row| row.small),
    Column::u32("id", |row| row.id),
    Column::u64_or_none("maybe", |row| row.maybe),
    Column::i64("price", |row| row.price),
    Column::i64_or_none("limit", |row| row.limit),
    Column::money("money", |row| row.money),
    Column::time("time_ns", |row| row.time),
    Column::text("name", |row| row.name),
    Column::text_or_none("why", |row| row.why),
];

const LEAST: Row = Row {
    number: 0,
    small: 0,
    id: 0,
    maybe: None,
    price: i64::MIN,
    limit: None,
    money: i64::MIN as i128,
    time: 0,
    name: "",
    why: "",
};

const GREATEST: Row = Row {
    number: u64::MAX,
    small: u16::MAX,
    id: u32::MAX,
    maybe: Some(u64::MAX),
    price: i64::MAX,
    limit: Some(i64::MAX),
    money: i64::MAX as i128,
    time: i64::MAX as u64,
    name: "no, \"never\"",
    why: "é, with a comma",
};

fn written(format: Format, rows: &[Row]) -> Result<Vec<u8>, ExportError> {
    let mut bytes = Vec::new();
    let mut table = Table::begin(format, COLUMNS, &mut bytes)?;
    rows.iter().try_for_each(|row| table.put(row.clone()))?;
    table.finish()?;
    Ok(bytes)
}

fn reader(bytes: Vec<u8>) -> SerializedFileReader<bytes::Bytes> {
    SerializedFileReader::new(bytes.into()).unwrap()
}

#[test]
fn both_formats_have_the_same_cells() {
    let rows = [LEAST, GREATEST, Row { maybe: Some(0), limit: Some(-1), ..LEAST }];
    let csv = String::from_utf8(written(Format::Csv, &rows).unwrap()).unwrap();
    let expected = "number,small,id,maybe,price,limit,money,time_ns,name,why\n\
        0,0,0,,-9223372036854775808,,-9223372036854775808,0,,\n\
        18446744073709551615,65535,4294967295,18446744073709551615,9223372036854775807,9223372036854775807,\
        9223372036854775807,9223372036854775807,\"no, \"\"never\"\"\",\"é, with a comma\"\n\
        0,0,0,0,-9223372036854775808,-1,-9223372036854775808,0,,\n";
    assert_eq!(csv, expected);
    let parquet = written(Format::Parquet, &rows).unwrap();
    assert_eq!(parquet_rows(bytes::Bytes::from(parquet)), csv_rows(&csv));
}

#[test]
fn columns_have_the_types_of_what_they_hold() {
    let reader = reader(written(Format::Parquet, &[LEAST, GREATEST]).unwrap());
    let integer = LogicalType::integer;
    let (must, may) = (Repetition::REQUIRED, Repetition::OPTIONAL);
    let expected = [
        ("number", Type::INT64, integer(64, false), must),
        ("small", Type::INT32, integer(16, false), must),
        ("id", Type::INT32, integer(32, false), must),
        ("maybe", Type::INT64, integer(64, false), may),
        ("price", Type::INT64, integer(64, true), must),
        ("limit", Type::INT64, integer(64, true), may),
        ("money", Type::INT64, integer(64, true), must),
        ("time_ns", Type::INT64, LogicalType::timestamp(true, TimeUnit::NANOS), must),
        ("name", Type::BYTE_ARRAY, LogicalType::String, must),
        ("why", Type::BYTE_ARRAY, LogicalType::String, may),
    ];
    let schema = reader.metadata().file_metadata().schema_descr();
    assert_eq!(schema.num_columns(), expected.len());
    for (column, (name, physical, logical, repetition)) in schema.columns().iter().zip(expected) {
        assert_eq!((column.name(), column.physical_type()), (name, physical));
        assert_eq!(column.logical_type_ref(), Some(&logical), "{name}");
        assert_eq!(column.self_type().get_basic_info().repetition(), repetition, "{name}");
    }
    // Unsigned numbers are compared as such.
    let group = reader.metadata().row_group(0);
    let Some(Statistics::Int64(numbers)) = group.column(0).statistics() else { panic!() };
    assert_eq!((numbers.min_opt(), numbers.max_opt()), (Some(&0), Some(&-1)));
    assert!(group.columns().iter().all(|column| column.compression() == Compression::SNAPPY));
}

#[test]
fn row_groups_end_when_they_are_full() {
    let rows: Vec<Row> = (0..=ROWS_MAX as u64).map(|number| Row { number, ..GREATEST }).collect();
    for (count, expected) in [(0, vec![]), (ROWS_MAX, vec![ROWS_MAX]), (ROWS_MAX + 1, vec![ROWS_MAX, 1])] {
        let bytes = written(Format::Parquet, &rows[..count]).unwrap();
        let groups = reader(bytes.clone());
        let groups = groups.metadata().row_groups().iter().map(|group| group.num_rows() as usize);
        assert_eq!(groups.collect::<Vec<_>>(), expected);
        let found = parquet_rows(bytes::Bytes::from(bytes));
        assert_eq!(found.len(), 1 + count);
        assert!(found[1..].iter().enumerate().all(|(number, row)| row[0] == number.to_string()));
    }
}

#[test]
fn what_has_no_place_in_its_column_is_refused() {
    let beyond = i128::from(i64::MAX) + 1;
    for (row, name) in
        [(Row { money: beyond, ..LEAST }, "money"), (Row { time: 1 << 63, ..LEAST }, "time_ns")]
    {
        let rows = [LEAST, row];
        assert!(written(Format::Csv, &rows).is_ok());
        let Err(ExportError::Beyond { column, value }) = written(Format::Parquet, &rows) else { panic!() };
        assert_eq!((column, value), (name, beyond));
    }
}

#[test]
fn a_full_disk_is_an_error_in_both_formats() {
    for format in [Format::Csv, Format::Parquet] {
        let mut small = [0; 16];
        let result = Table::begin(format, COLUMNS, &mut small[..])
            .and_then(|mut table| (0..100).try_for_each(|_| table.put(GREATEST)).map(|()| table))
            .and_then(Table::finish);
        assert!(result.is_err());
    }
}
