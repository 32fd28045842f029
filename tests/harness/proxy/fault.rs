//! Faults that the filter, as it is built, gives no way to bring about. They are put in
//! front of its own entry points, in the same wasm that is delivered: one function more,
//! which an export then names instead of the filter's, and which calls the filter's.

/// A request with more headers than this, pseudo-headers included, traps.
pub const TRAPS_ABOVE: u8 = 40;

/// The filter, with a trap in front of its `proxy_on_request_headers`.
pub fn trapping(wasm: &[u8]) -> Vec<u8> {
    let module = Module::read(wasm);
    let filter = module.export("proxy_on_request_headers");
    let mut body = vec![0x20, 1]; // local.get 1: the number of headers
    body.extend([0x41, TRAPS_ABOVE, 0x4A]); // i32.const, i32.gt_s
    body.extend([0x04, 0x40, 0x00, 0x0B]); // if, unreachable, end
    body.extend([0x20, 0, 0x20, 1, 0x20, 2]); // the arguments
    module.with_front("proxy_on_request_headers", body, filter)
}

/// The filter, whose first configuration in a process is accepted and every later one
/// fails: Envoy's canary is the first, the workers come later. They know each other by
/// shared data, whose key and value are the eight zero bytes at the bottom of the stack.
pub fn failing_after_the_canary(wasm: &[u8]) -> Vec<u8> {
    let module = Module::read(wasm);
    let filter = module.export("proxy_on_configure");
    let mut body = vec![0x41, 0, 0x41, 8]; // key and its size
    body.extend([0x41, 16, 0x41, 20, 0x41, 24, 0x10]); // where the answer goes
    leb(&mut body, module.import("proxy_get_shared_data"));
    body.extend([0x45, 0x04, 0x40, 0x41, 0, 0x0F, 0x0B]); // if 0 (there), return false
    body.extend([0x41, 0, 0x41, 8, 0x41, 0, 0x41, 8, 0x41, 0, 0x10]);
    leb(&mut body, module.import("proxy_set_shared_data"));
    body.extend([0x1A, 0x20, 0, 0x20, 1]); // drop; the arguments
    module.with_front("proxy_on_configure", body, filter)
}

const IMPORTS: u8 = 2;
const FUNCTIONS: u8 = 3;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;

/// Sections by number, in order; enough of WebAssembly's binary format for the above.
struct Module {
    sections: Vec<(u8, Vec<u8>)>,
}

impl Module {
    fn read(wasm: &[u8]) -> Self {
        let mut rest = wasm.strip_prefix(b"\0asm\x01\0\0\0").unwrap();
        let mut sections = Vec::new();
        while let Some((id, tail)) = rest.split_first() {
            rest = tail;
            let size = take_leb(&mut rest);
            sections.push((*id, take(&mut rest, size).to_vec()));
        }
        Self { sections }
    }

    fn section(&self, id: u8) -> &[u8] {
        let section = self.sections.iter().find(|(other, _)| *other == id);
        &section.unwrap().1
    }

    fn section_mut(&mut self, id: u8) -> &mut Vec<u8> {
        let mut sections = self.sections.iter_mut();
        &mut sections.find(|(other, _)| *other == id).unwrap().1
    }

    /// Names of the imported functions; their positions are their numbers.
    fn imports(&self) -> Vec<&[u8]> {
        let mut rest = self.section(IMPORTS);
        let count = take_leb(&mut rest);
        let import = |_| {
            take_text(&mut rest);
            let name = take_text(&mut rest);
            assert_eq!(take(&mut rest, 1), [0], "an import that is no function");
            take_leb(&mut rest);
            name
        };
        (0..count).map(import).collect()
    }

    fn import(&self, name: &str) -> usize {
        let mut imports = self.imports().into_iter();
        imports.position(|other| other == name.as_bytes()).unwrap()
    }

    /// The number of an exported function.
    fn export(&self, name: &str) -> usize {
        let section = self.section(EXPORTS);
        let entry = entry(name);
        let at = find(section, &entry);
        take_leb(&mut &section[at + entry.len()..])
    }

    /// This module, where `name` is a function of this body, which ends in a call of
    /// the filter's own with the arguments on the stack.
    fn with_front(mut self, name: &str, front: Vec<u8>, filter: usize) -> Vec<u8> {
        let mut function = vec![0]; // no locals
        function.extend(front);
        function.push(0x10);
        leb(&mut function, filter);
        function.push(0x0B);

        let mut code = Vec::new();
        leb(&mut code, function.len());
        code.extend(function);

        let imports = self.imports().len();
        let mut kinds = self.section(FUNCTIONS);
        take_leb(&mut kinds);
        let kind = (imports..=filter).map(|_| take_leb(&mut kinds)).last();
        let mut kind_of_front = Vec::new();
        leb(&mut kind_of_front, kind.unwrap());

        let number = imports + append(self.section_mut(FUNCTIONS), &kind_of_front);
        append(self.section_mut(CODE), &code);

        let entry = entry(name);
        let exports = self.section_mut(EXPORTS);
        let at = find(exports, &entry) + entry.len();
        let mut rest = &exports[at..];
        take_leb(&mut rest);
        let rest = rest.to_vec();
        exports.truncate(at);
        leb(exports, number);
        exports.extend(rest);
        self.write()
    }

    fn write(&self) -> Vec<u8> {
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        for (id, section) in &self.sections {
            wasm.push(*id);
            leb(&mut wasm, section.len());
            wasm.extend(section);
        }
        wasm
    }
}

/// How an exported function is introduced: its name, and that it is a function.
fn entry(name: &str) -> Vec<u8> {
    let mut entry = Vec::new();
    leb(&mut entry, name.len());
    entry.extend(name.as_bytes());
    entry.push(0);
    entry
}

fn find(section: &[u8], entry: &[u8]) -> usize {
    let mut places = section.windows(entry.len());
    places.position(|place| place == entry).unwrap()
}

/// One more item at the end of a section that counts them; returns the count before.
fn append(section: &mut Vec<u8>, item: &[u8]) -> usize {
    let mut rest = &section[..];
    let count = take_leb(&mut rest);
    let items = rest.to_vec();
    section.clear();
    leb(section, count + 1);
    section.extend(items);
    section.extend(item);
    count
}

fn take<'a>(rest: &mut &'a [u8], size: usize) -> &'a [u8] {
    let (head, tail) = rest.split_at(size);
    *rest = tail;
    head
}

fn take_text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let size = take_leb(rest);
    take(rest, size)
}

fn take_leb(rest: &mut &[u8]) -> usize {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = take(rest, 1)[0];
        value |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn leb(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 & 0x7F | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
