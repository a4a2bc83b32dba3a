//! Reads tables back.

use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::record::Field;

/// The rows of a Parquet file, the first of names, as CSV would have them.
pub fn parquet_rows(file: impl ChunkReader + 'static) -> Vec<Vec<String>> {
    let reader = SerializedFileReader::new(file).unwrap();
    let columns = reader.metadata().file_metadata().schema_descr().columns();
    let mut rows = vec![columns.iter().map(|column| column.name().to_owned()).collect()];
    for row in reader.get_row_iter(None).unwrap() {
        rows.push(row.unwrap().get_column_iter().map(|(_, field)| text(field)).collect());
    }
    rows
}

fn text(field: &Field) -> String {
    match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::UShort(_) | Field::UInt(_) | Field::ULong(_) | Field::Long(_) => field.to_string(),
        other => panic!("no column holds {other:?}"),
    }
}

/// The rows of a CSV file.
pub fn csv_rows(text: &str) -> Vec<Vec<String>> {
    text.lines().map(csv_row).collect()
}

fn csv_row(line: &str) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let cell = cells.last_mut().expect("there is one from the beginning");
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => cell.push(other),
        }
    }
    cells
}
