//! Python's pickles, read as data: a pickle is a program for a stack machine that may call any function, and this
//! machine has no calls. What would be one becomes a node that names the function, if its reader knows it, or an error.
//!
//! Nodes lie in one list and refer to one another by number, so that a pickle can neither recurse nor multiply.

use std::collections::HashMap;

/// A node's number.
pub(super) type Id = usize;

/// More operations than any network's weights need, and few enough to hold.
const MAX_OPERATIONS: usize = 1_000_000;

/// A function or class: its module and its name.
pub(super) type Global = (&'static str, &'static str);

/// A value of the pickle.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node<'a> {
    /// None, a number that is no whole one, or anything else without a meaning for weights.
    Other,
    Int(i64),
    Bool(bool),
    /// Text, or bytes: Python 2 did not tell them apart.
    Text(&'a [u8]),
    /// A tuple or a list.
    Row(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// Something stored outside the pickle, and its name.
    Stored(Id),
    /// What a call would have made.
    Made(Made),
}

/// A call that was not made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Made {
    pub(super) by: Global,
    pub(super) arguments: Id,
    /// What the object would have been given afterwards.
    pub(super) state: Option<Id>,
    /// What would have been inserted.
    pub(super) items: Vec<(Id, Id)>,
}

/// A pickle as data.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    pub(super) root: Id,
    /// Bytes of the pickle; others may follow.
    pub(super) num_bytes: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the beginning of `bytes`, which may name the globals of `known` only.
    pub(super) fn read(bytes: &'a [u8], known: &'static [Global]) -> Result<Self, String> {
        let mut machine = Machine {
            bytes,
            at: 0,
            known,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        for _ in 0..MAX_OPERATIONS {
            if let Some(root) = machine.step()? {
                return Ok(Self { num_bytes: machine.at, nodes: machine.nodes, root });
            }
        }
        Err(format!("its pickle has more than {MAX_OPERATIONS} operations, which no file of weights needs"))
    }

    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id]
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node<'a>> {
        self.nodes.iter()
    }

    pub(super) fn row(&self, id: Id) -> Option<&[Id]> {
        if let Node::Row(row) = self.node(id) { Some(row) } else { None }
    }

    pub(super) fn text(&self, id: Id) -> Option<&'a [u8]> {
        if let Node::Text(text) = self.node(id) { Some(text) } else { None }
    }

    pub(super) fn is_true(&self, id: Id) -> bool {
        matches!(self.node(id), Node::Bool(true) | Node::Int(1))
    }

    /// A count, index or size.
    pub(super) fn size(&self, id: Id) -> Option<usize> {
        if let Node::Int(value) = self.node(id) { usize::try_from(*value).ok() } else { None }
    }

    pub(super) fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        self.row(id)?.iter().map(|&id| self.size(id)).collect()
    }

    pub(super) fn made(&self, id: Id) -> Option<&Made> {
        if let Node::Made(made) = self.node(id) { Some(made) } else { None }
    }

    /// The keys and values of a dictionary of any class; keys that are no text are left out.
    pub(super) fn entries(&self, id: Id) -> Option<Vec<(String, Id)>> {
        let items = match self.node(id) {
            Node::Dict(items) => items,
            Node::Made(Made { by: ("collections", "OrderedDict"), items, .. }) => items,
            _ => return None,
        };
        let entry = |&(key, value): &(Id, Id)| Some((String::from_utf8_lossy(self.text(key)?).into_owned(), value));
        Some(items.iter().filter_map(entry).collect())
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    known: &'static [Global],
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Executes one operation, named as in Python's `pickletools`; the last one gives the root.
    fn step(&mut self) -> Result<Option<Id>, String> {
        let operation = self.take(1)?[0];
        match operation {
            b'.' => return self.pop().map(Some),                          // STOP
            0x80 => drop(self.take(1)?),                                  // PROTO
            0x95 => drop(self.take(8)?),                                  // FRAME
            b'(' => self.marks.push(self.stack.len()),                    // MARK
            b'N' => self.push(Node::Other),                               // NONE
            0x88 | 0x89 => self.push(Node::Bool(operation == 0x88)),      // NEWTRUE, NEWFALSE
            b'K' => self.push_int::<1>(false)?,                           // BININT1
            b'M' => self.push_int::<2>(false)?,                           // BININT2
            b'J' => self.push_int::<4>(true)?,                            // BININT
            0x8a => self.push_long()?,                                    // LONG1
            b'G' => drop((self.take(8)?, self.push(Node::Other))),        // BINFLOAT
            b'X' | b'T' | b'B' => self.push_text::<4>()?,                 // BINUNICODE, -STRING, -BYTES
            0x8c | b'U' | b'C' => self.push_text::<1>()?,                 // SHORT_...
            0x8d | 0x8e => self.push_text::<8>()?,                        // BINUNICODE8, BINBYTES8
            b')' | b']' => self.push(Node::Row(Vec::new())),              // EMPTY_TUPLE, EMPTY_LIST
            b'}' => self.push(Node::Dict(Vec::new())),                    // EMPTY_DICT
            0x85..=0x87 => self.push_row(usize::from(operation - 0x84))?, // TUPLE1, TUPLE2, TUPLE3
            b't' | b'l' => self.push_marked_row()?,                       // TUPLE, LIST
            b'a' => self.append(1)?,                                      // APPEND
            b'e' => self.append_marked()?,                                // APPENDS
            b's' => self.set_items(2)?,                                   // SETITEM
            b'u' => self.set_marked_items()?,                             // SETITEMS
            b'q' => self.memoize(u32::from(self.bytes.get(self.at).copied().unwrap_or(0)), 1)?, // BINPUT
            b'r' => self.memoize(self.peek_u32(), 4)?,                    // LONG_BINPUT
            0x94 => self.memoize(self.memo.len() as u32, 0)?,             // MEMOIZE
            b'h' => self.recall(u32::from(self.bytes.get(self.at).copied().unwrap_or(0)), 1)?, // BINGET
            b'j' => self.recall(self.peek_u32(), 4)?,                     // LONG_BINGET
            b'c' => self.push_global()?,                                  // GLOBAL
            0x93 => self.push_stacked_global()?,                          // STACK_GLOBAL
            b'Q' => self.push_stored()?,                                  // BINPERSID
            b'R' => self.push_made()?,                                    // REDUCE
            b'b' => self.set_state()?,                                    // BUILD
            other => {
                return Err(format!(
                    "its pickle has the operation {other:#04x} at byte {}, which makes objects that are no weights; \
                     nothing of it was executed",
                    self.at - 1
                ));
            }
        }
        Ok(None)
    }

    fn take(&mut self, num_bytes: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..num_bytes).ok_or("its pickle ends too early: the file is truncated")?;
        self.at += num_bytes;
        Ok(taken)
    }

    fn peek_u32(&self) -> u32 {
        self.bytes[self.at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn push(&mut self, node: Node<'a>) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    /// What lies above the highest mark belongs to it.
    fn pop(&mut self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(damaged("takes from an empty stack"));
        }
        Ok(self.stack.pop().expect("more than the floor"))
    }

    fn pop_many(&mut self, number: usize) -> Result<Vec<Id>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start = self.stack.len().checked_sub(number).filter(|&start| start >= floor);
        Ok(self.stack.split_off(start.ok_or_else(|| damaged("takes more than its stack has"))?))
    }

    fn pop_marked(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or_else(|| damaged("has no mark where it looks for one"))?;
        Ok(self.stack.split_off(mark))
    }

    fn push_int<const N: usize>(&mut self, signed: bool) -> Result<(), String> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(self.take(N)?);
        let value = i64::from_le_bytes(bytes);
        self.push(Node::Int(if signed { i64::from(value as i32) } else { value }));
        Ok(())
    }

    fn push_long(&mut self) -> Result<(), String> {
        let num_bytes = usize::from(self.take(1)?[0]);
        let digits = self.take(num_bytes)?;
        let negative = digits.last().is_some_and(|last| last & 0x80 != 0);
        let mut bytes = [if negative { 0xff } else { 0 }; 8];
        if digits.len() <= bytes.len() {
            bytes[..digits.len()].copy_from_slice(digits);
        }
        self.push(if digits.len() <= bytes.len() { Node::Int(i64::from_le_bytes(bytes)) } else { Node::Other });
        Ok(())
    }

    fn push_text<const N: usize>(&mut self) -> Result<(), String> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(self.take(N)?);
        let text = self.take(usize::try_from(u64::from_le_bytes(bytes)).unwrap_or(usize::MAX))?;
        self.push(Node::Text(text));
        Ok(())
    }

    fn push_row(&mut self, number: usize) -> Result<(), String> {
        let row = self.pop_many(number)?;
        self.push(Node::Row(row));
        Ok(())
    }

    fn push_marked_row(&mut self) -> Result<(), String> {
        let row = self.pop_marked()?;
        self.push(Node::Row(row));
        Ok(())
    }

    fn append_marked(&mut self) -> Result<(), String> {
        let more = self.pop_marked()?;
        self.extend_row(more)
    }

    fn append(&mut self, number: usize) -> Result<(), String> {
        let more = self.pop_many(number)?;
        self.extend_row(more)
    }

    fn extend_row(&mut self, more: Vec<Id>) -> Result<(), String> {
        match self.top()? {
            Node::Row(row) => row.extend(more),
            _ => return Err(damaged("appends to what is no list")),
        }
        Ok(())
    }

    fn set_marked_items(&mut self) -> Result<(), String> {
        let items = self.pop_marked()?;
        self.insert(&items)
    }

    fn set_items(&mut self, number: usize) -> Result<(), String> {
        let items = self.pop_many(number)?;
        self.insert(&items)
    }

    fn insert(&mut self, flat: &[Id]) -> Result<(), String> {
        let (pairs, rest) = flat.as_chunks::<2>();
        let pairs = pairs.iter().map(|&[key, value]| (key, value));
        match self.top()? {
            Node::Dict(items) | Node::Made(Made { items, .. }) if rest.is_empty() => items.extend(pairs),
            _ => return Err(damaged("inserts into what is no dictionary")),
        }
        Ok(())
    }

    fn top(&mut self) -> Result<&mut Node<'a>, String> {
        let top = self.stack.last().ok_or_else(|| damaged("changes what is not there"))?;
        Ok(&mut self.nodes[*top])
    }

    fn memoize(&mut self, key: u32, num_bytes: usize) -> Result<(), String> {
        self.take(num_bytes)?;
        let top = *self.stack.last().ok_or_else(|| damaged("remembers what is not there"))?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32, num_bytes: usize) -> Result<(), String> {
        self.take(num_bytes)?;
        let id = *self.memo.get(&key).ok_or_else(|| damaged("recalls what it has not remembered"))?;
        self.stack.push(id);
        Ok(())
    }

    fn push_global(&mut self) -> Result<(), String> {
        let mut line = || {
            let rest = &self.bytes[self.at..];
            let len = memchr::memchr(b'\n', rest).ok_or_else(|| damaged("ends within a name"))?;
            self.at += len + 1;
            Ok::<_, String>(&rest[..len])
        };
        let (module, name) = (line()?, line()?);
        self.push_known(module, name)
    }

    fn push_stacked_global(&mut self) -> Result<(), String> {
        let names = self.pop_many(2)?;
        match [&self.nodes[names[0]], &self.nodes[names[1]]] {
            [Node::Text(module), Node::Text(name)] => self.push_known(module, name),
            _ => Err(damaged("names a function by what is no text")),
        }
    }

    fn push_known(&mut self, module: &[u8], name: &[u8]) -> Result<(), String> {
        let is_it = |known: &&Global| (known.0.as_bytes(), known.1.as_bytes()) == (module, name);
        let global = self.known.iter().find(is_it).ok_or_else(|| {
            let (module, name) = (excerpt(module), excerpt(name));
            format!("its pickle asks for {module}.{name}, which weights do not need; nothing of it was executed")
        })?;
        self.push(Node::Global(*global));
        Ok(())
    }

    fn push_stored(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        self.push(Node::Stored(id));
        Ok(())
    }

    fn push_made(&mut self) -> Result<(), String> {
        let parts = self.pop_many(2)?;
        let Node::Global(by) = self.nodes[parts[0]] else { return Err(damaged("calls what is no function")) };
        self.push(Node::Made(Made { by, arguments: parts[1], state: None, items: Vec::new() }));
        Ok(())
    }

    fn set_state(&mut self) -> Result<(), String> {
        let given = self.pop()?;
        match self.top()? {
            Node::Made(made) => made.state = Some(given),
            _ => return Err(damaged("builds what is no object")),
        }
        Ok(())
    }
}

fn damaged(does: &str) -> String {
    format!("its pickle {does}: the file is damaged")
}

/// A name from a file, short and printable.
fn excerpt(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(60)]).chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Global] = &[("collections", "OrderedDict")];

    const OPERATIONS: &[u8] = b"\x80().}]KaseuqhcRbQ\x85\x86XU\x00\x01\n";

    fn refused(bytes: &[u8]) -> String {
        Pickle::read(bytes, KNOWN).unwrap_err()
    }

    #[test]
    fn data_of_each_protocol_are_read() {
        // pickle.dumps({"a": (1, [-2, True])}, protocol) of 2 and 4.
        let two = b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01]q\x02(J\xfe\xff\xff\xff\x88e\x86q\x03s.";
        let four = b"\x80\x04\x95\x15\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01]\x94(J\xfe\xff\xff\xff\x88e\x86\x94s.";
        for bytes in [&two[..], &four[..]] {
            let pickle = Pickle::read(bytes, KNOWN).unwrap();
            let entries = pickle.entries(pickle.root).unwrap();
            let [(key, value)] = &entries[..] else { panic!("{entries:?}") };
            assert_eq!((key.as_str(), pickle.num_bytes), ("a", bytes.len()));
            let [one, list] = pickle.row(*value).unwrap() else { panic!("{pickle:?}") };
            assert_eq!(pickle.size(*one), Some(1));
            let inner: Vec<_> = pickle.row(*list).unwrap().iter().map(|&id| pickle.node(id).clone()).collect();
            assert_eq!(inner, [Node::Int(-2), Node::Bool(true)]);
        }
    }

    #[test]
    fn an_ordered_dict_is_a_dictionary_and_is_not_called() {
        let pickle = Pickle::read(b"\x80\x02ccollections\nOrderedDict\n)RK\x07K\x08sU\x01kK\x09s.", KNOWN).unwrap();
        assert_eq!(pickle.entries(pickle.root).unwrap().len(), 1, "the key 7 is no text");
    }

    #[test]
    fn a_call_of_a_function_is_refused_by_name() {
        for bytes in [&b"cposix\nsystem\nX\x02\x00\x00\x00id\x85R."[..], b"\x80\x04\x8c\x05posix\x8c\x06system\x93."] {
            let message = refused(bytes);
            assert!(message.contains("posix.system") && message.contains("nothing of it was executed"), "{message}");
        }
        // INST and NEWOBJ would make objects too.
        assert!(refused(b"(iposix\nsystem\n.").contains("0x69"));
        assert!(refused(b"ccollections\nOrderedDict\n)\x81.").contains("0x81"));
    }

    #[test]
    fn a_pickle_that_does_not_end_is_refused() {
        assert!(refused(b"").contains("truncated"));
        assert!(refused(b"\x80\x02X\xff\xff\xff\x7fabc").contains("truncated"));
        assert!(refused(&vec![b')'; MAX_OPERATIONS + 1]).contains("more than 1000000 operations"));
    }

    #[test]
    fn any_bytes_give_data_or_an_error() {
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let mut bytes = [0; 24];
            for byte in &mut bytes {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = OPERATIONS[(state >> 24) as usize % OPERATIONS.len()];
            }
            let _ = Pickle::read(&bytes, KNOWN);
        }
    }
}
