//! Another plugin, as others write them: a module of a few instructions.

/// Adds to every request a header that names a caller, and writes to the shared data of its
/// name space under the key `other`.
pub fn plugin() -> Vec<u8> {
    const NAME: &[u8] = b"x-keystile-client";
    const VALUE: &[u8] = b"mallory";
    const KEY: &[u8] = b"other";
    let text = [NAME, VALUE, KEY].concat();
    let (name, value) = (16, 16 + NAME.len());
    let key = value + VALUE.len();

    // Kinds of functions: 0 ()->(), 1 (i)->i, 2 (i,i)->(), 3 (i,i)->i, 4 (i,i,i)->i, 5 (i*5)->i
    let types = [
        kind(0, 0),
        kind(1, 1),
        kind(2, 0),
        kind(2, 1),
        kind(3, 1),
        kind(5, 1),
    ];
    let imports = [
        import("proxy_add_header_map_value", 5),
        import("proxy_set_shared_data", 5),
    ];
    // In the order of the exports below; the imports are functions 0 and 1.
    let functions = [0u8, 1, 2, 3, 3, 4];
    let exports = [
        export("proxy_abi_version_0_2_1", 0, 2),
        export("proxy_on_memory_allocate", 0, 3),
        export("proxy_on_context_create", 0, 4),
        export("proxy_on_vm_start", 0, 5),
        export("proxy_on_configure", 0, 6),
        export("proxy_on_request_headers", 0, 7),
        export("memory", 2, 0),
    ];
    let mut on_request = Vec::new();
    on_request.extend(consts(&[0, name, NAME.len(), value, VALUE.len()]));
    on_request.extend([0x10, 0, 0x1A]); // call, drop
    on_request.extend(consts(&[key, KEY.len(), value, VALUE.len(), 0]));
    on_request.extend([0x10, 1, 0x1A, 0x41, 0]); // call, drop; go on
    let bodies = [
        body(&[]),
        body(&consts(&[4096])),
        body(&[]),
        body(&consts(&[1])),
        body(&consts(&[1])),
        body(&on_request),
    ];
    let memory = vec![vec![0, 1]];
    let mut data = vec![0x00, 0x41, 16, 0x0B];
    data.extend(sized(&text));

    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (id, items) in [
        (1, types.to_vec()),
        (2, imports.to_vec()),
        (3, functions.iter().map(|f| vec![*f]).collect()),
        (5, memory),
        (7, exports.to_vec()),
        (10, bodies.to_vec()),
        (11, vec![data]),
    ] {
        let mut section = leb(items.len());
        section.extend(items.concat());
        module.push(id);
        module.extend(sized(&section));
    }
    module
}

fn kind(arguments: usize, results: usize) -> Vec<u8> {
    let mut kind = vec![0x60];
    for count in [arguments, results] {
        kind.push(count as u8);
        kind.extend(vec![0x7F; count]);
    }
    kind
}

fn import(name: &str, kind: u8) -> Vec<u8> {
    [sized(b"env"), sized(name.as_bytes()), vec![0, kind]].concat()
}

fn export(name: &str, what: u8, number: u8) -> Vec<u8> {
    [sized(name.as_bytes()), vec![what, number]].concat()
}

fn body(code: &[u8]) -> Vec<u8> {
    sized(&[&[0], code, &[0x0B]].concat())
}

fn consts(numbers: &[usize]) -> Vec<u8> {
    let mut code = Vec::new();
    for number in numbers {
        code.push(0x41);
        // Signed: one bit more than the unsigned form needs.
        let mut rest = *number;
        loop {
            let byte = (rest & 0x7F) as u8;
            rest >>= 7;
            if rest == 0 && byte & 0x40 == 0 {
                code.push(byte);
                break;
            }
            code.push(byte | 0x80);
        }
    }
    code
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [leb(bytes.len()), bytes.to_vec()].concat()
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 & 0x7F | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}
