//! CSV, as RFC 4180 has it but for the ends of lines, which are a line feed alone.

use crate::column::Cell;
use crate::{Column, ExportError};
use std::io::Write;

pub(crate) struct Csv<W, R: 'static> {
    columns: &'static [Column<R>],
    out: W,
}

impl<W: Write, R> Csv<W, R> {
    pub fn begin(columns: &'static [Column<R>], out: W) -> Result<Self, ExportError> {
        let mut csv = Self { columns, out };
        csv.line(|column| Cell::Text(column.name))?;
        Ok(csv)
    }

    pub fn put(&mut self, row: &R) -> Result<(), ExportError> {
        self.line(|column| column.cell(row))
    }

    pub fn finish(mut self) -> Result<(), ExportError> {
        Ok(self.out.flush()?)
    }

    fn line(&mut self, cell: impl Fn(&Column<R>) -> Cell) -> Result<(), ExportError> {
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                self.out.write_all(b",")?;
            }
            match cell(column) {
                Cell::None => {}
                Cell::Number(number) => write!(self.out, "{number}")?,
                Cell::Text(text) if text.contains([',', '"', '\n', '\r']) => {
                    write!(self.out, "\"{}\"", text.replace('"', "\"\""))?;
                }
                Cell::Text(text) => self.out.write_all(text.as_bytes())?,
            }
        }
        Ok(self.out.write_all(b"\n")?)
    }
}
