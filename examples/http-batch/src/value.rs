//! A value as it stands in JSON: text as a string, other bytes as `{"base64": "…"}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

pub struct Value(pub Vec<u8>);

impl Value {
    pub fn from_json(json: serde_json::Value) -> Result<Self, String> {
        if let serde_json::Value::String(text) = json {
            return Ok(Self(text.into_bytes()));
        }
        match json["base64"].as_str() {
            Some(base64) => match STANDARD.decode(base64) {
                Ok(bytes) => Ok(Self(bytes)),
                Err(error) => Err(format!("this base64 does not decode: {error}")),
            },
            None => Err(r#"a value is a string, or {"base64": "…"}"#.to_owned()),
        }
    }

    pub fn into_json(self) -> serde_json::Value {
        match String::from_utf8(self.0) {
            Ok(text) => json!(text),
            Err(error) => json!({ "base64": STANDARD.encode(error.as_bytes()) }),
        }
    }
}
