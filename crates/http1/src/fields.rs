//! The field section: parsed into a reusable table of offsets, never into strings.

use crate::error::{FieldError, ShownName};
use crate::known::{FieldSet, KnownField, recognize, recognize_simple};
use crate::limits::Limits;
use crate::scan::{all_tchars, find_byte, find_token_end, find_value_end, is_tchar, simple_name, trim};
use crate::span::Span;

/// One field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name, which begins its line.
    pub name: Span,
    /// The value without white space around it.
    pub value: Span,
    /// What the name is known as.
    pub id: KnownField,
    /// Named by a `Connection` option, hence for one connection only.
    pub nominated: bool,
}

impl Field {
    #[inline]
    fn moved(self, by: u32) -> Self {
        let moved = |span: Span| Span { start: span.start.wrapping_add(by), end: span.end.wrapping_add(by) };
        Self { name: moved(self.name), value: moved(self.value), ..self }
    }
}

/// The fields of one head or trailer section, by their place in the parsed bytes. Reuse it: it keeps its storage.
#[derive(Clone, Debug)]
pub struct FieldTable {
    fields: Vec<Field>,
    seen: FieldSet,
    repeated: FieldSet,
    /// Index of the first field of each kind; meaningful only for those in `seen`.
    first: [u16; KnownField::COUNT],
    /// Offset of the empty line that ends the section.
    end: u32,
}

impl PartialEq for FieldTable {
    fn eq(&self, other: &Self) -> bool {
        // The rest is derived from these.
        self.fields == other.fields && self.end == other.end
    }
}

impl Default for FieldTable {
    fn default() -> Self {
        Self {
            fields: Vec::new(),
            seen: FieldSet::NONE,
            repeated: FieldSet::NONE,
            first: [0; KnownField::COUNT],
            end: 0,
        }
    }
}

impl FieldTable {
    /// All fields, in the order of the wire.
    #[inline]
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.fields.iter()
    }

    /// The number of field lines.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field at all.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The kinds that occur.
    #[inline]
    pub fn seen(&self) -> FieldSet {
        self.seen
    }

    /// The kinds that occur more than once.
    #[inline]
    pub fn repeated(&self) -> FieldSet {
        self.repeated
    }

    /// The first field of a kind.
    #[inline]
    pub fn get(&self, id: KnownField) -> Option<&Field> {
        if self.seen.has(id) { self.fields.get(usize::from(self.first[id as usize])) } else { None }
    }

    /// The value of the first field of a kind.
    #[inline]
    pub fn value<'a>(&self, buf: &'a [u8], id: KnownField) -> Option<&'a [u8]> {
        self.get(id).map(|field| field.value.of(buf))
    }

    /// The values of all fields of a kind, in order.
    pub fn values<'a>(&'a self, buf: &'a [u8], id: KnownField) -> impl Iterator<Item = &'a [u8]> + 'a {
        let from = if self.seen.has(id) { usize::from(self.first[id as usize]) } else { self.fields.len() };
        self.fields[from..].iter().filter(move |field| field.id == id).map(move |field| field.value.of(buf))
    }

    /// The values of all fields with a name given in any case, in order. For names that have no [`KnownField`].
    pub fn named<'a>(&'a self, buf: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.fields
            .iter()
            .filter(move |field| {
                field.name.len() == name.len() && field.name.of(buf).eq_ignore_ascii_case(name)
            })
            .map(move |field| field.value.of(buf))
    }

    /// The whole line of the field at `index`, its CR LF included.
    pub(crate) fn line_start(&self, index: usize) -> usize {
        self.fields.get(index).map_or(self.end, |field| field.name.start) as usize
    }

    pub(crate) fn at(&self, index: usize) -> Option<Field> {
        self.fields.get(index).copied()
    }

    pub(crate) fn nominate(&mut self, index: usize) {
        self.fields[index].nominated = true;
    }

    /// Begins a section that [`Self::write`] writes; a table that was filled before keeps its storage only.
    pub fn begin(&mut self) {
        self.clear();
    }

    /// Appends a line to `out`, where the message began at its first byte, and notes it as parsing the line would. Whoever
    /// writes answers for it that `name` is a token, that `id` is what it is known as, and that `value` is a field value
    /// without white space around it.
    #[inline]
    pub fn write(&mut self, out: &mut Vec<u8>, id: KnownField, name: &[u8], value: &[u8]) {
        debug_assert!(all_tchars(name) && KnownField::of(name) == id && trim(value) == value);
        let start = out.len();
        out.reserve(name.len() + value.len() + 4);
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
        let value_end = out.len() - 2;
        let name = Span::new(start, start + name.len());
        let value = Span::new(value_end - value.len(), value_end);
        self.push(Field { name, value, id, nominated: false });
    }

    /// Appends the empty line that ends the section.
    #[inline]
    pub fn write_end(&mut self, out: &mut Vec<u8>) {
        self.end = out.len() as u32;
        out.extend_from_slice(b"\r\n");
    }

    /// Where the section ends that was written, its empty line included; 0 where none was.
    pub fn written(&self) -> usize {
        if self.end == 0 { 0 } else { self.end as usize + 2 }
    }

    /// The first field of a kind has another value in the text than it had, which stands at `start..end`. What stands behind its
    /// line is so many bytes further on, modulo 2^32.
    pub fn replaced(&mut self, id: KnownField, (start, end): (usize, usize), moved: u32) {
        if !self.seen.has(id) {
            return;
        }
        let index = usize::from(self.first[id as usize]);
        self.fields[index].value = Span::new(start, end);
        for field in &mut self.fields[index + 1..] {
            *field = field.moved(moved);
        }
        self.end = self.end.wrapping_add(moved);
    }

    /// Notes a line that was copied: it stands so many bytes further on than where it was parsed, modulo 2^32.
    #[inline]
    pub(crate) fn note_copy(&mut self, field: &Field, moved: u32) {
        self.push(Field { nominated: false, ..field.moved(moved) });
    }

    /// Notes the line that `out` ends with, which begins at `start` with a name of so many bytes.
    pub(crate) fn note_line(&mut self, out: &[u8], start: usize, name_len: usize) {
        let (mut from, mut to) = (start + name_len + 1, out.len() - 2);
        while from < to && matches!(out[from], b' ' | b'\t') {
            from += 1;
        }
        while from < to && matches!(out[to - 1], b' ' | b'\t') {
            to -= 1;
        }
        let name = Span::new(start, start + name_len);
        self.push(Field { name, value: Span::new(from, to), id: recognize(name.of(out)), nominated: false });
    }

    pub(crate) fn note_end(&mut self, at: usize) {
        self.end = at as u32;
    }

    /// Gives memory back if there is more of it than so many lines need.
    pub fn shrink(&mut self, lines_max: usize) {
        if self.fields.capacity() > lines_max {
            self.fields = Vec::new();
        }
    }

    /// As [`Self::parse`] of a section that was written line by line, if the table is that of the section at `from`: nothing of
    /// it is looked at again.
    pub(crate) fn take(
        &mut self,
        buf: &[u8],
        from: usize,
        limits: &Limits,
    ) -> Result<Option<usize>, FieldError> {
        let end = self.end as usize;
        if self.line_start(0) != from || buf.get(end..end + 2) != Some(b"\r\n") {
            return self.parse(buf, from, limits);
        }
        let fields_max = limits.fields_bound();
        if self.fields.len() > fields_max { Err(FieldError::TooMany(fields_max)) } else { Ok(Some(end + 2)) }
    }

    pub(crate) fn clear(&mut self) {
        self.fields.clear();
        self.seen = FieldSet::NONE;
        self.repeated = FieldSet::NONE;
        self.end = 0;
    }

    /// Parses field lines from `from` on up to the empty line; gives the offset after it, or `None` when `buf` ends before.
    ///
    /// # Errors
    /// What [`FieldError`] says.
    pub fn parse(&mut self, buf: &[u8], from: usize, limits: &Limits) -> Result<Option<usize>, FieldError> {
        self.clear();
        let fields_max = limits.fields_bound();
        let mut pos = from;
        loop {
            let Some(&first) = buf.get(pos) else { return Ok(None) };
            if first == b'\r' {
                self.end = pos as u32;
                return match buf.get(pos + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some(pos + 2)),
                    Some(_) => Err(FieldError::BareCr),
                };
            }
            let simple = simple_name(&buf[pos..]);
            let (name_end, id) = match simple {
                Some((len, low, high)) => (pos + len, recognize_simple(&buf[pos..pos + len], low, high)),
                None => {
                    let end = find_token_end(buf, pos);
                    match buf.get(end) {
                        Some(b':') if end > pos => (end, recognize(&buf[pos..end])),
                        None => return Ok(None),
                        Some(_) => return name_fault(buf, pos, end),
                    }
                }
            };
            if self.fields.len() >= fields_max {
                return Err(FieldError::TooMany(fields_max));
            }
            let name = Span::new(pos, name_end);
            let Some((value, next)) = value_end(buf, name)? else { return Ok(None) };
            self.push(Field { name, value, id, nominated: false });
            pos = next;
        }
    }

    #[inline(always)]
    fn push(&mut self, field: Field) {
        if self.seen.has(field.id) {
            self.repeated.insert(field.id);
        } else {
            self.seen.insert(field.id);
            self.first[field.id as usize] = self.fields.len() as u16;
        }
        self.fields.push(field);
    }
}

/// The value behind the colon that ends `name`, and where the next line begins.
#[inline(always)]
fn value_end(buf: &[u8], name: Span) -> Result<Option<(Span, usize)>, FieldError> {
    let mut start = name.end as usize + 1;
    while let Some(b' ' | b'\t') = buf.get(start) {
        start += 1;
    }
    let stop = find_value_end(buf, start);
    let Some([b'\r', b'\n', ..]) = buf.get(stop..) else { return value_fault(buf, name, stop) };
    let mut end = stop;
    while end > start && matches!(buf[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    Ok(Some((Span::new(start, end), stop + 2)))
}

/// Says what is wrong with a value that does not end with CR LF at `stop`, unless more bytes are to come.
#[cold]
fn value_fault(buf: &[u8], name: Span, stop: usize) -> Result<Option<(Span, usize)>, FieldError> {
    match buf.get(stop..).unwrap_or_default() {
        [] | [b'\r'] => Ok(None),
        [b'\r', ..] => Err(FieldError::BareCr),
        [b'\n', ..] => Err(FieldError::BareLf),
        [byte, ..] => Err(FieldError::ValueByte { name: ShownName::new(name.of(buf)), byte: *byte }),
    }
}

/// Says what is wrong with a name that ends at `at` without a colon, or with no name at all.
#[cold]
fn name_fault(buf: &[u8], start: usize, at: usize) -> Result<Option<usize>, FieldError> {
    let byte = buf[at];
    if at == start {
        return match byte {
            b':' => Err(FieldError::EmptyName),
            b' ' | b'\t' => Err(FieldError::Fold),
            b'\n' => Err(FieldError::BareLf),
            _ => Err(FieldError::NameByte { name: ShownName::new(b""), byte }),
        };
    }
    let name = ShownName::new(&buf[start..at]);
    let line_end = find_byte(buf, at, b'\n');
    match byte {
        b'\n' => Err(FieldError::BareLf),
        b'\r' => match buf.get(at + 1) {
            None => Ok(None),
            Some(b'\n') => Err(FieldError::NoColon(name)),
            Some(_) => Err(FieldError::BareCr),
        },
        b' ' | b'\t' => {
            let rest = buf[at..line_end].iter().find(|b| !matches!(b, b' ' | b'\t'));
            match rest {
                None if line_end == buf.len() => Ok(None),
                Some(b':') => Err(FieldError::SpaceBeforeColon(name)),
                Some(&b) if is_tchar(b) || b == b'\r' => Err(FieldError::NoColon(name)),
                _ => Err(FieldError::NameByte { name, byte }),
            }
        }
        _ => Err(FieldError::NameByte { name, byte }),
    }
}
