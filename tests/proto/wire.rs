//! Reads an encoded message by what the texts declare, and by nothing else.

use crate::text::{Kind, Texts};
use serde_json::{Map, Value, json};

/// One value as it stands on the wire.
enum Raw<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
}

impl Texts {
    /// A message as JSON, its fields by the names in the texts. An error names what is not
    /// declared so.
    pub fn decode(&self, message: &str, mut bytes: &[u8]) -> Result<Value, String> {
        let fields = self.messages.get(message);
        let fields = fields.ok_or_else(|| format!("there is no message {message}"))?;
        let mut out = Map::new();
        while !bytes.is_empty() {
            let (number, raw) = next(&mut bytes).ok_or_else(|| format!("{message} is cut off"))?;
            let field = fields.iter().find(|f| f.number == number);
            let field = field.ok_or_else(|| format!("{message} has no field {number}"))?;
            let name = &field.name;
            let wrong = |e| format!("{name} of {message}: {e}");
            match &field.kind {
                Kind::Map(key, value) => {
                    let (key, value) = self.entry(key, value, &raw).map_err(wrong)?;
                    let all = out.entry(name).or_insert_with(|| json!({}));
                    all[key] = value;
                }
                Kind::One(kind) => {
                    let value = self.value(kind, &raw).map_err(wrong)?;
                    if field.repeated {
                        let all = out.entry(name).or_insert_with(|| json!([]));
                        all.as_array_mut().unwrap().push(value);
                    } else if out.insert(name.clone(), value).is_some() {
                        return Err(wrong("comes twice".to_owned()));
                    }
                }
            }
        }
        if message == ".google.protobuf.Any" {
            return self.unpacked(&out);
        }
        Ok(Value::Object(out))
    }

    /// The message in an `Any`.
    fn unpacked(&self, any: &Map<String, Value>) -> Result<Value, String> {
        let url = any["type_url"].as_str().unwrap();
        let name = url.strip_prefix("type.googleapis.com/");
        let name = name.ok_or_else(|| format!("{url} is no type"))?;
        let value = any["value"].as_str().unwrap_or_default();
        let message = self.decode(&format!(".{name}"), &unhex(value))?;
        Ok(json!({"@type": name, "value": message}))
    }

    fn entry(&self, key: &str, value: &str, raw: &Raw<'_>) -> Result<(String, Value), String> {
        let Raw::Bytes(mut bytes) = *raw else {
            return Err("no entry of a map".to_owned());
        };
        let (mut found_key, mut found_value) = (None, None);
        while !bytes.is_empty() {
            match next(&mut bytes).ok_or("cut off")? {
                (1, raw) => found_key = Some(self.value(key, &raw)?),
                (2, raw) => found_value = Some(self.value(value, &raw)?),
                (other, _) => return Err(format!("an entry has no field {other}")),
            }
        }
        let key = found_key.as_ref().and_then(Value::as_str);
        let key = key.ok_or("an entry without a key")?.to_owned();
        Ok((key, found_value.ok_or("an entry without a value")?))
    }

    fn value(&self, kind: &str, raw: &Raw<'_>) -> Result<Value, String> {
        if self.messages.contains_key(kind) {
            let Raw::Bytes(bytes) = raw else {
                return Err(format!("no {kind}"));
            };
            return self.decode(kind, bytes);
        }
        if let Some(values) = self.enums.get(kind) {
            let Raw::Varint(n) = *raw else {
                return Err(format!("no {kind}"));
            };
            let named = values.iter().find(|(_, v)| u64::try_from(**v) == Ok(n));
            let named = named.ok_or_else(|| format!("{kind} has no {n}"))?;
            return Ok(json!(named.0));
        }
        Ok(match (kind, raw) {
            // Of negative ones there are none here.
            ("int32" | "int64" | "uint32" | "uint64", Raw::Varint(n)) => json!(n),
            ("bool", Raw::Varint(n @ (0 | 1))) => json!(*n == 1),
            ("double", Raw::Fixed64(bytes)) => json!(f64::from_le_bytes(*bytes)),
            ("string", Raw::Bytes(bytes)) => {
                json!(std::str::from_utf8(bytes).map_err(|e| e.to_string())?)
            }
            ("bytes", Raw::Bytes(bytes)) => json!(hex(bytes)),
            (kind, _) => return Err(format!("no {kind}, or not among the texts")),
        })
    }
}

fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u32, Raw<'a>)> {
    let key = varint(bytes)?;
    let raw = match key & 7 {
        0 => Raw::Varint(varint(bytes)?),
        1 => Raw::Fixed64(take(bytes, 8)?.try_into().ok()?),
        2 => {
            let len = usize::try_from(varint(bytes)?).ok()?;
            Raw::Bytes(take(bytes, len)?)
        }
        _ => return None,
    };
    Some((u32::try_from(key >> 3).ok()?, raw))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut out = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        out |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(out);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}
