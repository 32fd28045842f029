//! The checksum of keys. Written by hand: crates choose their method by the CPU, and WebAssembly has
//! none to choose by.

/// CRC-32 as in IEEE 802.3 and zip, by tables, eight bytes at a time: Kounavis and Berry,
/// "A Systematic Approach to Building High Performance Software-based CRC Generators".
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    const TABLES: [[u32; 256]; 8] = {
        let mut tables = [[0u32; 256]; 8];
        let mut i = 0;
        #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
        while i < 256 {
            let mut c = i as u32;
            let mut bit = 0;
            while bit < 8 {
                c = if c & 1 == 1 {
                    0xEDB8_8320 ^ (c >> 1)
                } else {
                    c >> 1
                };
                bit += 1;
            }
            tables[0][i] = c;
            i += 1;
        }
        let mut k = 1;
        #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
        while k < 8 {
            let mut i = 0;
            while i < 256 {
                let before = tables[k - 1][i];
                tables[k][i] = tables[0][(before & 0xFF) as usize] ^ (before >> 8);
                i += 1;
            }
            k += 1;
        }
        tables
    };
    let [one, ..] = &TABLES;
    let look = |table: &[u32; 256], b: u8| table.get(usize::from(b)).copied().unwrap_or(0);
    let (eights, rest) = bytes.as_chunks::<8>();
    let crc = eights.iter().fold(!0u32, |crc, eight| {
        let word = u64::from_le_bytes(*eight) ^ u64::from(crc);
        let all = word.to_le_bytes();
        let ways = TABLES.iter().rev().zip(all);
        ways.fold(0, |sum, (table, b)| sum ^ look(table, b))
    });
    !rest
        .iter()
        .fold(crc, |crc, &b| look(one, crc as u8 ^ b) ^ (crc >> 8))
}
