//! Parquet files.

use crate::column::{Ask, Cell};
use crate::{Column, ExportError};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};
use std::io::Write;
use std::sync::Arc;

/// Most rows of a row group: so many wait in memory, 24 MiB with the largest rows, beside one column of them as values and
/// as encoded pages, some 2 MiB each. Readers work on row groups in parallel and skip those whose least and greatest values are
/// not asked for; with much smaller groups they would read more about the groups, and columns would compress less. What the
/// file's end says of each group, some 100 bytes a column, is in memory until then.
pub const ROWS_MAX: usize = 1 << 17;
/// Largest row in memory, bytes.
const ROW_SIZE_MAX: usize = 192;

pub(crate) struct Parquet<W: Write + Send, R: 'static> {
    columns: &'static [Column<R>],
    writer: SerializedFileWriter<W>,
    rows: Vec<R>,
}

impl<W: Write + Send, R> Parquet<W, R> {
    pub fn begin(columns: &'static [Column<R>], out: W) -> Result<Self, ExportError> {
        const { assert!(size_of::<R>() <= ROW_SIZE_MAX) };
        let fields = columns.iter().map(field).collect::<Result<_, _>>()?;
        let schema = Type::group_type_builder("schema").with_fields(fields).build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        Ok(Self { columns, writer, rows: Vec::new() })
    }

    pub fn put(&mut self, row: R) -> Result<(), ExportError> {
        self.rows.push(row);
        if self.rows.len() == ROWS_MAX { self.end_group() } else { Ok(()) }
    }

    pub fn finish(mut self) -> Result<(), ExportError> {
        if !self.rows.is_empty() {
            self.end_group()?;
        }
        self.writer.finish()?;
        Ok(self.writer.inner_mut().flush()?)
    }

    fn end_group(&mut self) -> Result<(), ExportError> {
        let mut group = self.writer.next_row_group()?;
        for column in self.columns {
            let mut writer = group.next_column()?.expect("the schema has all columns");
            let (out, rows) = (&mut writer, &self.rows);
            match column.ask {
                // Unsigned numbers are stored by their bits.
                Ask::U16(_) | Ask::U32(_) => write::<Int32Type, R>(out, column, rows, |cell| {
                    u32::try_from(cell.number()?).ok().map(u32::cast_signed)
                })?,
                Ask::U64(_) | Ask::U64OrNone(_) => write::<Int64Type, R>(out, column, rows, |cell| {
                    u64::try_from(cell.number()?).ok().map(u64::cast_signed)
                })?,
                Ask::I64(_) | Ask::I64OrNone(_) | Ask::Money(_) | Ask::Time(_) => {
                    write::<Int64Type, R>(out, column, rows, |cell| i64::try_from(cell.number()?).ok())?;
                }
                Ask::Text(_) | Ask::TextOrNone(_) => {
                    write::<ByteArrayType, R>(out, column, rows, |cell| Some(cell.text()?.into()))?;
                }
            }
            writer.close()?;
        }
        group.close()?;
        self.rows.clear();
        Ok(())
    }
}

/// What the schema says of a column.
fn field<R>(column: &Column<R>) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match column.ask {
        Ask::U16(_) => (Physical::INT32, LogicalType::integer(16, false)),
        Ask::U32(_) => (Physical::INT32, LogicalType::integer(32, false)),
        Ask::U64(_) | Ask::U64OrNone(_) => (Physical::INT64, LogicalType::integer(64, false)),
        Ask::I64(_) | Ask::I64OrNone(_) | Ask::Money(_) => (Physical::INT64, LogicalType::integer(64, true)),
        Ask::Time(_) => (Physical::INT64, LogicalType::timestamp(true, TimeUnit::NANOS)),
        Ask::Text(_) | Ask::TextOrNone(_) => (Physical::BYTE_ARRAY, LogicalType::String),
    };
    let repetition = if column.may_be_none() { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let builder = Type::primitive_type_builder(column.name, physical);
    Ok(Arc::new(builder.with_logical_type(Some(logical)).with_repetition(repetition).build()?))
}

/// Writes a column of a row group. `value` says what is stored for a cell, if it has a place there.
fn write<T: DataType, R>(
    out: &mut SerializedColumnWriter<'_>,
    column: &Column<R>,
    rows: &[R],
    value: impl Fn(Cell) -> Option<T::T>,
) -> Result<(), ExportError> {
    let mut values = Vec::with_capacity(rows.len());
    let mut defined: Vec<i16> = Vec::new();
    for cell in rows.iter().map(|row| column.cell(row)) {
        if column.may_be_none() {
            defined.push((cell != Cell::None).into());
        }
        if cell != Cell::None {
            let beyond = || ExportError::Beyond { column: column.name, value: cell.number().unwrap_or(0) };
            values.push(value(cell).ok_or_else(beyond)?);
        }
    }
    out.typed::<T>().write_batch(&values, column.may_be_none().then_some(&defined[..]), None)?;
    Ok(())
}
