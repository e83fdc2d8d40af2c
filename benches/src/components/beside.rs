//! Another host that serves the component, as it is named on the command line.

use std::str::FromStr;

/// `NAME=HOST:PORT/PATH`, where the path is the interface that the component uses there: `adapter` or
/// `draft`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beside {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) path: String,
}

impl FromStr for Beside {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('=')
            .and_then(|(name, rest)| Some((name, rest.split_once('/')?)));
        match parts {
            Some((name, (address, path @ ("adapter" | "draft")))) => Ok(Self {
                name: name.to_owned(),
                address: address.to_owned(),
                path: path.to_owned(),
            }),
            _ => Err(format!(
                "{text:?} is not NAME=HOST:PORT/adapter or NAME=HOST:PORT/draft"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_name_an_address_and_an_interface() {
        assert_eq!(
            "wash=127.0.0.1:8080/draft".parse(),
            Ok(Beside {
                name: "wash".to_owned(),
                address: "127.0.0.1:8080".to_owned(),
                path: "draft".to_owned(),
            })
        );
        for wrong in ["127.0.0.1:8080", "wash=127.0.0.1:8080", "wash=host:1/other"] {
            assert!(wrong.parse::<Beside>().is_err(), "{wrong}");
        }
    }
}
